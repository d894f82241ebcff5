"""The contract of what works once: tickets, refresh tokens, sessions, and names that are taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloche.domain.permissions import Role
from cloche.domain.scope import Scope
from cloche.errors import AlreadyExistsError
from cloche.ids import SessionId, TenantId
from cloche.storage.database import Transaction
from cloche.storage.sessions import RefreshTokenRepository, SessionRepository
from cloche.storage.tenants import TenantDirectory
from cloche.storage.tickets import SetUpTicketRepository, TicketRedemption, TicketRepository
from cloche.storage.users import MemberRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import DIGEST, NOW, SECOND, SYSTEM, rows

END = NOW + 60 * SECOND


async def _signed_in(deployment: Deployment, scope: Scope) -> Scope:
    session_id = SessionId.new()
    await deployment.node.write(
        lambda tx: SessionRepository(scope).create(tx, session_id, user_agent="", address="", at=NOW, expires_at=END)
    )
    return replace(scope, session_id=session_id)


class TestOnce:
    """Of two who come at once, one gets it."""

    async def test_a_connection_ticket_is_taken_by_one(self, deployment: Deployment, scope: Scope) -> None:
        """The other is told what one is told who never had it."""
        digest = scope.user_id.encode()
        await deployment.node.write(lambda tx: TicketRepository(scope).create(tx, digest, at=NOW, expires_at=END))
        redemption = TicketRedemption(SYSTEM)

        one, two = await race(
            deployment.node,
            lambda tx: redemption.take(tx, scope.tenant_id, digest, at=NOW),
            deployment.other,
            lambda tx: redemption.take(tx, scope.tenant_id, digest, at=NOW),
        )

        assert one is not None
        assert one.user_id == scope.user_id
        assert two is None

    async def test_a_set_up_ticket_is_taken_by_one(self, deployment: Deployment, scope: Scope) -> None:
        """And is not live afterwards."""
        digest, tickets = scope.user_id.encode(), SetUpTicketRepository(SYSTEM)
        await deployment.node.write(lambda tx: tickets.create(tx, scope.tenant_id, digest, at=NOW, expires_at=END))

        taken = await race(
            deployment.node,
            lambda tx: tickets.take(tx, scope.tenant_id, digest, at=NOW),
            deployment.other,
            lambda tx: tickets.take(tx, scope.tenant_id, digest, at=NOW),
        )

        assert taken == (True, False)
        assert not await deployment.other.read(lambda tx: tickets.is_live(tx, scope.tenant_id, digest, at=NOW))

    async def test_a_refresh_token_is_used_by_one(self, deployment: Deployment, scope: Scope) -> None:
        """Or a stolen one would be worth as much as the true one."""
        session, digest = await _signed_in(deployment, scope), scope.user_id.encode()
        tokens = RefreshTokenRepository(session)
        await deployment.node.write(lambda tx: tokens.create(tx, digest, generation=1, at=NOW, expires_at=END))

        used = await race(
            deployment.node,
            lambda tx: tokens.use(tx, digest, at=NOW),
            deployment.other,
            lambda tx: tokens.use(tx, digest, at=NOW),
        )

        assert used == (True, False)

    @pytest.mark.parametrize("is_revoked_first", [False, True])
    async def test_a_session_is_refreshed_or_revoked_in_one_order(
        self, deployment: Deployment, scope: Scope, is_revoked_first: bool
    ) -> None:
        """A revoked one is not refreshed; one that was refreshed is revoked all the same."""
        session, sessions = await _signed_in(deployment, scope), SessionRepository(scope)
        assert session.session_id is not None
        own = session.session_id

        async def revoke(tx: Transaction) -> str:
            return "revoked" if await sessions.revoke(tx, own, at=NOW) else "was revoked"

        async def touch(tx: Transaction) -> str:
            return "refused" if await sessions.touch(tx, own, at=NOW) is None else "refreshed"

        first, second = (revoke, touch) if is_revoked_first else (touch, revoke)
        outcome = await race(deployment.node, first, deployment.other, second)

        assert outcome == (("revoked", "refused") if is_revoked_first else ("refreshed", "revoked"))
        assert await deployment.other.read(lambda tx: sessions.list(tx, at=NOW)) == []

    async def test_a_tenant_s_name_is_taken_once_and_both_get_the_same_tenant(self, deployment: Deployment) -> None:
        """Two set-ups at once make one tenant."""
        slug, directory = str(TenantId.new()), TenantDirectory(SYSTEM)

        one, two = await race(
            deployment.node,
            lambda tx: directory.create(tx, slug=slug, name="first", at=NOW),
            deployment.other,
            lambda tx: directory.create(tx, slug=slug, name="second", at=NOW),
        )

        assert one == two
        assert two.name == "first"

    async def test_an_address_is_taken_once_in_a_tenant(self, deployment: Deployment, scope: Scope) -> None:
        """The second is refused, and leaves no password behind."""
        members = MemberRepository(SYSTEM, scope.tenant_id)

        async def add(tx: Transaction) -> bool:
            try:
                await members.create(
                    tx, email="ada@example.org", name="Ada", role=Role.MEMBER, password_hash=DIGEST, at=NOW
                )
            except AlreadyExistsError:
                return False
            return True

        assert await race(deployment.node, add, deployment.other, add) == (True, False)
        found = await rows(deployment.other, "SELECT user_id FROM identities WHERE tenant_id = ?", str(scope.tenant_id))
        assert len(found) == 2
