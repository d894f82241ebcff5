"""Threads that go on from the middle of another one: copies of what was said before, and which there are."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import NamedTuple

from cloche.clock import from_micros
from cloche.domain.messages import Message
from cloche.domain.scope import Scope
from cloche.domain.threads import Branch, BranchPoint, Thread
from cloche.errors import InvalidInputError
from cloche.ids import MessageId, ThreadId
from cloche.storage.database import Param, Transaction
from cloche.storage.threads import ThreadRepository

MAX_COPIES = 10_000
MAX_BRANCHES = 500

_ROWS = 50


class BranchRow(NamedTuple):
    """What the database holds of a branch."""

    id: str
    title: str
    branched_from: str
    branched_at: str
    created_at: int


class SaidRow(NamedTuple):
    """What a copy takes over from a message; the parts are still JSON."""

    seq: int
    role: str
    parts: str
    created_at: int


class _CountRow(NamedTuple):
    messages: int


@cache
def _insert(rows: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return f"INSERT INTO messages (tenant_id, user_id, id, thread_id, seq, role, parts, created_at) VALUES {marks}"


class BranchRepository:
    """The branches of one user's threads."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)
        self._threads = ThreadRepository(scope)

    async def create(
        self, tx: Transaction, thread_id: ThreadId, at_message: Message, *, title: str, at: datetime
    ) -> Thread:
        """The thread holds copies of all messages before that one of another thread, and an empty log behind them.

        The copies keep their times, and have ids of their own and neither a run nor a client's id.

        Raises:
            InvalidInputError: there are more than ``MAX_COPIES``.
        """
        count = await self._count(tx, at_message)
        if count > MAX_COPIES:
            raise InvalidInputError(
                f"a branch takes over at most {MAX_COPIES} messages; there are {count} before this one",
                details={"place": "$.message_id", "limit": MAX_COPIES},
            )
        point = BranchPoint(thread_id=at_message.thread_id, message_id=at_message.id)
        await self._threads.create(tx, thread_id, title=title, metadata={}, at=at, point=point, head_seq=count)
        await self._copy(tx, at_message, thread_id)
        return await self._threads.get(tx, thread_id)

    async def list(self, tx: Transaction, thread_id: ThreadId) -> list[Branch]:
        """The first ``MAX_BRANCHES`` threads that were branched from this one and are not deleted, the oldest first."""
        rows = await tx.fetch(
            BranchRow,
            "SELECT id, title, branched_from, branched_at, created_at FROM threads WHERE tenant_id = ? AND user_id = ? "
            "AND branched_from = ? AND deleted_at IS NULL ORDER BY created_at, id LIMIT ?",
            self._tenant,
            self._user,
            str(thread_id),
            MAX_BRANCHES,
        )
        return [
            Branch(
                thread_id=ThreadId(row.id),
                title=row.title,
                point=BranchPoint(thread_id=ThreadId(row.branched_from), message_id=MessageId(row.branched_at)),
                created_at=from_micros(row.created_at),
            )
            for row in rows
        ]

    async def _count(self, tx: Transaction, before: Message) -> int:
        found = await tx.first(
            _CountRow,
            "SELECT COUNT(*) FROM messages WHERE tenant_id = ? AND user_id = ? AND thread_id = ? AND seq < ?",
            self._tenant,
            self._user,
            str(before.thread_id),
            before.seq,
        )
        return 0 if found is None else found.messages

    async def _copy(self, tx: Transaction, before: Message, to: ThreadId) -> None:
        number, after = 0, 0
        while True:
            rows = await tx.fetch(
                SaidRow,
                "SELECT seq, role, parts, created_at FROM messages WHERE tenant_id = ? AND user_id = ? "
                "AND thread_id = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?",
                self._tenant,
                self._user,
                str(before.thread_id),
                after,
                before.seq,
                _ROWS,
            )
            if not rows:
                return
            params: list[Param] = []
            for row in rows:
                number += 1
                copy = str(MessageId.new())
                params += (self._tenant, self._user, copy, str(to), number, row.role, row.parts, row.created_at)
            await tx.execute(_insert(len(rows)), *params)
            after = rows[-1].seq
