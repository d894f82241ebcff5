from datetime import UTC, datetime, timedelta

import pytest

from cloche.auth.attempts import LoginLimiter, _BoundedMemory
from cloche.errors import RateLimitedError
from cloche.testing.clock import ManualClock


@pytest.fixture
def manual() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def limiter(manual: ManualClock) -> LoginLimiter:
    return LoginLimiter(manual, per_account=3, per_address=5, window=timedelta(minutes=5))


def test_the_fourth_attempt_of_three_is_refused_and_told_when_to_come_back(
    limiter: LoginLimiter, manual: ManualClock
) -> None:
    for _ in range(3):
        limiter.check("ada", "192.0.2.1")
        manual.advance(timedelta(seconds=10))

    with pytest.raises(RateLimitedError) as refused:
        limiter.check("ada", "192.0.2.1")

    assert refused.value.retry_after_s == 270


def test_after_that_time_one_more_attempt_is_free_and_not_two(limiter: LoginLimiter, manual: ManualClock) -> None:
    for _ in range(3):
        limiter.check("ada", "192.0.2.1")
        manual.advance(timedelta(seconds=10))
    manual.advance(timedelta(seconds=270))

    limiter.check("ada", "192.0.2.1")

    with pytest.raises(RateLimitedError):
        limiter.check("ada", "192.0.2.1")


def test_refused_attempts_do_not_prolong_the_wait(limiter: LoginLimiter, manual: ManualClock) -> None:
    for _ in range(3):
        limiter.check("ada", "192.0.2.1")
    for _ in range(20):
        manual.advance(timedelta(seconds=10))
        with pytest.raises(RateLimitedError):
            limiter.check("ada", "192.0.2.1")

    manual.advance(timedelta(seconds=100))

    limiter.check("ada", "192.0.2.1")


def test_nobody_is_locked_out_by_another_address(limiter: LoginLimiter) -> None:
    for _ in range(3):
        limiter.check("ada", "192.0.2.1")

    limiter.check("ada", "192.0.2.2")


def test_one_address_cannot_go_through_all_accounts(limiter: LoginLimiter) -> None:
    for number in range(5):
        limiter.check(f"user-{number}", "192.0.2.1")

    with pytest.raises(RateLimitedError):
        limiter.check("user-6", "192.0.2.1")


def test_who_signed_in_starts_afresh_but_the_address_does_not(limiter: LoginLimiter) -> None:
    for _ in range(3):
        limiter.check("ada", "192.0.2.1")

    limiter.forgive("ada", "192.0.2.1")

    for _ in range(2):
        limiter.check("ada", "192.0.2.1")
    with pytest.raises(RateLimitedError):
        limiter.check("ada", "192.0.2.1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("2001:db8:0:0:1::", "2001:db8::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not an address", "not an address"),
        ("", ""),
    ],
)
def test_one_customer_s_addresses_count_together(limiter: LoginLimiter, first: str, second: str) -> None:
    for _ in range(3):
        limiter.check("ada", first)

    with pytest.raises(RateLimitedError):
        limiter.check("ada", second)


def test_another_ipv6_network_counts_for_itself(limiter: LoginLimiter) -> None:
    for _ in range(3):
        limiter.check("ada", "2001:db8:0:1::1")

    limiter.check("ada", "2001:db8:0:2::1")


def test_without_an_address_only_the_account_counts(limiter: LoginLimiter) -> None:
    for number in range(10):
        limiter.check(f"user-{number}", None)
    for _ in range(2):
        limiter.check("user-1", None)

    with pytest.raises(RateLimitedError):
        limiter.check("user-1", None)


def test_the_memory_forgets_the_keys_idle_longest(manual: ManualClock) -> None:
    memory = _BoundedMemory(manual.monotonic, max_keys=2)

    for key in ["a", "b", "a", "c"]:
        memory.acquire_entry(key, 10, 60)

    assert [memory.get(key) for key in "abc"] == [2, 0, 1]
    assert not memory.acquire_entry("a", 2, 60)
    assert memory.check()
    assert memory.base_exceptions is ValueError
    assert memory.reset() == 2
    assert memory.reset() == 0


def test_the_memory_keeps_moving_windows_only(manual: ManualClock) -> None:
    memory = _BoundedMemory(manual.monotonic)

    with pytest.raises(NotImplementedError):
        memory.incr("a", 60)
    with pytest.raises(NotImplementedError):
        memory.get_expiry("a")
