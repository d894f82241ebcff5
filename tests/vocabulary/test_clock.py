"""Times as they are stored and sent, and the machine's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from cloche.clock import SystemClock, from_micros, to_micros, to_text


def test_the_machine_s_time_is_aware_and_in_utc():
    before, now = datetime.now(UTC), SystemClock().now()

    assert now.utcoffset() == timedelta(0)
    assert abs(now - before) < timedelta(minutes=1)


def test_measured_time_does_not_step_back():
    clock = SystemClock()

    measured = [clock.monotonic() for _ in range(1000)]

    assert measured == sorted(measured)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_stored_time_comes_back_as_it_was(at: datetime):
    assert from_micros(to_micros(at)) == at


def test_a_time_is_stored_as_microseconds_since_1970_wherever_it_was_told():
    at = datetime(1970, 1, 1, 2, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))

    assert to_micros(at) == 1
    assert from_micros(1) == at


def test_a_time_on_the_wire_has_milliseconds_and_a_z():
    assert to_text(datetime(2031, 1, 2, 3, 4, 5, 6_789, tzinfo=UTC)) == "2031-01-02T03:04:05.006Z"
    assert to_text(datetime(2031, 1, 2, tzinfo=UTC)) == "2031-01-02T00:00:00.000Z"


@given(st.integers(0, 2**47).map(from_micros))
def test_a_time_on_the_wire_can_be_read_again(at: datetime):
    told = datetime.fromisoformat(to_text(at))

    assert timedelta(0) <= at - told < timedelta(milliseconds=1)
