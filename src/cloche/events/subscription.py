"""Following one thread: history and live are one path, read after a position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cloche.domain.scope import Scope
from cloche.errors import PositionLostError
from cloche.events.hub import Hub, Topic
from cloche.ids import ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventRepository, StoredEvent

BATCH_EVENTS = 500
BATCH_BYTES = 60 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Where a stream begins: the first thing every (re)connection is told.

    ``recovered`` means that exactly what was missed follows, from ``from_seq`` on; else the snapshot stands for
    everything before it.
    """

    thread_id: ThreadId
    recovered: bool
    from_seq: int
    head_seq: int
    epoch: int


class Subscription:
    """One follower of one thread, at a position. Made by ``EventLog.subscribe``; leaves the hub when closed.

    Guarantees: the events taken are those after the opening's position, in order, each once, without a gap.
    """

    def __init__(
        self, database: Database, hub: Hub, scope: Scope, thread_id: ThreadId, on_moved: Callable[[], None] | None
    ) -> None:
        self._database = database
        self._hub = hub
        self._repository = EventRepository(scope)
        self._key = (scope.tenant_id, thread_id)
        self._on_moved = on_moved
        self._wake = asyncio.Event()
        self.thread_id = thread_id
        self.position = 0
        self._topic: Topic = hub.join(self._key, self)

    def start_at(self, position: int, head: int) -> None:
        """The next event taken is the one after ``position``; ``head`` is what the log had when it was looked at."""
        self.position = position
        self._topic.head = max(self._topic.head, head)

    @property
    def behind(self) -> bool:
        """There are events after the position."""
        return self._topic.head > self.position

    def moved(self) -> None:
        """The hub's call: the thread has new events."""
        self._wake.set()
        if self._on_moved is not None:
            self._on_moved()

    async def take(self, *, limit: int = BATCH_EVENTS, max_bytes: int = BATCH_BYTES) -> list[StoredEvent]:
        """The next events after the position, which moves behind them; empty when there are none now.

        Cancellation: safe; the position moves only when the events are returned.

        Raises:
            PositionLostError: the log was trimmed beyond the position.
            StorageError: the log cannot be read.
        """
        if not self.behind:
            return []
        events = self._topic.after(self.position, limit, max_bytes)
        if events is None:
            events = await self._read(limit, max_bytes)
        if events[0].seq != self.position + 1:
            raise PositionLostError(details={"position": self.position, "first_seq": events[0].seq})
        self.position = events[-1].seq
        return events

    async def next(self) -> list[StoredEvent]:
        """The next events, as soon as there are any.

        Cancellation: safe; nothing is lost.

        Raises:
            PositionLostError: the log was trimmed beyond the position.
        """
        while True:
            self._wake.clear()
            events = await self.take()
            if events:
                return events
            await self._wake.wait()

    def close(self) -> None:
        """The hub knows of this subscription no more."""
        self._hub.leave(self._key, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _read(self, limit: int, max_bytes: int) -> list[StoredEvent]:
        async def work(tx: Transaction) -> list[StoredEvent]:
            return await self._repository.read(tx, self.thread_id, after=self.position, limit=limit)

        found = await self._database.read(work)
        size = 0
        for index, event in enumerate(found):
            size += len(event.body)
            if index and size > max_bytes:
                return found[:index]
        if not found:
            raise PositionLostError(details={"position": self.position, "head_seq": self._topic.head})
        return found
