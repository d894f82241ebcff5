"""The only reader of time. Everything else gets a ``Clock`` as an argument."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Wall time for what people read, monotonic time for what is measured."""

    def now(self) -> datetime:
        """The present, as an aware UTC datetime. May step back when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


def to_micros(at: datetime) -> int:
    """Whole microseconds since 1970 in UTC: how times are stored."""
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC datetime of a stored time."""
    return _EPOCH + timedelta(microseconds=micros)


def to_text(at: datetime) -> str:
    """A time in UTC as it goes on the wire: RFC 3339 with milliseconds.

    Source: https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    return at.isoformat(timespec="milliseconds")[:-6] + "Z"
