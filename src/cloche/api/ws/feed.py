"""The notices of a watched list of threads, at a pace that a page can take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cloche.api.ws.protocol import approvals_changed, threads_changed
from cloche.domain.scope import Scope
from cloche.events.log import EventLog

INTERVAL_S = 0.25


class PacedFeed:
    """What a connection is told of its user's threads and approvals: at once, and then again after ``INTERVAL_S``.

    Args:
        log: where the threads are watched.
        scope: whose threads.
        on_due: called when there is something to tell; sets a flag and returns.
    """

    def __init__(self, log: EventLog, scope: Scope, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._pause: asyncio.TimerHandle | None = None
        self._feed = log.watch(scope, self._moved)

    @property
    def is_due(self) -> bool:
        """Something may be told now."""
        return self._pause is None and self._feed.has_moved

    async def take(self) -> list[bytes]:
        """The notices that are due, at most one of each kind; nothing else is due for a while.

        Raises:
            StorageError: the rows cannot be read.
        """
        self._pause = asyncio.get_running_loop().call_later(INTERVAL_S, self._go_on)
        changes = await self._feed.take()
        frames = [threads_changed(changes.threads)] if changes.threads else []
        return frames if changes.pending is None else [*frames, approvals_changed(changes.pending)]

    def close(self) -> None:
        """Nothing is watched any more."""
        self._feed.close()
        if self._pause is not None:
            self._pause.cancel()

    def _moved(self) -> None:
        if self._pause is None:
            self._on_due()

    def _go_on(self) -> None:
        self._pause = None
        if self._feed.has_moved:
            self._on_due()
