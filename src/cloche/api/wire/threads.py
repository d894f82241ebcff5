"""Threads on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.threads import MAX_TITLE, Branch, BranchPoint, Thread, ThreadStatus

MAX_SEQ = 2**53


class ThreadBody(RequestBody):
    """What a new thread is called, and what its owner wants to keep with it."""

    title: str = Field(default="", description=f"at most {MAX_TITLE} characters")
    metadata: dict[str, object] = Field(default_factory=dict[str, object])


class ThreadPatch(RequestBody):
    """What changes; what is left out stays. Metadata is replaced as a whole."""

    title: str | None = None
    metadata: dict[str, object] | None = None


class ReadBody(RequestBody):
    """How far a thread was read: the number of an event, beyond the last one for all of it."""

    seq: int = Field(ge=0, le=MAX_SEQ)


class BranchBody(RequestBody):
    """Before which message a branch begins, and what it is called: as its origin when that is left out."""

    message_id: str = Field(description="a person's message of the thread")
    title: str | None = Field(default=None, description=f"at most {MAX_TITLE} characters")


class BranchPointAnswer(BaseModel):
    """Where a branch begins: before that message of that thread."""

    thread_id: str
    message_id: str


class ThreadAnswer(BaseModel):
    """A conversation. ``epoch`` and ``head_seq`` are the position of the end of its log."""

    id: str
    title: str
    status: ThreadStatus
    metadata: dict[str, object]
    epoch: int
    first_seq: int = Field(description="the number of the first event that is kept")
    head_seq: int = Field(description="the number of the last event")
    read_seq: int = Field(description="how far its user has read")
    unread: bool = Field(description="there are events beyond `read_seq`")
    created_at: Moment
    updated_at: Moment
    archived_at: Moment | None
    branched_from: BranchPointAnswer | None = Field(description="null for a thread that is no branch")


class ThreadPage(BaseModel):
    """Threads, the last changed first."""

    items: list[ThreadAnswer]
    next_cursor: str | None


class BranchAnswer(BaseModel):
    """A thread that goes on from the middle of another one."""

    thread_id: str
    title: str
    branched_from: BranchPointAnswer
    created_at: Moment


class BranchList(BaseModel):
    """Branches, the oldest first."""

    items: list[BranchAnswer]


def branch_answer(branch: Branch) -> BranchAnswer:
    """The branch as the wire shows one."""
    return BranchAnswer(
        thread_id=branch.thread_id,
        title=branch.title,
        branched_from=_point_answer(branch.point),
        created_at=branch.created_at,
    )


def _point_answer(point: BranchPoint) -> BranchPointAnswer:
    return BranchPointAnswer(thread_id=point.thread_id, message_id=point.message_id)


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
        read_seq=thread.read_seq,
        unread=thread.is_unread,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        archived_at=thread.archived_at,
        branched_from=None if thread.branched_from is None else _point_answer(thread.branched_from),
    )
