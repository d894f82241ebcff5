"""Threads on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.threads import MAX_TITLE, Thread, ThreadStatus


class ThreadBody(RequestBody):
    """What a new thread is called, and what its owner wants to keep with it."""

    title: str = Field(default="", description=f"at most {MAX_TITLE} characters")
    metadata: dict[str, object] = Field(default_factory=dict[str, object])


class ThreadPatch(RequestBody):
    """What changes; what is left out stays. Metadata is replaced as a whole."""

    title: str | None = None
    metadata: dict[str, object] | None = None


class ThreadAnswer(BaseModel):
    """A conversation. ``epoch`` and ``head_seq`` are the position of the end of its log."""

    id: str
    title: str
    status: ThreadStatus
    metadata: dict[str, object]
    epoch: int
    first_seq: int = Field(description="the number of the first event that is kept")
    head_seq: int = Field(description="the number of the last event")
    created_at: Moment
    updated_at: Moment
    archived_at: Moment | None


class ThreadPage(BaseModel):
    """Threads, the last changed first."""

    items: list[ThreadAnswer]
    next_cursor: str | None


def thread_answer(thread: Thread, status: ThreadStatus) -> ThreadAnswer:
    """The thread as the wire shows one."""
    return ThreadAnswer(
        id=thread.id,
        title=thread.title,
        status=status,
        metadata=dict(thread.metadata),
        epoch=thread.log_epoch,
        first_seq=thread.first_seq,
        head_seq=thread.head_seq,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        archived_at=thread.archived_at,
    )
