"""What one event stream tells: a thread's events, or those of one of its runs, as ready-made bytes."""

from __future__ import annotations

import msgspec

from cloche.api.wire.frames import encode_frame, opened
from cloche.domain.events import TERMINAL_TYPES
from cloche.domain.runs import Run
from cloche.domain.scope import Scope
from cloche.errors import PositionLostError
from cloche.events.codec import sse
from cloche.events.log import EventLog
from cloche.events.subscription import Subscription
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.events import StoredEvent
from cloche.storage.runs import RunRepository


class _Head(msgspec.Struct, frozen=True):
    """The part of an envelope that says whose event it is."""

    type: str
    run_id: str | None


_HEAD = msgspec.json.Decoder(_Head)


class Source:
    """The events of a thread after a position, and with a run only those of that run, up to its last one.

    Nothing of the database is held between two calls.
    """

    def __init__(self, log: EventLog, scope: Scope, thread_id: ThreadId, run: Run | None = None) -> None:
        self._log = log
        self._scope = scope
        self._thread_id = thread_id
        self._run_id = None if run is None else run.id
        self._earliest = 0 if run is None else run.first_seq - 1
        self._subscription: Subscription | None = None
        self.is_over = False
        """Nothing will follow: the run has ended and everything of it was told."""

    async def open(self, after: int | None, epoch: int | None = None) -> bytes:
        """The event that says where the stream begins; its ``id`` is the position before the first one that follows.

        Raises:
            NotFoundError: this user has no such thread.
        """
        start = max(after or 0, self._earliest)
        found, opening, snapshot = await self._log.subscribe(self._scope, self._thread_id, after=start, epoch=epoch)
        self.close()
        self._subscription = found
        told = encode_frame(opened(opening, snapshot, self._run_id))
        return b"id: %d\nevent: stream_opened\ndata: %b\n\n" % (opening.from_seq - 1, told)

    async def next(self) -> tuple[bytes, int]:
        """The next events and their number, as soon as the thread moved; none when no one of them is for this stream.

        Cancellation: safe; nothing is lost.
        """
        assert self._subscription is not None, "the source is open"
        try:
            events = await self._subscription.next()
        except PositionLostError:
            return await self.open(self._subscription.position), 0
        if self._run_id is not None:
            events = self._of_run(events)
        return sse(events), len(events)

    async def look_at_run(self, database: Database) -> None:
        """``is_over`` is true when the run has ended at or before the position.

        Raises:
            NotFoundError: this user has no such run any more.
        """
        if self._run_id is None:
            return
        run = await find_run(database, self._scope, self._run_id)
        assert self._subscription is not None, "the source is open"
        self.is_over = run.state.is_terminal and self._subscription.position >= run.last_seq

    def close(self) -> None:
        """The thread is followed no more."""
        if self._subscription is not None:
            self._subscription.close()

    def _of_run(self, events: list[StoredEvent]) -> list[StoredEvent]:
        picked: list[StoredEvent] = []
        for event in events:
            head = _HEAD.decode(event.body)
            if head.run_id == self._run_id:
                picked.append(event)
                self.is_over = self.is_over or head.type in TERMINAL_TYPES
        return picked


async def find_run(database: Database, scope: Scope, run_id: RunId) -> Run:
    """The run as it stands.

    Raises:
        NotFoundError: this user has no such run.
    """

    async def work(tx: Transaction) -> Run:
        return await RunRepository(scope).get(tx, run_id)

    return await database.read(work)
