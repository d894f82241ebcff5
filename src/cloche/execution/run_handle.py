"""What a program gets: its context, its conversation, and the journal through which every outside step goes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import msgspec

from cloche.clock import Clock, to_text
from cloche.domain.agents import AgentSpec
from cloche.domain.approvals import DEFAULT_EXPIRY, Approval, ApprovalState
from cloche.domain.context import UserExecutionContext
from cloche.domain.events import (
    AgentThinking,
    ApprovalRequested,
    EventData,
    MessageCompleted,
    StepRestarted,
)
from cloche.domain.messages import Message, TextPart
from cloche.domain.runs import Run
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.text import sound_text, sound_value
from cloche.domain.usage import Usage
from cloche.errors import (
    AgentFailedError,
    AgentOutputTooLargeError,
    ClocheError,
    JournalMismatchError,
)
from cloche.execution.waiting import Question, Waiting
from cloche.execution.writer import Entry, MessageDraft, RunWriter, UsageDraft
from cloche.ids import ApprovalId, MessageId, ToolId

StepWork = Callable[["StepHandle"], Awaitable[bytes]]

# Doing them again changes nothing: their outcomes are written while the program goes on. Whatever has an effect is begun
# only once they are durable, because entries are written in order.
_REPEATABLE = frozenset({StepKind.MESSAGE, StepKind.THOUGHT})


class _Recorded(msgspec.Struct, frozen=True):
    """How a failed step is kept."""

    code: str
    message: str
    retryable: bool


@dataclass(slots=True, kw_only=True)
class StepHandle:
    """One step at work: what it shows while it runs, and what is recorded with its end.

    ``reference`` is the id that its events carry: a ``tool_…`` id for a tool call, a ``message_…`` id otherwise. It
    stays the same over attempts for tool calls, so it serves as the idempotency key of the effect.
    """

    run: RunHandle
    index: int
    kind: StepKind
    name: str
    digest: bytes
    reference: str
    begun: bool = False
    restarted: bool = False
    started_at: datetime | None = None
    # Whether the outcome is durable before the program goes on.
    is_awaited: bool = True
    # When an earlier attempt began the step, which a crash interrupted.
    interrupted_at: datetime | None = None
    text: list[str] = field(default_factory=list[str])
    usage: Usage = field(default_factory=Usage)
    ending: Entry = field(default_factory=Entry)

    async def begin(self, events: Sequence[EventData] = ()) -> None:
        """The journal durably says that the step runs, together with these events.

        Raises:
            LeaseLostError: another execution owns the run.
        """
        await self.run.writer.write(self._begin(events))

    def begin_soon(self, events: Sequence[EventData] = ()) -> None:
        """Like ``begin``, without waiting: for steps that change nothing outside."""
        self.run.writer.put(self._begin(events))

    def show(self, event: EventData) -> None:
        """The event is in the log soon."""
        if not self.begun:
            self.begin_soon([event])
        else:
            self.run.writer.put(Entry(events=[event]))

    def think(self, text: str) -> None:
        """The text is shown as what the agent thinks."""
        if text:
            self.show(AgentThinking(text=text, step=self.index))

    async def write(self, text: str) -> None:
        """The text is the next piece of the step's message.

        Raises:
            AgentOutputTooLargeError: the message is larger than the agent's limit.
        """
        if not text:
            return
        if not self.begun:
            self.begin_soon()
        self.run.count_output(len(text))
        sound = sound_text(text)
        self.text.append(sound)
        self.run.unfinished_messages[self.index] = self.reference
        await self.run.writer.delta(MessageId(self.reference), sound)

    async def ask(
        self, *, tool: str, question: str, arguments: Mapping[str, object], schema: Mapping[str, object]
    ) -> Approval:
        """The approval of doing the interrupted step again, as a person decided it; until then the run waits.

        Guarantees: asked once for each interruption.
        """
        assert self.interrupted_at is not None, "only a step that was interrupted is asked about"
        return await self.run.await_decision(
            self, _question(tool, question, arguments, schema), DEFAULT_EXPIRY, since=self.interrupted_at
        )

    def cost(self, model: str, usage: Usage) -> None:
        """The step's tokens are in the ledger when the step is."""
        self.ending.usage = (*self.ending.usage, UsageDraft(model=model, step=self.index, usage=usage))
        self.count(usage)

    def count(self, usage: Usage) -> None:
        """The step used so much."""
        self.usage = self.usage + usage
        self.run.usage = self.run.usage + usage

    def finish_with(self, event: EventData) -> None:
        """The event is recorded together with the step's outcome."""
        self.ending.events.append(event)

    def _begin(self, events: Sequence[EventData]) -> Entry:
        self.begun = True
        self.started_at = self.run.clock.now()
        before = [self.restart_event()] if self.restarted else []
        self.restarted = False
        return Entry(events=[*before, *events], steps=[self.as_step(StepState.STARTED, b"")])

    def restart_event(self) -> EventData:
        """What tells that an earlier attempt's part of the step is void."""
        if self.kind is StepKind.TOOL:
            return StepRestarted(step=self.index, tool_call_id=self.reference)
        return StepRestarted(step=self.index, message_id=self.run.voided.get(self.index))

    def as_step(self, state: StepState, result: bytes) -> Step:
        """The step as a row of the journal."""
        now = self.run.clock.now()
        return Step(
            index=self.index,
            kind=self.kind,
            name=self.name,
            input_digest=self.digest,
            state=state,
            result=result,
            reference=self.reference,
            epoch=self.run.run.epoch,
            started_at=self.started_at or now,
            ended_at=None if state is StepState.STARTED else now,
        )


