"""One run's way into the database: events, steps and messages, in order, under the fence of its epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from cloche.clock import Clock
from cloche.domain.events import EventData, MessageDelta
from cloche.domain.messages import MessageRole, Part
from cloche.domain.runs import Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step
from cloche.domain.usage import Usage
from cloche.errors import ClocheError, LeaseLostError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.patience import patiently
from cloche.ids import ExecutionId, MessageId
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft, StoredEvent
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from cloche.storage.usage import UsageRepository
from cloche.telemetry import Telemetry

GATHER_S = 0.005
DELTA_WINDOW_S = 0.03
DELTA_BYTES = 2048
BACKLOG_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDraft:
    """A message row that belongs to the event at ``index`` of its entry."""

    id: MessageId
    parts: tuple[Part, ...]
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageDraft:
    """A ledger entry."""

    model: str
    step: int
    usage: Usage


@dataclass(slots=True, kw_only=True)
class Entry:
    """What is written together: steps, events, and the rows that belong to them."""

    events: list[EventData] = field(default_factory=list[EventData])
    steps: Sequence[Step] = ()
    messages: Sequence[MessageDraft] = ()
    usage: Sequence[UsageDraft] = ()
    at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Unsent:
    """Events that belong at the end of a transaction, and the message rows that name their numbers."""

    drafts: list[EventDraft] = field(default_factory=list[EventDraft])
    messages: list[MessageDraft] = field(default_factory=list[MessageDraft])


class RunWriter:
    """Writes for one execution of one run; ``flush_loop`` runs beside the program.

    Guarantees: entries are durable in the order in which they were put; nothing is written once the epoch is stale; a
    failing database delays, and loses nothing. What is left when the program has ended is written with the run's end.
    """

    def __init__(
        self,
        *,
        database: Database,
        log: EventLog,
        clock: Clock,
        telemetry: Telemetry,
        scope: Scope,
        run: Run,
        execution_id: ExecutionId,
    ) -> None:
        self._database = database
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._scope = scope
        self._run = run
        self._execution_id = execution_id
        self._runs = RunRepository(scope)
        self._steps = StepRepository(scope)
        self._messages = MessageRepository(scope)
        self._usage = UsageRepository(scope)
        self._buffer: list[Entry] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._delta: MessageDelta | None = None
        self._delta_texts: list[str] = []
        self._delta_size = 0
        self._backlog = 0
        self._last_message: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        # An execution begins with the transaction that claimed its run.
        self._written_at = asyncio.get_running_loop().time()
        self._wake = asyncio.Event()
        self._closed = False
        self._ended = False
        self._failure: ClocheError | None = None

    @property
    def failure(self) -> ClocheError | None:
        """Why nothing can be written any more, or None."""
        return self._failure

    def put(self, entry: Entry) -> None:
        """The entry will be durable soon, after everything put before; it is dropped when the execution is over.

        What is put within ``GATHER_S`` after a transaction is written together.
        """
        self._add(entry)
        self._due_soon()

    async def write(self, entry: Entry) -> None:
        """The entry, and everything put before it, is durable.

        Cancellation: safe; the entry is written all the same, unless the execution ends first.

        Raises:
            LeaseLostError: another execution owns the run; nothing was written.
        """
        self._add(entry)
        await self.flush()

    async def delta(self, message_id: MessageId, text: str) -> None:
        """The text is the message's next piece. The first of a message is written soon, the others are joined.

        Returns at once while less than 64 KiB wait, else once they are durable.
        """
        if self._delta is None or self._delta.message_id != message_id:
            self._close_delta()
            self._delta = MessageDelta(message_id=message_id, text="")
        self._delta_texts.append(text)
        self._delta_size += len(text)
        self._backlog += len(text)
        first = self._last_message != message_id
        self._last_message = message_id
        if first or self._delta_size >= DELTA_BYTES:
            self._close_delta()
            self._due_soon()
        elif self._timer is None:
            self._due_at(asyncio.get_running_loop().time() + DELTA_WINDOW_S)
        if self._backlog > BACKLOG_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Everything put before is durable.

        Raises:
            LeaseLostError: another execution owns the run, or this one is over.
        """
        self._check()
        done = asyncio.get_running_loop().create_future()
        self._waiters.append(done)
        self._due()
        await done

    async def keep(self, entry: Entry) -> None:
        """The entry will be durable soon, and before everything that is put later.

        Returns at once while less than 64 KiB wait, else once they are durable.

        Raises:
            LeaseLostError: another execution owns the run, or this one is over.
        """
        self._check()
        self.put(entry)
        self._backlog += sum(len(step.result) for step in entry.steps)
        if self._backlog > BACKLOG_BYTES:
            await self.flush()

    def close(self) -> None:
        """The flush loop ends with what it writes now; the rest is left to ``take_rest``."""
        self._closed = True
        self._due()

    def take_rest(self) -> list[Entry]:
        """What was put and not written, in order; nothing is taken any more. For after the flush loop."""
        self._close_delta()
        self._ended = True
        rest, self._buffer = self._buffer, []
        return [] if self._failure is not None else rest

    async def flush_loop(self) -> None:
        """Write what was put until ``close``; ends early when the lease is lost.

        Cancellation: what is being written stays written; the rest is dropped with the execution.
        """
        try:
            await self._flush_until_closed()
        finally:
            self._ended = True
            for waiter in self._waiters:
                waiter.cancel()

    async def _flush_until_closed(self) -> None:
        while True:
            await self._wake.wait()
            # What the program does in its next turn joins this transaction; and when nobody waits for it, what it does
            # until the database is free.
            await asyncio.sleep(0)
            self._wake.clear()
            if not self._closed and not self._waiters and self._database.when_free(self._wake.set):
                await self._wake.wait()
                self._wake.clear()
            if self._closed:
                return
            self._close_delta()
            self._written_at = asyncio.get_running_loop().time()
            entries, waiters = self._buffer, self._waiters
            self._buffer, self._waiters, self._backlog = [], [], 0
            try:
                if entries:
                    await patiently(
                        partial(self._database.write, partial(self._write, entries=entries)),
                        run_id=self._run.id,
                        telemetry=self._telemetry,
                    )
            except ClocheError as error:
                self._fail(error, waiters)
                return
            except asyncio.CancelledError:
                for waiter in waiters:
                    waiter.cancel()
                raise
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._ended:
            raise LeaseLostError("the execution is over; nothing of it is written any more")

    def _fail(self, error: ClocheError, waiters: list[asyncio.Future[None]]) -> None:
        self._failure = error
        for waiter in (*waiters, *self._waiters):
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters = []

    def _add(self, entry: Entry) -> None:
        if self._ended:
            return
        self._close_delta()
        entry.at = self._clock.now()
        self._buffer.append(entry)

    def _due_soon(self) -> None:
        """Now, when the last transaction is long enough ago for this not to be one of many."""
        now = asyncio.get_running_loop().time()
        at = self._written_at + GATHER_S
        if at <= now:
            self._due()
        else:
            self._due_at(at)

    def _due_at(self, at: float) -> None:
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer, self._timer_at = asyncio.get_running_loop().call_at(at, self._due), at

    def _due(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake.set()

    def _close_delta(self) -> None:
        if self._delta is None:
            return
        joined = MessageDelta(message_id=self._delta.message_id, text="".join(self._delta_texts))
        self._buffer.append(Entry(events=[joined], at=self._clock.now()))
        self._delta = None
        self._delta_texts = []
        self._delta_size = 0

    async def _write(self, tx: Transaction, entries: Sequence[Entry]) -> None:
        await self._runs.fence(tx, self._run.id, self._run.epoch)
        await self.append(tx, await self.prepare(tx, entries))

    async def prepare(self, tx: Transaction, entries: Sequence[Entry]) -> Unsent:
        """The entries' steps and costs are in the transaction, which has fenced; their events are left to append."""
        run, unsent = self._run, Unsent()
        steps: dict[int, Step] = {}
        for entry in entries:
            at = entry.at or self._clock.now()
            steps.update((step.index, step) for step in entry.steps)
            unsent.messages += [
                replace(message, index=len(unsent.drafts) + message.index) for message in entry.messages
            ]
            unsent.drafts += [self.draft(event, at) for event in entry.events]
            for cost in entry.usage:
                await self._usage.record(
                    tx, run.id, agent=run.agent, model=cost.model, step=cost.step, usage=cost.usage, at=at
                )
        for step in steps.values():
            await self._steps.put(tx, run.id, step)
        return unsent

    async def append(self, tx: Transaction, unsent: Unsent) -> None:
        """The events, and the messages that belong to them, are in the transaction."""
        if not unsent.drafts:
            return
        run, at = self._run, self._clock.now()
        stored = await self._log.append(tx, self._scope, run.thread_id, unsent.drafts, at=at, moves_thread=False)
        await keep_messages(tx, self._messages, run, unsent.messages, stored, at=at)
        figures = self._telemetry.figures

        def count() -> None:
            figures.events_appended += len(stored)

        tx.after_commit(count)

    def draft(self, event: EventData, at: datetime) -> EventDraft:
        """The event as one of this execution; deltas carry no more than they must."""
        plain = isinstance(event, MessageDelta)
        return draft(
            event,
            thread_id=self._run.thread_id,
            run_id=self._run.id,
            at=at,
            execution_id=None if plain else self._execution_id,
            agent=None if plain else self._run.agent,
            trace_id=None if plain else self._run.trace_id,
        )


async def keep_messages(
    tx: Transaction,
    repository: MessageRepository,
    run: Run,
    messages: Sequence[MessageDraft],
    stored: Sequence[StoredEvent],
    *,
    at: datetime,
) -> None:
    """The messages have their rows, each with the number of its event."""
    for message in messages:
        await repository.create(
            tx,
            message.id,
            thread_id=run.thread_id,
            run_id=run.id,
            seq=stored[message.index].seq,
            role=MessageRole.ASSISTANT,
            parts=message.parts,
            at=at,
        )
