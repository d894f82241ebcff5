from datetime import UTC, datetime, timedelta

import pytest

from cloche.clock import Clock
from cloche.testing.clock import ManualClock

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_it_stands_still_until_it_is_told_to_go_on() -> None:
    clock: Clock = ManualClock(START)

    assert clock.now() == clock.now() == START
    assert clock.monotonic() == clock.monotonic() == 0


def test_both_times_advance_together() -> None:
    clock = ManualClock(START)

    clock.advance(timedelta(minutes=1, milliseconds=500))

    assert clock.now() == START + timedelta(seconds=60.5)
    assert clock.monotonic() == 60.5


def test_it_never_goes_back_and_never_shows_a_naive_time() -> None:
    with pytest.raises(AssertionError, match="does not go back"):
        ManualClock(START).advance(timedelta(seconds=-1))
    with pytest.raises(AssertionError, match="aware"):
        ManualClock(START.replace(tzinfo=None))
