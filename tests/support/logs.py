"""Threads with logs, and a database whose reads a test can hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

from cloche.clock import Clock
from cloche.domain.events import AgentThinking
from cloche.domain.scope import Scope
from cloche.events.codec import decode, draft
from cloche.events.log import EventLog
from cloche.ids import ThreadId
from cloche.storage.database import Database, Work
from cloche.storage.events import StoredEvent
from cloche.storage.threads import ThreadRepository

T = TypeVar("T")
Hook = Callable[[], Awaitable[None]]


class HeldDatabase:
    """A database that lets a test act right before and right after each read."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.before_read: Hook | None = None
        self.after_read: Hook | None = None

    async def write(self, work: Work[T]) -> T:
        return await self._inner.write(work)

    def when_free(self, callback: Callable[[], None]) -> bool:
        return self._inner.when_free(callback)

    async def read(self, work: Work[T]) -> T:
        if self.before_read is not None:
            await self.before_read()
        found = await self._inner.read(work)
        if self.after_read is not None:
            await self.after_read()
        return found

    async def ping(self) -> float:
        return await self._inner.ping()

    async def aclose(self) -> None:
        await self._inner.aclose()


async def make_thread(database: Database, clock: Clock, scope: Scope) -> ThreadId:
    """A thread with an empty log."""
    thread_id = ThreadId.new()
    await database.write(
        lambda tx: ThreadRepository(scope).create(tx, thread_id, title="a", metadata={}, at=clock.now())
    )
    return thread_id


async def append(
    database: Database, log: EventLog, scope: Scope, thread_id: ThreadId, texts: list[str], *, at: datetime
) -> list[StoredEvent]:
    """One thought after the other is in the thread's log, in one transaction."""
    drafts = [draft(AgentThinking(text=text, step=0), thread_id=thread_id, run_id=None, at=at) for text in texts]
    return await database.write(lambda tx: log.append(tx, scope, thread_id, drafts, at=at))


async def set_retention(
    database: Database, scope: Scope, *, events: int = 100_000, age: timedelta = timedelta(days=30)
) -> None:
    """The tenant keeps so much."""
    await database.write(
        lambda tx: tx.execute(
            "UPDATE tenants SET retention_events = ?, retention_us = ? WHERE id = ?",
            events,
            age // timedelta(microseconds=1),
            str(scope.tenant_id),
        )
    )


def seqs(events: list[StoredEvent]) -> list[int]:
    """The events' numbers; each event's body says the same."""
    assert [decode(event.body).seq for event in events] == [event.seq for event in events]
    return [event.seq for event in events]
