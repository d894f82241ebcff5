"""One-time tickets, with which a browser opens a live connection without showing a token."""

from __future__ import annotations

from cloche.auth.opaque import SecretKind, make_secret, read_secret
from cloche.auth.opening import AuthParts, own_scope
from cloche.auth.standings import read_standing
from cloche.domain.scope import Principal, Scope, SystemScope
from cloche.errors import NotAuthenticatedError, SessionRevokedError
from cloche.storage.database import Transaction
from cloche.storage.tickets import TicketRedemption, TicketRepository

_SYSTEM = SystemScope(purpose="tickets")


class Tickets:
    """Issues tickets to who is signed in, and takes them back once. ``SignIn.tickets`` is the one in use."""

    def __init__(self, parts: AuthParts) -> None:
        self._parts = parts

    async def issue_ticket(self, principal: Principal) -> str:
        """A value that opens one connection as this principal, within the policy's ``ticket_lifetime``.

        All of its characters are legal in a WebSocket subprotocol.
        """
        text, secret = make_secret(SecretKind.TICKET, principal.tenant_id)

        async def work(tx: Transaction) -> None:
            now = self._parts.clock.now()
            await TicketRepository(own_scope(principal)).create(
                tx, secret.digest, at=now, expires_at=now + self._parts.policy.ticket_lifetime
            )

        await self._parts.database.write(work)
        return text

    async def redeem_ticket(self, value: object) -> Principal:
        """Whose ticket it was; it is used up, also when the session turns out to have ended.

        Guarantees: of concurrent calls with one value exactly one returns.

        Raises:
            NotAuthenticatedError: it is none, was used, or is over.
            SessionRevokedError: the session was ended, or the user disabled.
        """
        secret = read_secret(SecretKind.TICKET, value)

        async def work(tx: Transaction) -> Principal | None:
            now = self._parts.clock.now()
            holder = await TicketRedemption(_SYSTEM).take(tx, secret.tenant_id, secret.digest, at=now)
            if holder is None:
                raise NotAuthenticatedError
            scope = Scope(tenant_id=holder.tenant_id, user_id=holder.user_id, session_id=holder.session_id)
            standing = await read_standing(tx, scope, at=now)
            return None if standing is None else standing.principal

        principal = await self._parts.database.write(work)
        if principal is None:
            raise SessionRevokedError
        return principal
