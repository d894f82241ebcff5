"""What a user's list of threads shows, told as it changes: present states, not events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cloche.clock import from_micros, to_text
from cloche.domain.permissions import Permission, decide
from cloche.domain.scope import Scope
from cloche.domain.threads import status_of
from cloche.events.hub import Hub
from cloche.ids import ThreadId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ListedRow, ThreadRepository

MAX_TOLD = 50
MAX_REMEMBERED = 2_000


class ThreadState(msgspec.Struct, frozen=True, kw_only=True):
    """A thread as a list of threads shows it."""

    thread_id: str
    title: str
    status: str
    head_seq: int
    read_seq: int
    unread: bool
    updated_at: str
    archived: bool
    deleted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedChanges:
    """What is to be told: threads as they are now, and how many approvals wait, where that changed."""

    threads: Sequence[ThreadState]
    pending: int | None


class Feed:
    """One watcher of one user's threads and approvals. Made by ``EventLog.watch``; leaves the hub when closed.

    Guarantees: level-triggered. What moves while changes are read is read with the next ones, so that the last state of
    each thread is always told; states between may be left out. What only a follower of the thread sees is not told.
    """

    def __init__(self, database: Database, hub: Hub, scope: Scope, on_moved: Callable[[], None]) -> None:
        self._database = database
        self._hub = hub
        self._scope = scope
        self._on_moved = on_moved
        self._key = (scope.tenant_id, scope.user_id)
        self._moved: dict[ThreadId, None] = {}
        self._shown: dict[ThreadId, ThreadState] = {}
        self._are_approvals_moved = True
        self._pending: int | None = None
        hub.watch(self._key, self)

    @property
    def has_moved(self) -> bool:
        """There may be something to tell."""
        return self._are_approvals_moved or bool(self._moved)

    def thread_moved(self, thread_id: ThreadId, *, is_listed: bool) -> None:
        """See ``Watcher``. What no list shows matters only for a thread that may have been read up to there."""
        shown = self._shown.get(thread_id)
        if is_listed or shown is None or not shown.unread:
            self._moved[thread_id] = None
            self._on_moved()

    def approvals_moved(self) -> None:
        """See ``Watcher``."""
        self._are_approvals_moved = True
        self._on_moved()

    async def take(self) -> FeedChanges:
        """What changed since the last call, of at most ``MAX_TOLD`` threads; the others are left for the next.

        Raises:
            StorageError: the rows cannot be read.
        """
        wanted = list(self._moved)[:MAX_TOLD]
        # A thread that is not remembered while its row is read is read again, whatever moves meanwhile.
        before = {thread_id: self._shown.pop(thread_id, None) for thread_id in wanted}
        for thread_id in wanted:
            del self._moved[thread_id]
        asks, self._are_approvals_moved = self._are_approvals_moved, False

        async def work(tx: Transaction) -> tuple[list[ThreadState], int | None]:
            return await self._states(tx, wanted), await self._count(tx) if asks else None

        states, pending = await self._database.read(work)
        for state in states:
            self._remember(state)
        if pending == self._pending:
            pending = None
        elif pending is not None:
            self._pending = pending
        changed = [state for state in states if not _looks_like(before[ThreadId(state.thread_id)], state)]
        return FeedChanges(threads=changed, pending=pending)

    def close(self) -> None:
        """The hub knows of this watcher no more."""
        self._hub.unwatch(self._key, self)

    async def _states(self, tx: Transaction, wanted: Sequence[ThreadId]) -> list[ThreadState]:
        if not wanted:
            return []
        live = await RunRepository(self._scope).live_states(tx)
        rows = await ThreadRepository(self._scope).listed(tx, wanted)
        return [_state(row, status_of(live.get(ThreadId(row.id), ()))) for row in rows]

    async def _count(self, tx: Transaction) -> int:
        if not decide(self._scope.permissions, Permission.APPROVALS_DECIDE).allowed:
            return 0
        return await ApprovalRepository(self._scope).count_pending(tx)

    def _remember(self, state: ThreadState) -> None:
        self._shown[ThreadId(state.thread_id)] = state
        if len(self._shown) > MAX_REMEMBERED:
            del self._shown[next(iter(self._shown))]


def _state(row: ListedRow, status: str) -> ThreadState:
    return ThreadState(
        thread_id=row.id,
        title=row.title,
        status=status,
        head_seq=row.head_seq,
        read_seq=row.read_seq,
        unread=row.head_seq > row.read_seq,
        updated_at=to_text(from_micros(row.updated_at)),
        archived=row.archived_at is not None,
        deleted=row.deleted_at is not None,
    )


def _looks_like(before: ThreadState | None, now: ThreadState) -> bool:
    """Whether a list shows both alike. The head alone moves with each word of an agent, and is told with what else does."""
    return before is not None and msgspec.structs.replace(before, head_seq=now.head_seq) == now
