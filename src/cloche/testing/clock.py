"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from datetime import datetime, timedelta


class ManualClock:
    """A ``Clock`` whose wall time and monotonic time move together, and only by ``advance``.

    Args:
        start: the present at first, an aware datetime.
    """

    def __init__(self, start: datetime) -> None:
        assert start.tzinfo is not None, "a clock shows aware times"
        self._start = start
        self._now = start

    def now(self) -> datetime:
        """The present, as it was set."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the start; never steps back."""
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta) -> None:
        """The present is later by this much."""
        assert by >= timedelta(0), "time does not go back"
        self._now += by
