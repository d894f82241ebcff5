"""What waits to be sent on one connection: answers, notices of a list that is watched, then followed threads in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cloche.api.ws.feed import PacedFeed
from cloche.api.ws.following import Following
from cloche.domain.scope import Scope
from cloche.events.log import EventLog
from cloche.telemetry import Figures


class Outbox:
    """The sending side of a connection. One task runs it; anybody on the loop may add to it.

    Args:
        send: hands one frame to the socket, and waits while the client does not read.
        on_stalled: called once when ``send`` has not returned for ``send_timeout_s``; returns at once.
        log: where the events of followed threads are.
        figures: what was sent is counted there.
        limit_bytes: of answers that wait; see ``room``.
        send_timeout_s: for one frame.
        subscriptions: how many threads can be followed at once.

    Guarantees: answers go out in the order in which they were added, and before any event that is read after that;
    events of a thread go out in the order of its log.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        on_stalled: Callable[[], None],
        *,
        log: EventLog,
        figures: Figures,
        limit_bytes: int,
        send_timeout_s: float,
        subscriptions: int,
    ) -> None:
        self._send_frame = send
        self._log = log
        self._on_stalled = on_stalled
        self._figures = figures
        self._limit_bytes = limit_bytes
        self._send_timeout_s = send_timeout_s
        self._loop = asyncio.get_running_loop()
        self._sleep: asyncio.Future[None] | None = None
        self._room: asyncio.Event | None = None
        self._answers: list[bytes] = []
        self._answer_bytes = 0
        self._sending_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._feed: PacedFeed | None = None
        self.following = Following(log, self._wake, limit=subscriptions)

    def put(self, *answers: bytes) -> None:
        """These frames go out next, behind answers that wait already."""
        self._answers.extend(answers)
        self._answer_bytes += sum(map(len, answers))
        self._wake()

    def watch(self, scope: Scope) -> None:
        """What changes in a list of the user's threads goes out from now on."""
        if self._feed is None:
            self._feed = PacedFeed(self._log, scope, self._wake)
            self._wake()

    def unwatch(self) -> None:
        """Nothing of it goes out any more."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None

    async def room(self) -> None:
        """Fewer than ``limit_bytes`` of answers wait.

        Whoever adds one answer after each call is bounded by the limit and one answer. A client that does not read makes
        this wait no longer than ``send_timeout_s``: then the connection ends.
        """
        if self._answer_bytes >= self._limit_bytes:
            self._room = self._room or asyncio.Event()
            await self._room.wait()

    async def run(self) -> None:
        """Send what there is, as soon as there is anything, until cancelled.

        Raises:
            StorageError: the log cannot be read; whatever ``send`` raises.
        """
        while True:
            while await self._send_next():
                pass
            # An Event for each of many thousand idle connections would cost more than all else of this object.
            self._sleep = self._loop.create_future()
            await self._sleep

    def leftovers(self) -> list[bytes]:
        """The answers that were not sent, taken out: for whoever says the last words."""
        waiting, self._answers = self._answers, []
        self._answer_bytes = 0
        return waiting

    def close(self) -> None:
        """Nothing is followed or watched any more."""
        self.following.close()
        self.unwatch()
        if self._watch is not None:
            self._watch.cancel()

    def _wake(self) -> None:
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)

    async def _send_next(self) -> bool:
        if self._answers:
            await self._send(self._answers[0])
            self._answer_bytes -= len(self._answers.pop(0))
            if self._room is not None and self._answer_bytes < self._limit_bytes:
                self._room.set()
                self._room = None
            return True
        if self._feed is not None and self._feed.is_due:
            await self._tell(self._feed)
            return True
        if not self.following.has_moved:
            return False
        batch = await self.following.take()
        if batch is None:
            return True
        # Nothing is awaited between the log and the socket: the thread may be followed anew, from elsewhere, at any await.
        await self._send(batch.frame)
        batch.sent()
        self._figures.events_sent += batch.events
        if batch.moved_at is not None:
            self._figures.event_delivery.observe(self._loop.time() - batch.moved_at)
        return True

    async def _tell(self, feed: PacedFeed) -> None:
        for notice in await feed.take():
            if self._feed is feed:
                await self._send(notice)

    async def _send(self, frame: bytes) -> None:
        """One timer serves many frames: it looks whether a send has begun long ago, and not at each one."""
        self._sending_since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(self._send_timeout_s, self._look)
        await self._send_frame(frame)
        self._sending_since = None
        self._figures.frames_sent += 1

    def _look(self) -> None:
        self._watch = None
        if self._sending_since is None:
            return
        left_s = self._sending_since + self._send_timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self._on_stalled()
