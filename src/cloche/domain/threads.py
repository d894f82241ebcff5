"""Threads: the conversations of a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cloche.domain.runs import ExecutionState
from cloche.errors import InvalidInputError, PayloadTooLargeError
from cloche.ids import MessageId, ThreadId

MAX_TITLE = 200
MAX_METADATA_BYTES = 16_384


class ThreadStatus(StrEnum):
    """What a thread is doing: derived from its runs, never stored."""

    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchPoint:
    """Where a thread begins that is a branch: before which message of which other thread."""

    thread_id: ThreadId
    message_id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A thread that goes on from the middle of another one."""

    thread_id: ThreadId
    title: str
    point: BranchPoint
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One conversation. ``head_seq`` is the number of its last event, ``first_seq`` of the first one kept.

    ``read_seq`` is how far its user has read.
    """

    id: ThreadId
    title: str
    metadata: Mapping[str, object]
    log_epoch: int
    head_seq: int
    first_seq: int
    created_at: datetime
    updated_at: datetime
    archived_at: datetime | None
    external_id: str | None
    branched_from: BranchPoint | None = None
    read_seq: int = 0

    @property
    def is_unread(self) -> bool:
        """There are events that its user has not read."""
        return self.head_seq > self.read_seq


def status_of(states: Iterable[ExecutionState]) -> ThreadStatus:
    """The status of a thread whose live runs are in these states."""
    found = {state for state in states if not state.is_terminal}
    if ExecutionState.WAITING in found:
        return ThreadStatus.WAITING
    if found - {ExecutionState.PENDING}:
        return ThreadStatus.RUNNING
    return ThreadStatus.QUEUED if found else ThreadStatus.IDLE


def clean_title(title: object) -> str:
    """A title without surrounding white space.

    Raises:
        InvalidInputError: it is not a text.
        PayloadTooLargeError: it is longer than ``MAX_TITLE`` characters.
    """
    if not isinstance(title, str):
        raise InvalidInputError("the title must be a string", details={"place": "$.title"})
    cleaned = title.strip()
    if len(cleaned) > MAX_TITLE:
        raise PayloadTooLargeError(
            f"a title has at most {MAX_TITLE} characters", details={"place": "$.title", "limit": MAX_TITLE}
        )
    return cleaned


def title_from(text: str) -> str:
    """A thread's first title: the beginning of its first message, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= 60:
        return line
    cut = line[:60].rsplit(" ", 1)[0] or line[:60]
    return cut + "…"
