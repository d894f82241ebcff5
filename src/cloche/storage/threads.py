"""Threads in the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.scope import Scope
from cloche.domain.threads import BranchPoint, Thread
from cloche.errors import NotFoundError
from cloche.ids import MessageId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of

_COLUMNS = (
    "id, title, metadata, log_epoch, head_seq, first_seq, created_at, updated_at, archived_at, external_id, "
    "branched_from, branched_at, read_seq"
)
_OWN = "tenant_id = ? AND user_id = ? AND deleted_at IS NULL"


class ThreadRow(NamedTuple):
    """What the database holds of a thread; times are microseconds, metadata is JSON."""

    id: str
    title: str
    metadata: bytes
    log_epoch: int
    head_seq: int
    first_seq: int
    created_at: int
    updated_at: int
    archived_at: int | None
    external_id: str | None
    branched_from: str | None
    branched_at: str | None
    read_seq: int


class ListedRow(NamedTuple):
    """A thread as a list shows it; times are microseconds."""

    id: str
    title: str
    head_seq: int
    read_seq: int
    updated_at: int
    archived_at: int | None
    deleted_at: int | None


class ThreadRepository:
    """The threads of one user."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def create(
        self,
        tx: Transaction,
        thread_id: ThreadId,
        *,
        title: str,
        metadata: Mapping[str, object],
        at: datetime,
        point: BranchPoint | None = None,
        head_seq: int = 0,
    ) -> Thread:
        """The thread exists, with an empty log that goes on behind ``head_seq``; ``point`` is where it was branched.

        It is read as far as it goes.
        """
        now = to_micros(at)
        await tx.execute(
            "INSERT INTO threads (tenant_id, user_id, id, title, metadata, log_epoch, head_seq, first_seq, "
            "created_at, updated_at, branched_from, branched_at, read_seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            str(thread_id),
            title,
            msgspec.json.encode(metadata),
            now,
            head_seq,
            head_seq + 1,
            now,
            now,
            None if point is None else str(point.thread_id),
            None if point is None else str(point.message_id),
            head_seq,
        )
        return await self.get(tx, thread_id)

    async def find(self, tx: Transaction, thread_id: ThreadId) -> Thread | None:
        """The thread, or None when this user has none of that id."""
        row = await tx.first(
            ThreadRow,
            f"SELECT {_COLUMNS} FROM threads WHERE {_OWN} AND id = ?",
            self._tenant,
            self._user,
            str(thread_id),
        )
        return None if row is None else _thread(row)

    async def get(self, tx: Transaction, thread_id: ThreadId) -> Thread:
        """The thread.

        Raises:
            NotFoundError: this user has none of that id.
        """
        found = await self.find(tx, thread_id)
        if found is None:
            raise NotFoundError("there is no such thread")
        return found

    async def list(self, tx: Transaction, page: PageRequest, *, archived: bool = False) -> Page[Thread]:
        """The threads last changed, newest first; ``archived`` chooses which of the two heaps."""
        number, identity = page.before or (2**62, "~")
        state = "archived_at IS NOT NULL" if archived else "archived_at IS NULL"
        rows = await tx.fetch(
            ThreadRow,
            f"SELECT {_COLUMNS} FROM threads WHERE {_OWN} AND {state} "
            "AND (updated_at, id) < (?, ?) ORDER BY updated_at DESC, id DESC LIMIT ?",
            self._tenant,
            self._user,
            number,
            identity,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        more = len(rows) > page.limit
        cursor = cursor_of("threads", kept[-1].updated_at, kept[-1].id) if more else None
        return Page(items=[_thread(row) for row in kept], next_cursor=cursor)

    async def all_after(self, tx: Transaction, last: str, limit: int) -> list[Thread]:
        """Up to ``limit`` threads with ids after that one, in the order of their ids, the archived ones too."""
        rows = await tx.fetch(
            ThreadRow,
            f"SELECT {_COLUMNS} FROM threads WHERE {_OWN} AND id > ? ORDER BY id LIMIT ?",
            self._tenant,
            self._user,
            last,
            limit,
        )
        return [_thread(row) for row in rows]

    async def get_all(self, tx: Transaction, thread_ids: Sequence[ThreadId]) -> list[Thread]:
        """Those of these threads that the user has, in no order."""
        marks = ", ".join("?" for _ in thread_ids)
        rows = await tx.fetch(
            ThreadRow,
            f"SELECT {_COLUMNS} FROM threads WHERE {_OWN} AND id IN ({marks})",
            self._tenant,
            self._user,
            *(str(thread_id) for thread_id in thread_ids),
        )
        return [_thread(row) for row in rows]

    async def listed(self, tx: Transaction, thread_ids: Sequence[ThreadId]) -> list[ListedRow]:
        """Those of these threads that are the user's, as a list shows them; the deleted ones, too, until they are gone."""
        marks = ", ".join("?" for _ in thread_ids)
        return await tx.fetch(
            ListedRow,
            "SELECT id, title, head_seq, read_seq, updated_at, archived_at, deleted_at FROM threads "
            f"WHERE tenant_id = ? AND user_id = ? AND id IN ({marks}) ORDER BY id",
            self._tenant,
            self._user,
            *(str(thread_id) for thread_id in thread_ids),
        )

    async def update(
        self,
        tx: Transaction,
        thread_id: ThreadId,
        *,
        at: datetime,
        title: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Thread:
        """The thread has the new title and metadata; None leaves one as it is.

        Raises:
            NotFoundError: this user has none of that id.
        """
        await self._change(
            tx,
            thread_id,
            "title = COALESCE(?, title), metadata = COALESCE(?, metadata), updated_at = ?",
            title,
            None if metadata is None else msgspec.json.encode(metadata),
            to_micros(at),
        )
        return await self.get(tx, thread_id)

    async def mark_read(self, tx: Transaction, thread_id: ThreadId, seq: int) -> Thread:
        """The thread is read up to that number, or to its last one if that is smaller; never less far than it was.

        Raises:
            NotFoundError: this user has none of that id.
        """
        change = "read_seq = CASE WHEN ? >= head_seq THEN head_seq WHEN ? > read_seq THEN ? ELSE read_seq END"
        await self._change(tx, thread_id, change, seq, seq, seq)
        return await self.get(tx, thread_id)

    async def archive(self, tx: Transaction, thread_id: ThreadId, *, at: datetime | None) -> Thread:
        """The thread is archived at that time, or no more when it is None.

        Raises:
            NotFoundError: this user has none of that id.
        """
        await self._change(tx, thread_id, "archived_at = ?", None if at is None else to_micros(at))
        return await self.get(tx, thread_id)

    async def delete(self, tx: Transaction, thread_id: ThreadId, *, at: datetime) -> None:
        """The thread is gone for its user; the retention sweep removes its rows.

        Raises:
            NotFoundError: this user has none of that id.
        """
        await self._change(tx, thread_id, "deleted_at = ?", to_micros(at))

    async def restore(self, tx: Transaction, thread_id: ThreadId, *, deleted_since: datetime) -> Thread:
        """The thread, deleted at that time or later, is there again; one that is not deleted stays as it is.

        Raises:
            NotFoundError: this user has none of that id, or it was deleted earlier.
        """
        await tx.execute(
            "UPDATE threads SET deleted_at = NULL WHERE tenant_id = ? AND user_id = ? AND id = ? AND deleted_at >= ?",
            self._tenant,
            self._user,
            str(thread_id),
            to_micros(deleted_since),
        )
        return await self.get(tx, thread_id)

    async def _change(
        self, tx: Transaction, thread_id: ThreadId, change: str, *params: int | str | bytes | None
    ) -> None:
        changed = await tx.execute(
            f"UPDATE threads SET {change} WHERE {_OWN} AND id = ?",
            *params,
            self._tenant,
            self._user,
            str(thread_id),
        )
        if not changed:
            raise NotFoundError("there is no such thread")


def _thread(row: ThreadRow) -> Thread:
    return Thread(
        id=ThreadId(row.id),
        title=row.title,
        metadata=msgspec.json.decode(row.metadata, type=dict[str, object]),
        log_epoch=row.log_epoch,
        head_seq=row.head_seq,
        first_seq=row.first_seq,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
        archived_at=None if row.archived_at is None else from_micros(row.archived_at),
        external_id=row.external_id,
        branched_from=None
        if row.branched_from is None or row.branched_at is None
        else BranchPoint(thread_id=ThreadId(row.branched_from), message_id=MessageId(row.branched_at)),
        read_seq=row.read_seq,
    )
