"""How long things of sign-in live, and what the tokens say of their issuer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cloche.errors import ConfigurationError

_UPPER_BOUNDS = {
    "leeway": timedelta(seconds=60),
    "grace": timedelta(seconds=5),
    "ticket_lifetime": timedelta(seconds=60),
    "setup_lifetime": timedelta(days=7),
    "standing_lifetime": timedelta(seconds=1),
    "access_lifetime": timedelta(hours=1),
}
_MAY_BE_ZERO = frozenset({"leeway", "grace", "standing_lifetime"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInPolicy:
    """The settings of this floor.

    Attributes:
        issuer: the ``iss`` of access tokens.
        audience: the ``aud`` of access tokens.
        access_lifetime: of an access token; at most an hour.
        leeway: by how much the clocks of two machines may differ; at most a minute.
        session_lifetime: from sign-in to the end of the session, however often it is refreshed.
        refresh_lifetime: of a refresh token that nobody uses.
        grace: how long a refresh token may come again after it was used; at most five seconds.
        ticket_lifetime: of a ticket for a live connection; at most a minute.
        setup_lifetime: of the first start's secret; at most a week.
        standing_lifetime: how long a look at the rows of session, user and grants holds; at most a second.
    """

    issuer: str = "cloche"
    audience: str = "cloche"
    access_lifetime: timedelta = timedelta(minutes=15)
    leeway: timedelta = timedelta(seconds=30)
    session_lifetime: timedelta = timedelta(days=30)
    refresh_lifetime: timedelta = timedelta(days=14)
    grace: timedelta = timedelta(seconds=5)
    ticket_lifetime: timedelta = timedelta(seconds=30)
    setup_lifetime: timedelta = timedelta(hours=24)
    standing_lifetime: timedelta = timedelta(seconds=1)

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ConfigurationError("issuer and audience of access tokens must not be empty")
        for name in (*_UPPER_BOUNDS, "session_lifetime", "refresh_lifetime"):
            value: timedelta = getattr(self, name)
            bound = _UPPER_BOUNDS.get(name, timedelta.max)
            if value > bound or value < timedelta(0) or (not value and name not in _MAY_BE_ZERO):
                raise ConfigurationError(f"{name} is out of bounds: at most {bound}, got {value}")
