"""The one way in which a run ends: its terminal state, its last event, and the admission of the thread's next run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cloche.clock import Clock
from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.event_order import decoded
from cloche.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentTimedOut,
    ApprovalResolved,
    ErrorShown,
    EventData,
    MessageCompleted,
    Receipt,
    ToolCompleted,
)
from cloche.domain.findings import STATE_TOLD
from cloche.domain.messages import TextPart
from cloche.domain.runs import ExecutionState, Failure, Run, RunRef
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.usage import Usage
from cloche.errors import (
    AgentFailedError,
    AttemptsExhaustedError,
    DeadlineExceededError,
    RunCancelledError,
    ToolError,
    ToolOutcomeUnknownError,
    ToolStoppedError,
)
from cloche.events.codec import decode, draft
from cloche.events.log import EventLog
from cloche.execution.writer import MessageDraft, Unsent, keep_messages
from cloche.ids import MessageId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Transaction
from cloche.storage.events import EventRepository
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository

_EXECUTION_ENDS = {
    ExecutionState.COMPLETED: "completed",
    ExecutionState.FAILED: "failed",
    ExecutionState.TIMEOUT: "timeout",
    ExecutionState.DEAD: "lost",
    ExecutionState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, and the next run of its thread, which may be claimed now."""

    state: ExecutionState
    code: str | None
    following: RunRef | None


