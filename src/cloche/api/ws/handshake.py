"""What an upgrade request must look like, and which credential came with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from cloche.api.wire.callers import bearer_token
from cloche.api.wire.credentials import Credential, check_ticket, check_token, refuse_credential_in_url
from cloche.api.wire.frames import SUBPROTOCOL
from cloche.api.wire.parts import EdgeParts
from cloche.errors import OriginRefusedError, ProtocolViolationError

_TICKET = "ticket."


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """An acceptable upgrade request with at most one credential: a ticket counts before a token."""

    ticket: str | None = field(repr=False)
    token: str | None = field(repr=False)


def read_upgrade(scope: Scope, origins: frozenset[str]) -> Upgrade:
    """What the request offers.

    Args:
        scope: of the ASGI connection.
        origins: the browser pages that may connect, exactly as browsers name them. Without a header ``Origin`` it is no
            browser; nothing here is accepted merely because the browser sent it along, such as a cookie.

    Raises:
        InvalidInputError: a credential stands in the address.
        OriginRefusedError: a page of another origin asks.
        ProtocolViolationError: our subprotocol is not offered, or two tickets are.
        NotAuthenticatedError: the ``Authorization`` header is none of ours.
    """
    headers = Headers(scope=scope)
    refuse_credential_in_url(frozenset(QueryParams(scope["query_string"]).keys()))
    if not origins.issuperset(headers.getlist("origin")):
        raise OriginRefusedError("pages of this origin may not connect", details={"place": "header origin"})
    offered: list[str] = list(scope.get("subprotocols", ()))
    if SUBPROTOCOL not in offered:
        raise ProtocolViolationError(
            f"offer the subprotocol {SUBPROTOCOL}",
            details={"place": "header sec-websocket-protocol", "known": [SUBPROTOCOL]},
        )
    tickets = [name.removeprefix(_TICKET) for name in offered if name.startswith(_TICKET)]
    if len(tickets) > 1:
        raise ProtocolViolationError("offer one ticket", details={"place": "header sec-websocket-protocol"})
    if tickets:
        return Upgrade(ticket=tickets[0], token=None)
    return Upgrade(ticket=None, token=bearer_token(headers) if "authorization" in headers else None)


async def check_upgrade(services: EdgeParts, upgrade: Upgrade) -> Credential | None:
    """Whose credential came with the upgrade; None when none did.

    Raises:
        NotAuthenticatedError: it is not valid, or no longer.
    """
    if upgrade.ticket is not None:
        return await check_ticket(services, upgrade.ticket)
    if upgrade.token is not None:
        return await check_token(services, upgrade.token)
    return None
