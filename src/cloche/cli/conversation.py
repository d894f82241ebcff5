"""A person, a thread and a connection that comes back: everything of ``cloche chat`` but the terminal."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NoReturn, Protocol

import msgspec

from cloche.api.wire.frames import AnyOperation, Cancel, Decide, Send, StreamClosed, StreamOpened, Subscribe
from cloche.cli.lines import Lines
from cloche.cli.live import Answer, Arrived, ConnectionLostError, LiveConnection, Received, open_live
from cloche.cli.rest import RefusedError, RestClient, ThreadFacts, UnreachableError
from cloche.cli.returning import NextStep, after_close, after_refusal, wait_s
from cloche.cli.transcript import GapError, Resumption, Transcript, with_acceptance, with_event, with_opening
from cloche.cli.view import BAD, DIM, WARNING
from cloche.clock import Clock
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.events import EventData
from cloche.domain.messages import user_parts
from cloche.errors import ClocheError
from cloche.events.snapshot import Snapshot
from cloche.ids import ApprovalId, IDType, RunId, ThreadId, generate_id

INTERRUPTED = 130
PROMPT = "you> "
QUESTION = "yes or no? "
_SUBSCRIBE = "subscribe"
_STEADY_S = 2.0
_DECISIONS = {
    "y": ApprovalDecision.APPROVE,
    "yes": ApprovalDecision.APPROVE,
    "n": ApprovalDecision.DENY,
    "no": ApprovalDecision.DENY,
}


class Screen(Protocol):
    """Where a conversation is shown."""

    def show(self, event: EventData, run_id: str | None) -> None:
        """The event is seen, as far as a person wants to see it."""
        ...

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """The state is seen that stands for a lost history."""
        ...

    def note(self, text: str, style: str = DIM) -> None:
        """A word about the connection or a refusal is seen."""
        ...

    def begin_prompt(self) -> None:
        """The person can be asked on a line of their own."""
        ...


class _StoppedError(Exception):
    """Coming back is of no use."""


class Conversation:
    """Says what a person types, shows what comes, and keeps its place over every loss of the connection.

    Nothing is sent twice: a message keeps its id, so that the server knows it when it comes again after a loss.

    Args:
        rest: of who has signed in.
        clock: measures how long a connection lasted.
        chance: a random number from 0 to 1, for the back-off.
        lines: what the person types.
        agent: the name of the agent that messages go to; None for the server's default.
        may_ask: whether the person can be asked about approvals; else each is denied.
        patience: attempts to come back before giving up; None: for ever.
    """

    def __init__(
        self,
        *,
        rest: RestClient,
        clock: Clock,
        chance: Callable[[], float],
        lines: Lines,
        agent: str | None,
        thread_id: str | None,
        may_ask: bool,
        patience: int | None,
    ) -> None:
        self._rest = rest
        self._clock = clock
        self._chance = chance
        self._lines = lines
        self._agent = agent
        self._may_ask = may_ask
        self._patience = patience
        self._screen: Screen
        self._transcript = None if thread_id is None else Transcript(thread_id=thread_id)
        self._head: int | None = None
        self._live: LiveConnection | None = None
        self._outbox: dict[str, AnyOperation] = {}
        self._last_ref = 0
        self._mine: set[str] = set()
        self._message: str | None = None
        self._decided: set[str] = set()
        self._cancelled: set[str] = set()
        self._moved = asyncio.Event()
        self._interrupts = asyncio.Semaphore(0)
        self._was_lost = False
        self._has_failed = False

    @property
    def thread_id(self) -> str | None:
        """The thread, as soon as there is one."""
        return None if self._transcript is None else self._transcript.thread_id

    def is_mine(self, client_message_id: str) -> bool:
        """The message was sent from here."""
        return client_message_id in self._mine

    def is_my_run(self, run_id: str | None) -> bool:
        """The run was asked for from here."""
        if self._transcript is None or run_id is None:
            return False
        return any(self._transcript.run_of.get(sent) == run_id for sent in self._mine)

    def interrupt(self) -> None:
        """The person wants the running run to stop; with none running, or for the second time, to leave."""
        self._interrupts.release()

    async def hold(self, screen: Screen) -> int:
        """Talk until the person leaves or coming back is of no use; the exit code."""
        self._screen = screen
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._obey_interrupts()),
                group.create_task(self._follow()),
                group.create_task(self._speak()),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = next(task for task in tasks if task.done())
            for task in tasks:
                task.cancel()
        return ended.result()

    # What the person says

    async def _speak(self) -> int:
        while True:
            await self._until(self._is_turn)
            self._settle_message()
            asked = self._open_approval()
            if asked is not None and not self._may_ask:
                self._screen.note("an approval was asked for and denied: nobody can be asked here", WARNING)
                await self._decide(asked, ApprovalDecision.DENY)
                continue
            self._screen.begin_prompt()
            line = await self._lines.ask(PROMPT if asked is None else QUESTION)
            if line is None:
                return int(self._has_failed and not self._may_ask)
            if asked is not None:
                await self._take_answer(asked, line)
            elif line.strip():
                await self._say(line)

    def _is_turn(self) -> bool:
        return self._is_caught_up() and (not self._is_busy() or self._open_approval() is not None)

    def _is_caught_up(self) -> bool:
        return self._transcript is None or (self._head is not None and self._transcript.position >= self._head)

    def _is_busy(self) -> bool:
        if self._transcript is None:
            return False
        is_awaited = self._message is not None and not self._transcript.is_ended(self._message)
        return is_awaited or bool(self._transcript.live)

    def _open_approval(self) -> str | None:
        if self._transcript is None:
            return None
        return next((held for held in self._transcript.approvals if held not in self._decided), None)

    def _settle_message(self) -> None:
        if self._message is not None and self._transcript is not None and not self._is_busy():
            self._has_failed |= not self._transcript.has_ended_well(self._message)
            self._message = None

    async def _say(self, line: str) -> None:
        text = line.encode("utf-8", "replace").decode()
        try:
            user_parts(text=text)
            thread_id = await self._ensure_thread()
        except (ClocheError, RefusedError, UnreachableError) as error:
            self._has_failed = True
            self._screen.note(str(error), BAD)
            return
        sent = generate_id(IDType.MESSAGE, "cli")
        self._mine.add(sent)
        self._message = sent
        await self._post(Send(client_message_id=sent, thread_id=thread_id, text=text, agent=self._agent))

    async def _ensure_thread(self) -> ThreadId:
        if self._transcript is None:
            made = await self._rest.post(ThreadFacts, "/v1/threads", {})
            self._transcript = Transcript(thread_id=made.id)
            if self._live is not None:
                with contextlib.suppress(ConnectionLostError):
                    await self._subscribe(self._live)
        return ThreadId(self._transcript.thread_id)

    async def _take_answer(self, approval_id: str, line: str) -> None:
        decision = _DECISIONS.get(line.strip().lower())
        if self._transcript is None or approval_id not in self._transcript.approvals:
            self._screen.note("that was settled already; nothing was sent")
        elif decision is None:
            self._screen.note("answer y or n")
        else:
            await self._decide(approval_id, decision)

    async def _decide(self, approval_id: str, decision: ApprovalDecision) -> None:
        self._decided.add(approval_id)
        await self._post(Decide(approval_id=ApprovalId(approval_id), decision=decision))

    async def _obey_interrupts(self) -> int:
        while True:
            await self._interrupts.acquire()
            run = self._running()
            if run is None or run in self._cancelled:
                return INTERRUPTED
            self._cancelled.add(run)
            self._screen.note("stopping the run; Ctrl-C again leaves", WARNING)
            await self._post(Cancel(run_id=RunId(run)))

    def _running(self) -> str | None:
        if self._transcript is None or not self._transcript.live:
            return None
        return self._transcript.live[0]

    async def _post(self, operation: AnyOperation) -> None:
        """The operation is sent now, and again after each loss until it was answered."""
        self._last_ref += 1
        ref = f"op-{self._last_ref}"
        self._outbox[ref] = msgspec.structs.replace(operation, ref=ref)
        if self._live is not None:
            with contextlib.suppress(ConnectionLostError):
                await self._live.send(self._outbox[ref])

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    # What the server says

    async def _follow(self) -> int:
        failures = 0
        while True:
            began = self._clock.monotonic()
            try:
                reason = await self._attend_until_lost()
                failures = 1 if self._clock.monotonic() - began > _STEADY_S else failures + 1
                is_quiet = await self._prepare_return(reason, failures)
            except _StoppedError as stopped:
                self._screen.note(str(stopped), BAD)
                return 1
            self._was_lost = self._was_lost or not is_quiet

    async def _attend_until_lost(self) -> Exception:
        """One connection, from its beginning to its end; why it ended."""
        try:
            async with open_live(self._rest, self._clock) as live:
                await self._attend(live)
        except (ConnectionLostError, RefusedError, UnreachableError, GapError) as error:
            return error
        finally:
            self._live = None

    async def _prepare_return(self, reason: Exception, failures: int) -> bool:
        """Wait and refresh, as the reason asks; whether the loss is of no interest to the person.

        Raises:
            _StoppedError: it asks for neither.
        """
        step = _step_after(reason)
        if step is NextStep.STOP:
            raise _StoppedError(_why_stopped(reason))
        if self._patience is not None and failures > self._patience:
            raise _StoppedError(f"given up after {failures} attempts: {reason}")
        is_quiet = step is NextStep.REFRESH and failures == 1
        if not is_quiet:
            if not self._was_lost:
                self._screen.note(f"not connected: {reason}; coming back", WARNING)
                self._was_lost = True
            await asyncio.sleep(wait_s(failures, self._chance()))
        if step is NextStep.REFRESH:
            await self._refresh()
        return is_quiet

    async def _refresh(self) -> None:
        """There is a new token, unless the server cannot be reached: then the next attempt asks for one again."""
        try:
            await self._rest.refresh()
        except (RefusedError, UnreachableError) as error:
            if _step_after(error) is NextStep.STOP:
                raise _StoppedError(_why_stopped(error)) from error

    async def _attend(self, live: LiveConnection) -> NoReturn:
        if self._transcript is not None:
            await self._subscribe(live)
        elif self._was_lost:
            self._came_back("reconnected")
        for operation in list(self._outbox.values()):
            await live.send(operation)
        self._live = live
        while True:
            self._take(await live.receive())
            self._moved.set()

    async def _subscribe(self, live: LiveConnection) -> None:
        known = self._transcript
        assert known is not None, "there is a thread to follow"
        await live.send(
            Subscribe(
                ref=_SUBSCRIBE, thread_id=ThreadId(known.thread_id), after=known.position or None, epoch=known.epoch
            )
        )

    def _take(self, received: Received) -> None:
        match received:
            case Arrived():
                self._take_events(received)
            case Answer():
                self._take_answered(received)
            case StreamOpened():
                self._take_opening(received)
            case StreamClosed():
                raise _StoppedError(f"the thread is followed no more: {received.error.message}")
            case _:
                pass  # a greeting, or a goodbye that the close code repeats

    def _take_events(self, arrived: Arrived) -> None:
        for envelope in arrived.events:
            if self._transcript is None or envelope.thread_id != self._transcript.thread_id:
                continue
            self._transcript, event = with_event(self._transcript, envelope)
            if event is not None:
                self._screen.show(event, envelope.run_id)

    def _take_opening(self, opened: StreamOpened) -> None:
        if self._transcript is None or opened.thread_id != self._transcript.thread_id:
            return
        self._transcript, how = with_opening(self._transcript, opened)
        self._head = opened.head_seq
        if how is Resumption.TRIMMED:
            self._came_back("history was trimmed; showing the current state")
            if opened.snapshot is not None:
                self._screen.show_snapshot(opened.snapshot)
        elif self._was_lost:
            self._came_back("reconnected, nothing missed")

    def _came_back(self, text: str) -> None:
        self._was_lost = False
        self._screen.note(text, WARNING if "trimmed" in text else DIM)

    def _take_answered(self, answer: Answer) -> None:
        if answer.ref == _SUBSCRIBE and answer.error is not None:
            raise _StoppedError(answer.error.message)
        operation = self._outbox.pop(str(answer.ref), None)
        if answer.error is not None:
            self._take_refusal(operation, RefusedError(answer.error))
        elif isinstance(operation, Send) and self._transcript is not None and answer.run_id is not None:
            self._transcript = with_acceptance(self._transcript, operation.client_message_id, answer.run_id)

    def _take_refusal(self, operation: AnyOperation | None, refused: RefusedError) -> None:
        match operation:
            case Send():
                self._message = None
                self._has_failed = True
                self._screen.note(str(refused), BAD)
            case Decide():
                if refused.error.retryable:
                    self._decided.discard(operation.approval_id)
                self._screen.note(str(refused), WARNING)
            case _:
                self._screen.note(str(refused))


def _step_after(reason: Exception) -> NextStep:
    match reason:
        case ConnectionLostError():
            return after_close(reason.code)
        case RefusedError():
            return after_refusal(reason.status, reason.error)
        case _:
            return NextStep.RETURN


def _why_stopped(reason: Exception) -> str:
    return f"the server ended the connection for good: {reason}"