class RunEndings:
    """Ends runs, inside the caller's transaction. Every terminal state of every run is set here."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def complete(
        self,
        tx: Transaction,
        scope: Scope,
        run: Run,
        *,
        answer: str | None,
        last_message_id: MessageId | None,
        usage: Usage,
        unsent: Unsent,
        loose: Sequence[EventData] | None = None,
    ) -> Ended:
        """The run has completed with this answer. ``unsent`` is what comes before it, here as in the others.

        ``loose`` is given when steps were begun that have no outcome: the events of their messages; those of their calls
        are made here.

        Raises:
            LeaseLostError: another execution owns the run.
            IllegalTransitionError: the run is being cancelled, or is over.
        """
        now = self._clock.now()
        message_id = MessageId.new() if answer is not None else last_message_id
        events: list[EventData] = []
        if answer is not None:
            parts = (TextPart(text=answer),)
            events.append(MessageCompleted(message_id=str(message_id), parts=parts))
            unsent.messages.append(MessageDraft(id=MessageId(str(message_id)), parts=parts, index=len(unsent.drafts)))
        if loose is not None:
            events += [*loose, *await self._open_ends(tx, scope, run, now, owned=True)]
        started = run.state_times.get(ExecutionState.STARTING, run.created_at)
        duration_ms = int((now - started).total_seconds() * 1000)
        events.append(AgentCompleted(message_id=message_id, usage=usage, duration_ms=duration_ms))
        return await self._close(
            tx,
            scope,
            run,
            to=ExecutionState.COMPLETED,
            unsent=unsent,
            events=events,
            usage=usage,
            failure=None,
            now=now,
            fenced=True,
        )

    async def fail(
        self, tx: Transaction, scope: Scope, run: Run, failure: Failure, *, usage: Usage, unsent: Unsent
    ) -> Ended:
        """The run has failed for this reason."""
        event = AgentFailed(code=failure.code, message=failure.message, retryable=failure.retryable)
        return await self._end(
            tx, scope, run, to=ExecutionState.FAILED, event=event, usage=usage, failure=failure, unsent=unsent
        )

    async def time_out(self, tx: Transaction, scope: Scope, run: Run, *, usage: Usage, unsent: Unsent) -> Ended:
        """The run's deadline passed."""
        failure = _failure(DeadlineExceededError("the run did not finish within its deadline"))
        event = AgentTimedOut(code=failure.code, message=failure.message, retryable=failure.retryable)
        return await self._end(
            tx, scope, run, to=ExecutionState.TIMEOUT, event=event, usage=usage, failure=failure, unsent=unsent
        )

    async def give_up(self, tx: Transaction, scope: Scope, run: Run) -> Ended:
        """The run's attempts are used up by lost workers."""
        failure = _failure(
            AttemptsExhaustedError(f"{run.losses + 1} workers were lost while they ran it"), retryable=True
        )
        event = AgentFailed(code=failure.code, message=failure.message, retryable=failure.retryable)
        return await self._end(
            tx, scope, run, to=ExecutionState.DEAD, event=event, usage=run.usage, failure=failure, unsent=None
        )

    async def cancel(
        self,
        tx: Transaction,
        scope: Scope,
        run: Run,
        receipt: Receipt,
        *,
        reason: str,
        usage: Usage,
        unsent: Unsent | None = None,
    ) -> Ended:
        """The run is cancelled and nothing of it works any more. Without ``unsent`` no execution owns it."""
        failure = _failure(RunCancelledError(reason), retryable=True)
        event = AgentCancelled(code=failure.code, message=reason, retryable=failure.retryable, receipt=receipt)
        return await self._end(
            tx, scope, run, to=ExecutionState.CANCELLED, event=event, usage=usage, failure=failure, unsent=unsent
        )

    async def admit_next(self, tx: Transaction, scope: Scope, run: Run) -> RunRef | None:
        """The thread's oldest waiting run may be claimed; None when there is none."""
        runs = RunRepository(scope)
        following = await runs.next_to_admit(tx, run.thread_id)
        if following is None:
            return None
        await runs.admit(tx, following, at=self._clock.now())
        return RunRef(tenant_id=run.ref.tenant_id, user_id=run.ref.user_id, thread_id=run.thread_id, run_id=following)

    async def end_as_told(self, tx: Transaction, scope: Scope, run: Run) -> Ended:
        """The run, which is live, ends as its log already tells.

        Raises:
            IllegalTransitionError: a run in that state cannot end so.
        """
        known = await EventRepository(scope).find_end(tx, run.thread_id, run.id, after=run.first_seq - 1)
        assert known is not None, "the caller has seen the event in this transaction"
        now, envelope = self._clock.now(), decode(known.body)
        told = decoded(envelope)
        to, usage, failure = STATE_TOLD[envelope.type], run.usage, None
        if isinstance(told, AgentCompleted):
            usage = told.usage
        elif isinstance(told, AgentFailed | AgentTimedOut | AgentCancelled):
            failure = Failure(code=told.code, message=told.message, retryable=told.retryable)
            if told.code == AttemptsExhaustedError.code:
                to = ExecutionState.DEAD
        await RunRepository(scope).end(
            tx, run.id, to, at=now, epoch=None, last_seq=known.seq, usage=usage, failure=failure
        )
        return await self._settle(tx, scope, run, to, code=None if failure is None else failure.code, now=now)

    async def complete_end(self, tx: Transaction, scope: Scope, run: Run) -> Ended:
        """The run, whose state says how it ended, is over for everybody: its log tells so, and its row says where.

        An event that tells it is written only where there is none.
        """
        now, events = self._clock.now(), EventRepository(scope)
        known = await events.find_end(tx, run.thread_id, run.id, after=run.first_seq - 1)
        if known is None:
            last = await self._event_of(tx, scope, run, now)
            told = [*await self._open_ends(tx, scope, run, now, owned=False), last]
            drafts = [
                draft(event, thread_id=run.thread_id, run_id=run.id, at=now, agent=run.agent, trace_id=run.trace_id)
                for event in told
            ]
            known = (await self._log.append(tx, scope, run.thread_id, drafts, at=now))[-1]
        await RunRepository(scope).close(tx, run.id, last_seq=known.seq, at=now)
        code = None if run.failure is None else run.failure.code
        return await self._settle(tx, scope, run, run.state, code=code, now=now)

    async def close_execution(self, tx: Transaction, scope: Scope, run: Run, epoch: int) -> None:
        """The execution, which is none of a worker's any more, has its end."""
        told = _EXECUTION_ENDS.get(run.state) if epoch == run.epoch else None
        await RunRepository(scope).end_execution(tx, run.id, epoch, told or "lost", at=self._clock.now())

    async def close_steps(self, tx: Transaction, scope: Scope, run: Run) -> list[Step]:
        """The steps that had no outcome, which the journal now has as failed: the run is over, nobody makes them good."""
        steps, now = StepRepository(scope), self._clock.now()
        open_ones = [step for step in await steps.list(tx, run.id) if step.state is StepState.STARTED]
        for step in open_ones:
            await steps.put(tx, run.id, replace(step, state=StepState.FAILED, ended_at=now))
        return open_ones

    async def withdraw(self, tx: Transaction, scope: Scope, approval: Approval) -> None:
        """The open approval of a run that is over is cancelled, and the thread's log tells so.

        The event is none of the run's: the story of a run has its last event, and nothing comes after it.
        """
        now = self._clock.now()
        await self._resolve(tx, scope, approval, now)
        event = ApprovalResolved(approval_id=approval.id, decision="cancelled")
        drafted = draft(event, thread_id=approval.thread_id, run_id=None, at=now)
        await self._log.append(tx, scope, approval.thread_id, [drafted], at=now, moves_thread=False)

    async def _settle(
        self, tx: Transaction, scope: Scope, run: Run, to: ExecutionState, *, code: str | None, now: datetime
    ) -> Ended:
        """What else belongs to an end that is in the log and in the run's row."""
        if run.epoch:
            await RunRepository(scope).end_execution(tx, run.id, run.epoch, _EXECUTION_ENDS[to], at=now)
            await self.close_steps(tx, scope, run)
        return Ended(state=to, code=code, following=await self.admit_next(tx, scope, run))

    async def _event_of(self, tx: Transaction, scope: Scope, run: Run, now: datetime) -> EventData:
        """The event that tells of an end which only the run's row knows."""
        if run.state is ExecutionState.COMPLETED:
            started = run.state_times.get(ExecutionState.STARTING, run.created_at)
            ended = run.state_times.get(run.state, now)
            message = await MessageRepository(scope).find_last(tx, run.thread_id, run.id, after=run.first_seq)
            return AgentCompleted(
                message_id=message, usage=run.usage, duration_ms=int((ended - started).total_seconds() * 1000)
            )
        failure = run.failure or _failure(AgentFailedError("the run ended, and nothing says why"))
        if run.state is ExecutionState.CANCELLED:
            receipt = await self.receipt_of(tx, scope, run)
            return AgentCancelled(
                code=failure.code, message=failure.message, retryable=failure.retryable, receipt=receipt
            )
        kind = AgentTimedOut if run.state is ExecutionState.TIMEOUT else AgentFailed
        return kind(code=failure.code, message=failure.message, retryable=failure.retryable)

    async def _end(
        self,
        tx: Transaction,
        scope: Scope,
        run: Run,
        *,
        to: ExecutionState,
        event: EventData,
        usage: Usage,
        failure: Failure,
        unsent: Unsent | None,
    ) -> Ended:
        now = self._clock.now()
        return await self._close(
            tx,
            scope,
            run,
            to=to,
            unsent=unsent or Unsent(),
            events=[*await self._open_ends(tx, scope, run, now, owned=unsent is not None), event],
            usage=usage,
            failure=failure,
            now=now,
            fenced=unsent is not None,
        )

    async def _close(
        self,
        tx: Transaction,
        scope: Scope,
        run: Run,
        *,
        to: ExecutionState,
        unsent: Unsent,
        events: Sequence[EventData],
        usage: Usage,
        failure: Failure | None,
        now: datetime,
        fenced: bool,
    ) -> Ended:
        runs = RunRepository(scope)
        last = [
            draft(event, thread_id=run.thread_id, run_id=run.id, at=now, agent=run.agent, trace_id=run.trace_id)
            for event in events
        ]
        stored = await self._log.append(tx, scope, run.thread_id, [*unsent.drafts, *last], at=now)
        await keep_messages(tx, MessageRepository(scope), run, unsent.messages, stored, at=now)
        await runs.end(
            tx,
            run.id,
            to,
            at=now,
            epoch=run.epoch if fenced else None,
            last_seq=stored[-1].seq,
            usage=usage,
            failure=failure,
        )
        if run.epoch:
            await runs.end_execution(tx, run.id, run.epoch, _EXECUTION_ENDS[to], at=now)
        following = await self.admit_next(tx, scope, run)
        return Ended(state=to, code=None if failure is None else failure.code, following=following)

    async def receipt_of(self, tx: Transaction, scope: Scope, run: Run) -> Receipt:
        """What the journal has of the calls of a run that nobody works on: those that are done, and the interrupted ones."""
        calls = [step for step in await StepRepository(scope).list(tx, run.id) if step.kind is StepKind.TOOL]
        return Receipt(
            already_done=tuple(f"{step.kind}:{step.name}" for step in calls if step.state is not StepState.STARTED),
            unknown=tuple(f"{step.kind}:{step.name}" for step in calls if step.state is StepState.STARTED),
        )

    async def _open_ends(
        self, tx: Transaction, scope: Scope, run: Run, now: datetime, *, owned: bool
    ) -> list[EventData]:
        """What tells of calls and questions that the run's end closes. ``owned``: by the execution that runs them."""
        if not run.epoch:
            return []
        found: list[EventData] = []
        for step in await self.close_steps(tx, scope, run):
            if step.kind in (StepKind.TOOL, StepKind.APPROVAL):
                found += await self._withdraw(tx, scope, run, step, now)
            if step.kind is StepKind.TOOL:
                is_stopped = owned and step.epoch == run.epoch
                found.append(_unfinished(step, now, ToolStoppedError() if is_stopped else _unknown(step)))
        return found

    async def _withdraw(self, tx: Transaction, scope: Scope, run: Run, step: Step, now: datetime) -> list[EventData]:
        approval = await ApprovalRepository(scope).of_call(tx, run.id, step.reference)
        if approval is None or approval.state is not ApprovalState.PENDING:
            return []
        await self._resolve(tx, scope, approval, now)
        return [ApprovalResolved(approval_id=approval.id, decision="cancelled")]

    async def _resolve(self, tx: Transaction, scope: Scope, approval: Approval, now: datetime) -> bool:
        self._log.note_approvals(tx, scope.tenant_id, approval.delegate_id)
        return await ApprovalRepository(scope).resolve(
            tx, approval.id, ApprovalState.CANCELLED, by=None, edited=None, at=now
        )


def _unknown(step: Step) -> ToolOutcomeUnknownError:
    return ToolOutcomeUnknownError(f"{step.name} was interrupted: whether it took effect is not known")


def _unfinished(step: Step, now: datetime, error: ToolError) -> EventData:
    return ToolCompleted(
        tool_call_id=step.reference,
        tool=step.name,
        ok=False,
        duration_ms=max(int((now - step.started_at).total_seconds() * 1000), 0),
        error=ErrorShown(code=error.code, message=error.message),
    )


def _failure(
    error: AgentFailedError | AttemptsExhaustedError | DeadlineExceededError | RunCancelledError,
    *,
    retryable: bool = False,
) -> Failure:
    return Failure(code=error.code, message=error.message, retryable=retryable or error.retryable)