class RunHandle:
    """One execution of a run, as its program sees it.

    Steps are numbered in the order in which they are asked for. A step that the journal has is not done again: its
    outcome is returned. One that began and has no outcome is done again, which its events say.
    """

    def __init__(
        self,
        *,
        run: Run,
        spec: AgentSpec,
        context: UserExecutionContext,
        message: Message,
        read_history: Callable[[], Awaitable[Sequence[Message]]],
        recorded: Mapping[int, Step],
        writer: RunWriter,
        waiting: Waiting,
        clock: Clock,
    ) -> None:
        self.run = run
        self.spec = spec
        self.context = context
        self.message = message
        self._read_history = read_history
        self._history: tuple[Message, ...] | None = None
        self.writer = writer
        self.clock = clock
        self.usage = Usage()
        self.last_message_id: MessageId | None = None
        self.voided: dict[int, str] = {}
        self.unfinished_messages: dict[int, str] = {}
        self._recorded = recorded
        self._waiting = waiting
        self._next = 0
        self._output = 0
        self.finished_steps: list[str] = []
        self.running_steps: dict[int, str] = {}

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is, from 1."""
        return self.run.attempt

    @property
    def upcoming(self) -> StepKind | None:
        """The kind of the step that an earlier attempt took next; None where this attempt is the first to come here."""
        recorded = self._recorded.get(self._next)
        return None if recorded is None else recorded.kind

    async def history(self) -> tuple[Message, ...]:
        """The thread's messages before the one that the run answers, oldest first; at most 40, the same at each attempt."""
        if self._history is None:
            self._history = tuple(await self._read_history())
        return self._history

    async def step(
        self, kind: StepKind, name: str, payload: bytes, work: StepWork, *, interrupted: StepWork | None = None
    ) -> bytes:
        """The outcome of the step: recorded, or that of ``work``, which is recorded before this returns.

        ``payload`` is what the step is about; on replay it must be the same. ``interrupted`` is called in place of
        ``work`` when an earlier attempt began the step and left no outcome. NUL and half characters in the name become
        U+FFFD.

        Cancellation: safe; a step that was not recorded is done again.

        Raises:
            JournalMismatchError: the journal has another step at this place.
            ClocheError: the step failed, now or when it was recorded.
        """
        name = sound_text(name)
        index, digest = self._number(payload)
        recorded = self._recorded.get(index)
        if recorded is not None:
            self._check_same(recorded, kind, name, digest)
            if recorded.state is not StepState.STARTED:
                return self._replay(recorded)
            handle = self._restarted(recorded, digest)
            return await self._perform(handle, interrupted or work)
        reference = ToolId.new() if kind in (StepKind.TOOL, StepKind.APPROVAL) else MessageId.new()
        handle = StepHandle(
            run=self,
            index=index,
            kind=kind,
            name=name,
            digest=digest,
            reference=str(reference),
            is_awaited=kind not in _REPEATABLE,
        )
        return await self._perform(handle, work)

    async def think(self, text: str) -> None:
        """The text is shown as what the agent thinks, once over all attempts."""
        sound = sound_text(text)

        async def work(step: StepHandle) -> bytes:
            step.finish_with(AgentThinking(text=sound, step=step.index))
            return b""

        await self.step(StepKind.THOUGHT, "think", sound.encode(), work)

    async def ask(
        self,
        *,
        tool: str,
        question: str,
        arguments: Mapping[str, object],
        schema: Mapping[str, object],
        expires_in: timedelta = DEFAULT_EXPIRY,
    ) -> Approval:
        """The approval as a person decided it, or expired. Until then the run waits and costs nothing.

        Guarantees: asked once over all attempts; the decision survives restarts.
        Cancellation: the run is cancelled while it waits by cancelling the run.
        """
        asked = _question(tool, question, arguments, schema)
        payload = msgspec.json.encode(
            {"tool": asked.tool, "question": asked.question, "arguments": asked.arguments}, order="sorted"
        )

        async def work(step: StepHandle) -> bytes:
            approval = await self.await_decision(step, asked, expires_in)
            return str(approval.id).encode()

        approval_id = await self.step(StepKind.APPROVAL, tool, payload, work)
        return await self._waiting.get(ApprovalId(approval_id.decode()))

    def unfinished(self) -> list[EventData]:
        """What tells that messages which broke off are void, when the agent goes on without them."""
        return [StepRestarted(step=index, message_id=told) for index, told in self.unfinished_messages.items()]

    def count_output(self, size: int) -> None:
        """So much more text was written.

        Raises:
            AgentOutputTooLargeError: it is more than the agent may write in a run.
        """
        self._output += size
        limit = self.spec.limits.max_answer_bytes
        if self._output > limit:
            raise AgentOutputTooLargeError(
                f"the agent wrote more than {limit} characters in one run", details={"limit": limit}
            )

    def require_whole_replay(self) -> None:
        """Return when the agent asked for every step that an earlier attempt took; called when it has ended well.

        Raises:
            JournalMismatchError: it left one out.
        """
        left_out = [step for index, step in sorted(self._recorded.items()) if index >= self._next]
        if left_out:
            raise self._mismatch(left_out[0], "ended without it")

    def _check_same(self, recorded: Step, kind: StepKind, name: str, digest: bytes) -> None:
        if (recorded.kind, recorded.name, recorded.input_digest) != (kind, name, digest):
            other_input = "" if (recorded.kind, recorded.name) != (kind, name) else " with other input"
            raise self._mismatch(recorded, f"asked for {kind} {name!r}{other_input}")

    def _mismatch(self, recorded: Step, what: str) -> JournalMismatchError:
        begun, present = self.run.agent_version, self.spec.version
        versions = (
            "" if begun == present else f"; version {begun} of the agent began the run, this is version {present}"
        )
        return JournalMismatchError(
            f"step {recorded.index} of the run was {recorded.kind} {recorded.name!r}; on replay the agent {what}{versions}",
            details={"step": recorded.index},
        )

    def _number(self, payload: bytes) -> tuple[int, bytes]:
        index = self._next
        self._next += 1
        if index >= self.spec.limits.max_steps:
            raise AgentFailedError(
                f"the run took more than {self.spec.limits.max_steps} steps",
                details={"limit": self.spec.limits.max_steps},
            )
        return index, hashlib.blake2b(payload, digest_size=16).digest()

    def _restarted(self, recorded: Step, digest: bytes) -> StepHandle:
        reference = recorded.reference
        if recorded.kind not in (StepKind.TOOL, StepKind.APPROVAL):
            self.voided[recorded.index] = reference
            reference = str(MessageId.new())
        return StepHandle(
            run=self,
            index=recorded.index,
            kind=recorded.kind,
            name=recorded.name,
            digest=digest,
            reference=reference,
            restarted=recorded.kind is not StepKind.APPROVAL,
            is_awaited=recorded.kind not in _REPEATABLE,
            interrupted_at=recorded.started_at,
        )

    def _replay(self, recorded: Step) -> bytes:
        if recorded.state is StepState.FAILED:
            raise _recorded_error(msgspec.json.decode(recorded.result, type=_Recorded))
        self.finished_steps.append(_shown(recorded.kind, recorded.name))
        kept = msgspec.json.decode(recorded.result, type=_Outcome)
        self.usage = self.usage + kept.usage
        if kept.message_id is not None:
            self.last_message_id = MessageId(kept.message_id)
        return kept.value

    async def _perform(self, handle: StepHandle, work: StepWork) -> bytes:
        shown = _shown(handle.kind, handle.name)
        self.running_steps[handle.index] = shown
        try:
            value = await work(handle)
        except ClocheError as error:
            del self.running_steps[handle.index]
            await self._record_failure(handle, error)
            raise
        await self._record(handle, value)
        del self.running_steps[handle.index]
        self.finished_steps.append(shown)
        return value

    async def _record(self, handle: StepHandle, value: bytes) -> None:
        ending = handle.ending
        message_id: str | None = None
        if handle.text:
            message_id = handle.reference
            parts = (TextPart(text="".join(handle.text)),)
            ending.messages = [MessageDraft(id=MessageId(message_id), parts=parts, index=len(ending.events))]
            ending.events.append(MessageCompleted(message_id=message_id, parts=parts, usage=handle.usage))
            self.last_message_id = MessageId(message_id)
            del self.unfinished_messages[handle.index]
        elif handle.restarted:
            ending.events.insert(0, handle.restart_event())
        result = msgspec.json.encode(_Outcome(value=value, usage=handle.usage, message_id=message_id))
        ending.steps = [handle.as_step(StepState.DONE, result)]
        await (self.writer.write if handle.is_awaited else self.writer.keep)(ending)

    async def _record_failure(self, handle: StepHandle, error: ClocheError) -> None:
        kept = _Recorded(error.code, sound_text(error.message), error.retryable)
        step = handle.as_step(StepState.FAILED, msgspec.json.encode(kept))
        events = handle.ending.events
        if self.unfinished_messages.pop(handle.index, None) is not None:
            events = [StepRestarted(step=handle.index, message_id=handle.reference), *events]
        if self.writer.failure is None:
            await self.writer.write(Entry(events=events, steps=[step], usage=handle.ending.usage))

    async def await_decision(
        self, step: StepHandle, asked: Question, expires_in: timedelta, *, since: datetime | None = None
    ) -> Approval:
        """The decided approval of this step. Without a decision the run waits, and this execution is over.

        With ``since`` the step stays in the journal as it is, and only a question of after that time counts.
        """
        await self.writer.flush()
        now = self.clock.now()
        approval = Approval(
            id=ApprovalId.new(),
            user_id=self.run.ref.user_id,
            delegate_id=None,
            thread_id=self.run.thread_id,
            run_id=self.run.id,
            tool_call_id=step.reference,
            tool=asked.tool,
            question=asked.question,
            arguments=asked.arguments,
            schema=asked.schema,
            state=ApprovalState.PENDING,
            created_at=now,
            expires_at=now + expires_in,
            decided_at=None,
            decided_by=None,
            edited_arguments=None,
        )
        requested = ApprovalRequested(
            approval_id=approval.id,
            tool_call_id=step.reference,
            tool=asked.tool,
            question=asked.question,
            arguments=asked.arguments,
            schema=asked.schema,
            expires_at=to_text(approval.expires_at),
        )
        begun = step.as_step(StepState.STARTED, b"") if since is None else None
        decided = await self._waiting.open(approval, self.writer.draft(requested, now), begun, since=since)
        if decided is not None:
            return decided
        # The execution ends here: the executor cancels this task, and the decision starts a new one.
        return await asyncio.get_running_loop().create_future()


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a finished step is kept."""

    value: bytes
    usage: Usage = Usage()
    message_id: str | None = None


def _question(tool: str, question: str, arguments: Mapping[str, object], schema: Mapping[str, object]) -> Question:
    return Question(
        tool=sound_text(tool),
        question=sound_text(question),
        arguments=cast("dict[str, object]", sound_value(arguments)),
        schema=cast("dict[str, object]", sound_value(schema)),
    )


def _shown(kind: StepKind, name: str) -> str:
    return f"{kind}:{name}"


def _recorded_error(kept: _Recorded) -> ClocheError:
    pending = [ClocheError]
    while pending:
        kind = pending.pop()
        if kind.code == kept.code:
            return kind(kept.message)
        pending += kind.__subclasses__()
    return AgentFailedError(kept.message)
