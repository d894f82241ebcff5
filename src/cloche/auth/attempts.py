"""How often somebody may try to sign in: per account and address, and per address."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from cloche.clock import Clock
from cloche.errors import RateLimitedError

MAX_KEYS = 100_000


class LoginLimiter:
    """Counts attempts of this process in moving windows.

    Only the pair of account and address is limited, never an account alone: nobody can lock another person out. An
    IPv6 address counts with its /64, which is what one customer has.

    Args:
        clock: measures the window.
        per_account: attempts for one account from one address in a window.
        per_address: attempts for all accounts from one address in a window.
        window: at least one second.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        per_account: int = 10,
        per_address: int = 100,
        window: timedelta = timedelta(minutes=5),
    ) -> None:
        seconds = int(window.total_seconds())
        self._now = clock.monotonic
        self._limiter = MovingWindowRateLimiter(_BoundedMemory(clock.monotonic))
        self._per_account = RateLimitItemPerSecond(per_account, seconds, namespace="account")
        self._per_address = RateLimitItemPerSecond(per_address, seconds, namespace="address")

    def check(self, account: str, address: str | None) -> None:
        """One more attempt is counted; without an address it is counted for the account alone.

        Raises:
            RateLimitedError: too many were made; this one is not counted.
        """
        place = _network(address)
        wanted: list[tuple[RateLimitItem, tuple[str, ...]]] = [(self._per_account, (account, place))]
        if address is not None:
            wanted.append((self._per_address, (place,)))
        for item, key in wanted:
            if not self._limiter.test(item, *key):
                raise RateLimitedError(
                    "too many attempts; try again later", retry_after_s=self._seconds_until_free(item, key)
                )
        for item, key in wanted:
            self._limiter.hit(item, *key)

    def forgive(self, account: str, address: str | None) -> None:
        """The attempts for this account from this address are forgotten: its owner signed in."""
        self._limiter.clear(self._per_account, account, _network(address))

    def _seconds_until_free(self, item: RateLimitItem, key: tuple[str, ...]) -> int:
        return max(1, math.ceil(self._limiter.get_window_stats(item, *key).reset_time - self._now()))


class _BoundedMemory(Storage, MovingWindowSupport):
    """Storage for ``limits`` on our clock, without threads, and with an end: the keys idle longest are forgotten.

    The library's own memory reads the machine's clock, starts a thread now and then, and has no upper bound.
    """

    STORAGE_SCHEME = None

    def __init__(self, now: Callable[[], float], max_keys: int = MAX_KEYS) -> None:
        super().__init__()
        self._now = now
        self._max_keys = max_keys
        self._entries: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if self.get_moving_window(key, limit, expiry)[1] + amount > limit:
            return False
        self._entries.setdefault(key, deque()).extend([self._now()] * amount)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_keys:
            self._entries.popitem(last=False)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = self._now()
        entries = self._entries.get(key)
        while entries and entries[0] <= now - expiry:
            entries.popleft()
        if not entries:
            self._entries.pop(key, None)
            return now, 0
        return entries[0], len(entries)

    def clear(self, key: str) -> None:
        self._entries.pop(key, None)

    def reset(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        return count

    def check(self) -> bool:
        return True

    def get(self, key: str) -> int:
        return len(self._entries.get(key, ()))

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError("moving windows only")

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("moving windows only")


def _network(address: str | None) -> str:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return (address or "")[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
