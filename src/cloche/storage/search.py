"""Finding a user's threads again by the words in them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cloche.clock import from_micros
from cloche.domain.messages import MessageRole
from cloche.domain.scope import Scope
from cloche.domain.text import lower_ascii
from cloche.domain.threads import Thread
from cloche.ids import MessageId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.messages import like_literally, parts_of, spoken_pattern
from cloche.storage.threads import ThreadRepository


class Hit(NamedTuple):
    """A thread in which the words are: in that message of it, or, without one, in its title."""

    thread: Thread
    message_id: MessageId | None
    role: MessageRole | None
    text: str
    at: datetime


class SaidHitRow(NamedTuple):
    """The newest message of a thread that has the words; the parts are still JSON."""

    id: str
    thread_id: str
    role: str
    parts: str
    created_at: int


class TitleHitRow(NamedTuple):
    """A thread whose title has the words."""

    id: str
    title: str
    updated_at: int


class SearchRepository:
    """Looks in one user's threads and messages, archived ones included; deleted threads are not there.

    The words are looked for as they are written, one behind the other; upper and lower case alike in ASCII only.
    """

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)
        self._threads = ThreadRepository(scope)

    async def search(self, tx: Transaction, words: str, limit: int) -> list[Hit]:
        """At most one hit in a thread, the newest first: its newest message that has the words, or else its title."""
        said = {row.thread_id: row for row in await self._said(tx, words, limit)}
        called = {row.id: row for row in await self._called(tx, words, limit) if row.id not in said}
        threads = {
            str(thread.id): thread
            for thread in await self._threads.get_all(tx, [ThreadId(identity) for identity in (*said, *called)])
        }
        hits = [
            Hit(
                threads[row.thread_id],
                MessageId(row.id),
                MessageRole(row.role),
                "\n\n".join(part.text for part in parts_of(row.parts)),
                from_micros(row.created_at),
            )
            for row in said.values()
        ]
        hits += [Hit(threads[row.id], None, None, row.title, from_micros(row.updated_at)) for row in called.values()]
        return sorted(hits, key=lambda hit: (hit.at, hit.thread.id), reverse=True)[:limit]

    async def _said(self, tx: Transaction, words: str, limit: int) -> list[SaidHitRow]:
        return await tx.fetch(
            SaidHitRow,
            "SELECT id, thread_id, role, parts, created_at FROM (SELECT messages.id, messages.thread_id, messages.role, "
            "messages.parts, messages.created_at, ROW_NUMBER() OVER (PARTITION BY messages.thread_id "
            "ORDER BY messages.created_at DESC, messages.seq DESC) AS place "
            "FROM messages JOIN threads ON threads.tenant_id = messages.tenant_id "
            "AND threads.user_id = messages.user_id AND threads.id = messages.thread_id "
            "WHERE messages.tenant_id = ? AND messages.user_id = ? AND threads.deleted_at IS NULL "
            "AND LOWER(messages.parts) LIKE ? ESCAPE '\\') AS hits WHERE place = 1 "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            self._tenant,
            self._user,
            spoken_pattern(words),
            limit,
        )

    async def _called(self, tx: Transaction, words: str, limit: int) -> list[TitleHitRow]:
        return await tx.fetch(
            TitleHitRow,
            "SELECT id, title, updated_at FROM threads WHERE tenant_id = ? AND user_id = ? AND deleted_at IS NULL "
            "AND LOWER(title) LIKE ? ESCAPE '\\' ORDER BY updated_at DESC, id DESC LIMIT ?",
            self._tenant,
            self._user,
            f"%{like_literally(lower_ascii(words))}%",
            limit,
        )
