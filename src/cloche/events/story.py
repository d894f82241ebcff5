"""A thread as a story for its owner to keep: what was said, what tools did, and how runs ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import msgspec

from cloche.clock import from_micros, to_text
from cloche.domain.events import ToolCompleted
from cloche.domain.messages import Part
from cloche.domain.scope import Scope
from cloche.events.codec import decode
from cloche.ids import ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import parts_of
from cloche.storage.stories import CallRow, EndedRow, SaidByRow, StoryRepository

PIECE = 50

_END = 2**62


class SaidEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A message. ``agent`` is who wrote it, null for a person and where that is not known any more."""

    type: Literal["message"] = "message"
    at: str
    message_id: str
    role: str
    agent: str | None
    run_id: str | None
    parts: tuple[Part, ...]


class CallEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool that ended."""

    type: Literal["tool_call"] = "tool_call"
    at: str
    run_id: str | None
    tool: str
    ok: bool
    duration_ms: int


class FailureTold(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run did not complete."""

    code: str
    message: str
    retryable: bool


class EndEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run: of the one that answered ``message_id``."""

    type: Literal["run_ended"] = "run_ended"
    at: str
    run_id: str
    message_id: str
    agent: str
    state: str
    failure: FailureTold | None
    retry_of: str | None


StoryEntry = SaidEntry | CallEntry | EndEntry


async def read_story(database: Database, scope: Scope, thread_id: ThreadId) -> AsyncGenerator[list[StoryEntry]]:
    """The thread's entries in order, in pieces; nothing for a thread that this user does not have.

    Each piece is a read of its own, at most ``PIECE`` rows of each kind: whoever takes them slowly holds nothing. Runs that
    have not ended have no end in it, and calls of tools are told as far as the log still has them.

    Raises:
        StorageError: the rows cannot be read.
    """
    stories, position = StoryRepository(scope), 0

    async def work(tx: Transaction) -> tuple[list[StoryEntry], int]:
        said = await stories.said(tx, thread_id, after=position, limit=PIECE)
        until = said[-1].seq if len(said) == PIECE else _END
        ended = await stories.ended(tx, thread_id, after=position, until=until, limit=PIECE)
        until = ended[-1].last_seq if len(ended) == PIECE else until
        called = await stories.called(tx, thread_id, after=position, until=until, limit=PIECE)
        until = called[-1].seq if len(called) == PIECE else until
        entries: list[tuple[int, StoryEntry]] = [(row.seq, _said(row)) for row in said if row.seq <= until]
        entries += [(row.last_seq, _ended(row)) for row in ended if row.last_seq <= until]
        entries += [(row.seq, _called(row)) for row in called]
        return [entry for _, entry in sorted(entries, key=lambda one: one[0])], until

    while position < _END:
        entries, position = await database.read(work)
        if entries:
            yield entries


def _said(row: SaidByRow) -> SaidEntry:
    return SaidEntry(
        at=to_text(from_micros(row.created_at)),
        message_id=row.id,
        role=row.role,
        agent=row.agent if row.role == "assistant" else None,
        run_id=row.run_id,
        parts=parts_of(row.parts),
    )


def _ended(row: EndedRow) -> EndEntry:
    failure = row.failure_code and FailureTold(
        code=row.failure_code, message=row.failure_message or "", retryable=bool(row.failure_retryable)
    )
    return EndEntry(
        at=to_text(from_micros(row.ended_at)),
        run_id=row.id,
        message_id=row.message_id,
        agent=row.agent,
        state=row.state,
        failure=failure or None,
        retry_of=row.retry_of,
    )


def _called(row: CallRow) -> CallEntry:
    envelope = decode(row.body)
    told = msgspec.json.decode(envelope.data, type=ToolCompleted)
    return CallEntry(at=envelope.at, run_id=envelope.run_id, tool=told.tool, ok=told.ok, duration_ms=told.duration_ms)
