"""Messages in the database."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.messages import Message, MessageRole, Part
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import MessageId, RunId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of

_COLUMNS = "id, thread_id, run_id, seq, role, parts, client_message_id, created_at"


class MessageRow(NamedTuple):
    """What the database holds of a message; the parts are still JSON."""

    id: str
    thread_id: str
    run_id: str | None
    seq: int
    role: str
    parts: str
    client_message_id: str | None
    created_at: int


class MessageIdRow(NamedTuple):
    """Which message it is."""

    id: str


class SentRow(NamedTuple):
    """What an earlier message of the same client id was."""

    id: str
    run_id: str
    seq: int
    body_digest: bytes


class FoundRow(NamedTuple):
    """A message found by its words, with its thread's title."""

    thread_id: str
    title: str
    role: str
    parts: str
    created_at: int


class AnswerRow(NamedTuple):
    """The stored answer of a request that is asked for again."""

    body_digest: bytes
    answer: bytes


class MessageRepository:
    """The messages of one user's threads."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def create(
        self,
        tx: Transaction,
        message_id: MessageId,
        *,
        thread_id: ThreadId,
        run_id: RunId,
        seq: int,
        role: MessageRole,
        parts: tuple[Part, ...],
        at: datetime,
        client_message_id: str | None = None,
        body_digest: bytes | None = None,
    ) -> None:
        """The message is in its thread; ``seq`` is the number of the event that tells of it."""
        await tx.execute(
            "INSERT INTO messages (tenant_id, user_id, id, thread_id, run_id, seq, role, parts, client_message_id, "
            "body_digest, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            str(message_id),
            str(thread_id),
            str(run_id),
            seq,
            str(role),
            msgspec.json.encode(parts).decode(),
            client_message_id,
            body_digest,
            to_micros(at),
        )

    async def get(self, tx: Transaction, message_id: MessageId) -> Message:
        """The message.

        Raises:
            NotFoundError: this user has none of that id.
        """
        row = await tx.first(
            MessageRow,
            f"SELECT {_COLUMNS} FROM messages WHERE tenant_id = ? AND user_id = ? AND id = ?",
            self._tenant,
            self._user,
            str(message_id),
        )
        if row is None:
            raise NotFoundError("there is no such message")
        return _message(row)

    async def find_last(self, tx: Transaction, thread_id: ThreadId, run_id: RunId, *, after: int) -> MessageId | None:
        """The last message that the agent of the run wrote, among those after that number; or None."""
        row = await tx.first(
            MessageIdRow,
            "SELECT id FROM messages WHERE tenant_id = ? AND user_id = ? AND thread_id = ? AND seq > ? AND run_id = ? "
            "AND role = ? ORDER BY seq DESC LIMIT 1",
            self._tenant,
            self._user,
            str(thread_id),
            after,
            str(run_id),
            str(MessageRole.ASSISTANT),
        )
        return None if row is None else MessageId(row.id)

    async def find_sent(self, tx: Transaction, thread_id: ThreadId, client_message_id: str) -> SentRow | None:
        """What was sent on the thread under this client id, or None."""
        return await tx.first(
            SentRow,
            "SELECT id, run_id, seq, body_digest FROM messages WHERE tenant_id = ? AND user_id = ? AND thread_id = ? "
            "AND client_message_id = ?",
            self._tenant,
            self._user,
            str(thread_id),
            client_message_id,
        )

    async def find_answer(self, tx: Transaction, key: str) -> AnswerRow | None:
        """The stored answer under an idempotency key, or None."""
        return await tx.first(
            AnswerRow,
            "SELECT body_digest, answer FROM idempotency WHERE tenant_id = ? AND user_id = ? AND key = ?",
            self._tenant,
            self._user,
            key,
        )

    async def keep_answer(self, tx: Transaction, key: str, digest: bytes, answer: bytes, *, at: datetime) -> None:
        """The answer is stored under the key."""
        await tx.execute(
            "INSERT INTO idempotency (tenant_id, user_id, key, body_digest, answer, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            key,
            digest,
            answer,
            to_micros(at),
        )

    async def list(self, tx: Transaction, thread_id: ThreadId, page: PageRequest) -> Page[Message]:
        """The thread's messages, newest first."""
        number, _ = page.before or (2**62, "")
        rows = await tx.fetch(
            MessageRow,
            f"SELECT {_COLUMNS} FROM messages WHERE tenant_id = ? AND user_id = ? AND thread_id = ? AND seq < ? "
            "ORDER BY seq DESC LIMIT ?",
            self._tenant,
            self._user,
            str(thread_id),
            number,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        cursor = cursor_of("messages", kept[-1].seq, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[_message(row) for row in kept], next_cursor=cursor)

    async def before(self, tx: Transaction, thread_id: ThreadId, seq: int, limit: int) -> list[Message]:
        """The last ``limit`` messages up to and including that number, oldest first."""
        page = await self.list(tx, thread_id, PageRequest(limit=limit, before=(seq + 1, "")))
        return list(reversed(page.items))

    async def search(self, tx: Transaction, words: str, limit: int) -> list[FoundRow]:
        """The newest messages whose text has these words somewhere, upper and lower case alike (ASCII)."""
        return await tx.fetch(
            FoundRow,
            "SELECT messages.thread_id, threads.title, messages.role, messages.parts, messages.created_at "
            "FROM messages JOIN threads ON threads.tenant_id = messages.tenant_id "
            "AND threads.user_id = messages.user_id AND threads.id = messages.thread_id "
            "WHERE messages.tenant_id = ? AND messages.user_id = ? AND threads.deleted_at IS NULL "
            "AND LOWER(messages.parts) LIKE ? ESCAPE '\\' ORDER BY messages.created_at DESC LIMIT ?",
            self._tenant,
            self._user,
            spoken_pattern(words),
            limit,
        )


def like_literally(text: str) -> str:
    """What a ``LIKE`` that escapes by a backslash takes for exactly this text."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def spoken_pattern(words: str) -> str:
    """What ``LIKE`` finds in the lowered ``parts`` of a message whose text has these words."""
    # The parts are stored as JSON: the words are looked for as JSON writes them, after the name of a part's text.
    written = msgspec.json.encode(words).lower().decode()[1:-1]
    return f'%"text":"%{like_literally(written)}%'


def parts_of(encoded: str) -> tuple[Part, ...]:
    """The parts of a stored message."""
    return msgspec.json.decode(encoded, type=tuple[Part, ...])


def _message(row: MessageRow) -> Message:
    return Message(
        id=MessageId(row.id),
        thread_id=ThreadId(row.thread_id),
        run_id=None if row.run_id is None else RunId(row.run_id),
        seq=row.seq,
        role=MessageRole(row.role),
        parts=parts_of(row.parts),
        client_message_id=row.client_message_id,
        created_at=from_micros(row.created_at),
    )
