"""What stands for a history that is no longer there."""

from __future__ import annotations

import msgspec

from cloche.clock import to_text
from cloche.domain.messages import Message, Part
from cloche.domain.runs import Run
from cloche.domain.scope import Scope
from cloche.domain.threads import Thread, status_of
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository

SNAPSHOT_MESSAGES = 100


class SnapshotMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message as a client shows it; ``seq`` is the event that told of it."""

    message_id: str
    role: str
    parts: tuple[Part, ...]
    run_id: str | None
    seq: int
    at: str


class SnapshotRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the snapshot that has not ended. All of its events follow."""

    run_id: str
    agent: str
    state: str
    first_seq: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A thread as it stood right after the event ``seq``: its newest messages, oldest first, and its live runs."""

    seq: int
    title: str
    status: str
    messages: tuple[SnapshotMessage, ...]
    messages_cut: bool
    runs: tuple[SnapshotRun, ...]


async def read_snapshot(tx: Transaction, scope: Scope, thread_id: ThreadId) -> Snapshot:
    """The thread's snapshot. The events of live runs are left to the stream that follows it.

    Raises:
        NotFoundError: this user has no such thread.
    """
    thread: Thread = await ThreadRepository(scope).get(tx, thread_id)
    live: list[Run] = await RunRepository(scope).live(tx, thread_id)
    seq = min([run.first_seq - 1 for run in live], default=thread.head_seq)
    messages: list[Message] = await MessageRepository(scope).before(tx, thread_id, seq, SNAPSHOT_MESSAGES + 1)
    return Snapshot(
        seq=seq,
        title=thread.title,
        status=status_of(run.state for run in live),
        messages=tuple(
            SnapshotMessage(
                message_id=message.id,
                role=message.role,
                parts=message.parts,
                run_id=message.run_id,
                seq=message.seq,
                at=to_text(message.created_at),
            )
            for message in messages[-SNAPSHOT_MESSAGES:]
        ),
        messages_cut=len(messages) > SNAPSHOT_MESSAGES,
        runs=tuple(
            SnapshotRun(run_id=run.id, agent=run.agent, state=run.state, first_seq=run.first_seq) for run in live
        ),
    )
