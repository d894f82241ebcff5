"""A thread as a file: Markdown for people, JSON for programs; written piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import assert_never
from urllib.parse import quote

import msgspec

from cloche.clock import to_text
from cloche.domain.text import file_name
from cloche.domain.threads import Thread
from cloche.events.story import CallEntry, EndEntry, SaidEntry, StoryEntry

FORMAT = "cloche.thread.v1"

Pieces = AsyncGenerator[list[StoryEntry]]


class ExportedPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a branch begins: before that message of that thread."""

    thread_id: str
    message_id: str


class ExportedThread(msgspec.Struct, frozen=True, kw_only=True):
    """The thread of an export."""

    id: str
    title: str
    metadata: dict[str, object]
    created_at: str
    updated_at: str
    archived_at: str | None
    branched_from: ExportedPoint | None


def content_disposition(title: str, extension: str) -> str:
    """The header that has a browser save the answer under a name made from the title.

    Source: https://www.rfc-editor.org/rfc/rfc6266#section-4 and https://www.rfc-editor.org/rfc/rfc8187#section-3.2
    """
    name = f"{file_name(title)}.{extension}"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


async def as_json(thread: Thread, pieces: Pieces, *, at: datetime) -> AsyncGenerator[bytes]:
    """One JSON object: the thread, and its entries in order."""
    head = {"format": FORMAT, "exported_at": to_text(at), "thread": _exported(thread)}
    yield msgspec.json.encode(head)[:-1] + b',"entries":['
    mark = b"\n"
    async for entries in pieces:
        for entry in entries:
            yield mark + msgspec.json.encode(entry)
            mark = b",\n"
    yield b"]}\n"


async def as_markdown(thread: Thread, pieces: Pieces, *, at: datetime) -> AsyncGenerator[bytes]:
    """A text with one section for each message; what tools did and how runs failed stands where it happened."""
    title = " ".join(thread.title.split()) or "Conversation"
    created = to_text(thread.created_at)
    yield f"# {title}\n\nThread `{thread.id}`, begun {created}, exported {to_text(at)}.\n".encode()
    async for entries in pieces:
        for entry in entries:
            text = _section(entry)
            if text:
                yield f"\n{text}\n".encode()


def _section(entry: StoryEntry) -> str:
    match entry:
        case SaidEntry():
            who = "You" if entry.role == "user" else entry.agent or "Assistant"
            return f"## {who}, {entry.at}\n\n" + "\n\n".join(part.text for part in entry.parts)
        case CallEntry():
            outcome = "done" if entry.ok else "failed"
            return f"- Tool `{entry.tool}`: {outcome} in {entry.duration_ms} ms"
        case EndEntry():
            if entry.failure is None:
                return ""
            reason = " ".join(entry.failure.message.split())
            return f"> The run of {entry.agent} ended as {entry.state}, {entry.at}: {reason} (`{entry.failure.code}`)"
        case _:
            assert_never(entry)


def _exported(thread: Thread) -> ExportedThread:
    point = thread.branched_from
    return ExportedThread(
        id=str(thread.id),
        title=thread.title,
        metadata=dict(thread.metadata),
        created_at=to_text(thread.created_at),
        updated_at=to_text(thread.updated_at),
        archived_at=None if thread.archived_at is None else to_text(thread.archived_at),
        branched_from=point and ExportedPoint(thread_id=str(point.thread_id), message_id=str(point.message_id)),
    )
