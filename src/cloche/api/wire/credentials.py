"""How long a live stream may go on with the credential that it was opened with."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from cloche.api.wire.parts import EdgeParts
from cloche.domain.scope import Principal
from cloche.errors import InvalidInputError, TokenExpiredError

TICKET_LIFE = timedelta(hours=1)
"""How long a connection that was opened with a ticket goes on: as long as an access token may live at most."""

_IN_URL = ("token", "access_token", "ticket", "authorization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Who is there, and until when that holds without another proof."""

    principal: Principal
    expires_at: datetime


class _Expiry(msgspec.Struct, frozen=True):
    exp: int


async def check_token(services: EdgeParts, token: str) -> Credential:
    """Whose access token it is, and when it ends.

    Raises:
        TokenExpiredError: its time is over.
        SessionRevokedError: the session was ended, or the user disabled.
        NotAuthenticatedError: it is no valid access token.
    """
    principal = await services.sign_in.authenticate(token)
    expires_at = _end_of(token)
    if expires_at <= services.clock.now():
        # A request may still pass within the leeway; a stream that begins now would end at once.
        raise TokenExpiredError
    return Credential(principal=principal, expires_at=expires_at)


async def check_ticket(services: EdgeParts, ticket: str) -> Credential:
    """Whose ticket it is; it is used up.

    Raises:
        SessionRevokedError: the session was ended, or the user disabled.
        NotAuthenticatedError: it is no valid ticket.
    """
    principal = await services.sign_in.tickets.redeem_ticket(ticket)
    return Credential(principal=principal, expires_at=services.clock.now() + TICKET_LIFE)


def refuse_credential_in_url(names: frozenset[str]) -> None:
    """Return when none of the query's parameters is named like a credential: addresses end up in logs.

    Raises:
        InvalidInputError: one is; what it holds is not shown.

    Source: https://www.rfc-editor.org/rfc/rfc9700#section-4.3.2
    """
    for name in _IN_URL:
        if name in names:
            raise InvalidInputError(
                "a credential may not stand in the address", details={"place": f"query.{name}", "reason": "credential"}
            )


def _end_of(token: str) -> datetime:
    """When a token that was verified ends."""
    payload = token.split(".")[1].encode()
    claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)), type=_Expiry)
    return datetime.fromtimestamp(claims.exp, UTC)
