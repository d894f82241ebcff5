"""The log's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from cloche.clock import to_micros
from cloche.domain.events import TERMINAL_TYPES
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Param, Transaction


class EventDraft(NamedTuple):
    """An event before it has its number: ``tail`` is its JSON without the leading ``{"seq":N,``."""

    type: str
    run_id: str | None
    tail: bytes


class StoredEvent(NamedTuple):
    """An event of the log: its number, and the bytes that are stored and sent."""

    seq: int
    body: bytes


class LogBounds(NamedTuple):
    """Where a thread's log stands: its epoch, the first number kept and the last one given."""

    log_epoch: int
    first_seq: int
    head_seq: int


class TrimRow(NamedTuple):
    """A log that is longer, or older, than its tenant keeps."""

    tenant_id: str
    user_id: str
    id: str
    first_seq: int
    head_seq: int


_TERMINAL = ", ".join(f"'{kind}'" for kind in sorted(TERMINAL_TYPES))
_COLUMNS = 8
_ROWS = 50


_PLACE = "WHERE tenant_id = ? AND user_id = ? AND id = ? RETURNING log_epoch, first_seq, head_seq"
_ADVANCE = f"UPDATE threads SET head_seq = head_seq + ? {_PLACE}"
_ADVANCE_AND_MOVE = f"UPDATE threads SET head_seq = head_seq + ?, updated_at = ? {_PLACE}"
# What was read before, is read on with what its user writes: the same UPDATE, whose right sides see the row as it was.
_ADVANCE_AND_READ = (
    "UPDATE threads SET head_seq = head_seq + ?, updated_at = ?, "
    f"read_seq = CASE WHEN read_seq >= head_seq THEN head_seq + ? ELSE read_seq END {_PLACE}"
)


@cache
def _insert(rows: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO events (tenant_id, thread_id, seq, user_id, type, run_id, created_at, body) VALUES {marks}"


class EventRepository:
    """The logs of one user's threads."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def append(
        self,
        tx: Transaction,
        thread_id: ThreadId,
        drafts: Sequence[EventDraft],
        *,
        at: datetime,
        moves_thread: bool = True,
        own: int = 0,
    ) -> list[StoredEvent]:
        """The events are the thread's next ones, numbered without a gap; with ``moves_thread`` it was last changed ``at``.

        The first ``own`` of them are the user's own: a thread that was read up to its end is read up to there, too.

        Raises:
            NotFoundError: this user has no such thread.
        """
        now, count = to_micros(at), len(drafts)
        statement, values = _ADVANCE, (count,)
        if own:
            statement, values = _ADVANCE_AND_READ, (count, now, own)
        elif moves_thread:
            statement, values = _ADVANCE_AND_MOVE, (count, now)
        head = await tx.first(
            LogBounds,
            statement,
            *values,
            self._tenant,
            self._user,
            str(thread_id),
        )
        if head is None:
            raise NotFoundError("there is no such thread")
        thread, first = str(thread_id), head.head_seq - len(drafts) + 1
        stored: list[StoredEvent] = []
        params: list[Param] = []
        for seq, draft in enumerate(drafts, first):
            body = b'{"seq":%d,' % seq + draft.tail
            stored.append(StoredEvent(seq, body))
            params += (self._tenant, thread, seq, self._user, draft.type, draft.run_id, now, body)
        for start in range(0, len(params), _ROWS * _COLUMNS):
            some = params[start : start + _ROWS * _COLUMNS]
            await tx.execute(_insert(len(some) // _COLUMNS), *some)
        return stored

    async def read(
        self, tx: Transaction, thread_id: ThreadId, *, after: int, limit: int, until: int | None = None
    ) -> list[StoredEvent]:
        """Up to ``limit`` events after that number, in order."""
        return await tx.fetch(
            StoredEvent,
            "SELECT seq, body FROM events WHERE tenant_id = ? AND thread_id = ? AND seq > ? AND seq <= ? "
            "AND user_id = ? ORDER BY seq LIMIT ?",
            self._tenant,
            str(thread_id),
            after,
            2**62 if until is None else until,
            self._user,
            limit,
        )

    async def read_run(
        self, tx: Transaction, thread_id: ThreadId, run_id: RunId, *, after: int, until: int, limit: int
    ) -> list[StoredEvent]:
        """Up to ``limit`` events of one run between two numbers (the first exclusive), in order."""
        return await tx.fetch(
            StoredEvent,
            "SELECT seq, body FROM events WHERE tenant_id = ? AND thread_id = ? AND seq > ? AND seq <= ? "
            "AND user_id = ? AND run_id = ? ORDER BY seq LIMIT ?",
            self._tenant,
            str(thread_id),
            after,
            until,
            self._user,
            str(run_id),
            limit,
        )

    async def find_end(self, tx: Transaction, thread_id: ThreadId, run_id: RunId, *, after: int) -> StoredEvent | None:
        """The first event after that number which tells that the run is over; None when there is none."""
        return await tx.first(
            StoredEvent,
            "SELECT seq, body FROM events WHERE tenant_id = ? AND thread_id = ? AND seq > ? AND user_id = ? "
            f"AND run_id = ? AND type IN ({_TERMINAL}) ORDER BY seq LIMIT 1",
            self._tenant,
            str(thread_id),
            after,
            self._user,
            str(run_id),
        )

    async def mend_head(self, tx: Transaction, thread_id: ThreadId) -> int | None:
        """The thread's last number is that of its log's last event; None, and no change, unless it was smaller."""
        found = await tx.first(
            LogBounds,
            "UPDATE threads SET head_seq = (SELECT MAX(seq) FROM events WHERE events.tenant_id = threads.tenant_id "
            "AND events.thread_id = threads.id) WHERE tenant_id = ? AND user_id = ? AND id = ? "
            "AND head_seq < (SELECT MAX(seq) FROM events WHERE events.tenant_id = threads.tenant_id "
            "AND events.thread_id = threads.id) RETURNING log_epoch, first_seq, head_seq",
            self._tenant,
            self._user,
            str(thread_id),
        )
        return None if found is None else found.head_seq

    async def bounds(self, tx: Transaction, thread_id: ThreadId) -> LogBounds:
        """Where the thread's log stands.

        Raises:
            NotFoundError: this user has no such thread.
        """
        found = await tx.first(
            LogBounds,
            "SELECT log_epoch, first_seq, head_seq FROM threads "
            "WHERE tenant_id = ? AND user_id = ? AND id = ? AND deleted_at IS NULL",
            self._tenant,
            self._user,
            str(thread_id),
        )
        if found is None:
            raise NotFoundError("there is no such thread")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How much of a log is kept for tenants that have no setting of their own."""

    age: timedelta = timedelta(days=30)
    events: int = 100_000


class RetentionRepository:
    """What the retention sweep removes, across users."""

    def __init__(self, scope: SystemScope, keep: Keep) -> None:
        self.scope = scope
        self._age_us = keep.age // timedelta(microseconds=1)
        self._events = keep.events

    async def overdue(self, tx: Transaction, *, at: datetime, limit: int) -> list[TrimRow]:
        """Logs that hold more events than their tenant keeps, or older ones, and that no live run keeps as they are."""
        return await tx.fetch(
            TrimRow,
            "SELECT threads.tenant_id, threads.user_id, threads.id, threads.first_seq, threads.head_seq FROM threads "
            "JOIN tenants ON tenants.id = threads.tenant_id "
            "LEFT JOIN events ON events.tenant_id = threads.tenant_id AND events.thread_id = threads.id "
            "AND events.seq = threads.first_seq "
            "WHERE (threads.head_seq - threads.first_seq + 1 > COALESCE(tenants.retention_events, ?) "
            "OR events.created_at < ? - COALESCE(tenants.retention_us, ?)) "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.tenant_id = threads.tenant_id "
            "AND runs.user_id = threads.user_id AND runs.thread_id = threads.id AND runs.ended_at IS NULL "
            "AND runs.first_seq <= threads.first_seq) LIMIT ?",
            self._events,
            to_micros(at),
            self._age_us,
            limit,
        )

    async def trim(self, tx: Transaction, row: TrimRow, *, at: datetime) -> int:
        """The log begins later: old events are gone, those of live runs are all kept. The number of events removed."""
        keep = await tx.first(
            _KeepRow,
            "SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE tenant_id = ? AND thread_id = ? AND ("
            "seq <= (SELECT threads.head_seq - COALESCE(tenants.retention_events, ?) FROM threads "
            "JOIN tenants ON tenants.id = threads.tenant_id "
            "WHERE threads.tenant_id = ? AND threads.user_id = ? AND threads.id = ?) "
            "OR created_at < ? - (SELECT COALESCE(retention_us, ?) FROM tenants WHERE id = ?))",
            row.tenant_id,
            row.id,
            self._events,
            row.tenant_id,
            row.user_id,
            row.id,
            to_micros(at),
            self._age_us,
            row.tenant_id,
        )
        live = await tx.first(
            _KeepRow,
            "SELECT COALESCE(MIN(first_seq), ?) FROM runs WHERE tenant_id = ? AND user_id = ? AND thread_id = ? "
            "AND ended_at IS NULL",
            2**62,
            row.tenant_id,
            row.user_id,
            row.id,
        )
        first = min(keep.seq if keep else 1, live.seq if live else 1)
        if first <= row.first_seq:
            return 0
        await tx.execute(
            "UPDATE threads SET first_seq = ? WHERE tenant_id = ? AND user_id = ? AND id = ?",
            first,
            row.tenant_id,
            row.user_id,
            row.id,
        )
        return await tx.execute(
            "DELETE FROM events WHERE tenant_id = ? AND thread_id = ? AND seq < ?", row.tenant_id, row.id, first
        )

    async def purge_deleted(self, tx: Transaction, *, before: datetime, limit: int) -> int:
        """Threads deleted before that time are gone with everything in them; how many there were."""
        rows = await tx.fetch(
            TrimRow,
            "SELECT tenant_id, user_id, id, first_seq, head_seq FROM threads WHERE deleted_at < ? "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.tenant_id = threads.tenant_id "
            "AND runs.user_id = threads.user_id AND runs.thread_id = threads.id AND runs.ended_at IS NULL) LIMIT ?",
            to_micros(before),
            limit,
        )
        for row in rows:
            for table in ("executions", "steps", "tool_intents"):
                await tx.execute(
                    f"DELETE FROM {table} WHERE tenant_id = ? AND user_id = ? AND run_id IN "
                    "(SELECT id FROM runs WHERE tenant_id = ? AND user_id = ? AND thread_id = ?)",
                    row.tenant_id,
                    row.user_id,
                    row.tenant_id,
                    row.user_id,
                    row.id,
                )
            await tx.execute("DELETE FROM events WHERE tenant_id = ? AND thread_id = ?", row.tenant_id, row.id)
            for table in ("messages", "approvals", "runs"):
                await tx.execute(
                    f"DELETE FROM {table} WHERE tenant_id = ? AND user_id = ? AND thread_id = ?",
                    row.tenant_id,
                    row.user_id,
                    row.id,
                )
            await tx.execute(
                "DELETE FROM threads WHERE tenant_id = ? AND user_id = ? AND id = ?", row.tenant_id, row.user_id, row.id
            )
        return len(rows)


class _KeepRow(NamedTuple):
    seq: int
