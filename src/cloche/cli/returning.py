"""What a client does when its live connection has ended: come back, refresh first, or stop. Decides only."""

from __future__ import annotations

from enum import Enum, auto

from cloche.api.wire.frames import ErrorMembers

TOKEN_EXPIRED = 4401
LONGEST_S = 30.0
_FIRST_S = 0.25
# Going away, no close frame at all, a failure of the server's own, a restart, an overloaded or a broken gateway.
_COME_BACK = frozenset({1001, 1006, 1011, 1012, 1013, 1014})


class NextStep(Enum):
    """What to do next."""

    RETURN = auto()
    REFRESH = auto()
    STOP = auto()


def after_close(code: int) -> NextStep:
    """What a close code asks for; a code that asks for nothing known is an end."""
    if code == TOKEN_EXPIRED:
        return NextStep.REFRESH
    if 4000 <= code <= 4499 or code in _COME_BACK:
        return NextStep.RETURN
    return NextStep.STOP


def after_refusal(status: int | None, error: ErrorMembers) -> NextStep:
    """What the refusal of an upgrade or a refresh asks for."""
    if error.code == "token_expired":
        return NextStep.REFRESH
    if error.retryable or status in {408, 429} or (status is not None and status >= 500):
        return NextStep.RETURN
    return NextStep.STOP


def wait_s(failures: int, chance: float) -> float:
    """Seconds before the next attempt: doubling, at most half a minute, and spread so that clients do not come as one.

    Args:
        failures: attempts in a row that led nowhere; at least 1.
        chance: a random number from 0 to 1.
    """
    longest = min(_FIRST_S * 2 ** min(failures, 10), LONGEST_S)
    return longest * (0.5 + 0.5 * chance)
