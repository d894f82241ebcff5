"""The threads that one connection follows, and whose turn it is to be told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cloche.api.ws.protocol import stream_closed, stream_opened
from cloche.domain.scope import Scope
from cloche.errors import LimitExceededError, NotFoundError, PositionLostError
from cloche.events.codec import frame
from cloche.events.log import EventLog
from cloche.events.snapshot import Snapshot
from cloche.events.subscription import Opening, Subscription
from cloche.ids import ThreadId


@dataclass(slots=True, eq=False)
class _Followed:
    """One followed thread. ``sent_seq`` is the last event that was handed to the socket."""

    scope: Scope
    subscription: Subscription
    sent_seq: int
    moved_at: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The next frame, and how many events it holds; ``moved_at`` is when the first of them was heard of."""

    frame: bytes
    events: int = 0
    moved_at: float | None = None
    followed: _Followed | None = None
    seq: int = 0

    def sent(self) -> None:
        """The frame was handed to the socket."""
        if self.followed is not None:
            self.followed.sent_seq = self.seq


class Following:
    """What a connection follows. Nothing waits here: a thread that moved is only put in the row, behind the others.

    Args:
        log: where the events are.
        on_moved: called when there is something to send; sets a flag and returns.
        limit: of threads followed at once.
    """

    def __init__(self, log: EventLog, on_moved: Callable[[], None], *, limit: int) -> None:
        self._log = log
        self._on_moved = on_moved
        self._limit = limit
        self._now = asyncio.get_running_loop().time
        self._followed: dict[ThreadId, _Followed] = {}
        self._row: dict[ThreadId, None] = {}

    @property
    def positions(self) -> dict[ThreadId, int]:
        """The last event of each thread that was handed to the socket."""
        return {thread_id: followed.sent_seq for thread_id, followed in self._followed.items()}

    async def follow(
        self, scope: Scope, thread_id: ThreadId, *, after: int | None, epoch: int | None
    ) -> tuple[Opening, Snapshot | None]:
        """The thread is followed from there on, in place of where it was followed before.

        Raises:
            NotFoundError: this user has no such thread.
            LimitExceededError: too many threads are followed already.
        """
        if len(self._followed) >= self._limit and thread_id not in self._followed:
            raise LimitExceededError(
                f"a connection follows at most {self._limit} threads",
                details={"place": "$.thread_id", "limit": self._limit},
            )
        subscription, opening, snapshot = await self._subscribe(scope, thread_id, after, epoch)
        self.unfollow(thread_id)
        self._begin(scope, subscription)
        return opening, snapshot

    def unfollow(self, thread_id: ThreadId) -> bool:
        """The thread is not followed; whether it was."""
        self._row.pop(thread_id, None)
        followed = self._followed.pop(thread_id, None)
        if followed is not None:
            followed.subscription.close()
        return followed is not None

    @property
    def has_moved(self) -> bool:
        """A thread waits for its turn."""
        return bool(self._row)

    async def take(self) -> Batch | None:
        """The next frame of the thread whose turn it is; None when it has nothing to say after all.

        Raises:
            StorageError: the log cannot be read.
        """
        thread_id = next(iter(self._row))
        del self._row[thread_id]
        followed = self._followed[thread_id]
        moved_at, followed.moved_at = followed.moved_at, None
        try:
            events = await followed.subscription.take()
        except PositionLostError:
            return await self._open_again(thread_id, followed)
        if not events or self._followed.get(thread_id) is not followed:
            return None
        if followed.subscription.behind:
            self._row[thread_id] = None
        return Batch(frame(events), len(events), moved_at, followed, events[-1].seq)

    def close(self) -> None:
        """No thread is followed any more."""
        for thread_id in tuple(self._followed):
            self.unfollow(thread_id)

    async def _subscribe(
        self, scope: Scope, thread_id: ThreadId, after: int | None, epoch: int | None
    ) -> tuple[Subscription, Opening, Snapshot | None]:
        def moved() -> None:
            followed = self._followed.get(thread_id)
            if followed is None:
                return
            if followed.moved_at is None:
                followed.moved_at = self._now()
            self._row[thread_id] = None
            self._on_moved()

        return await self._log.subscribe(scope, thread_id, after=after, epoch=epoch, on_moved=moved)

    def _begin(self, scope: Scope, subscription: Subscription) -> None:
        self._followed[subscription.thread_id] = _Followed(scope, subscription, subscription.position)
        if subscription.behind:
            self._row[subscription.thread_id] = None
            self._on_moved()

    async def _open_again(self, thread_id: ThreadId, lost: _Followed) -> Batch | None:
        """The log was trimmed beyond the position: the stream begins anew, and the client is told so."""
        try:
            subscription, opening, snapshot = await self._subscribe(
                lost.scope, thread_id, lost.subscription.position, None
            )
        except NotFoundError as error:
            if self._followed.get(thread_id) is not lost:
                return None
            self.unfollow(thread_id)
            return Batch(stream_closed(thread_id, error))
        if self._followed.get(thread_id) is not lost:
            subscription.close()
            return None
        self.unfollow(thread_id)
        self._begin(lost.scope, subscription)
        return Batch(stream_opened(opening, snapshot))
