"""The contract of check-ups: a tenant keeps the newest ones."""

from __future__ import annotations

from cloche.domain.scope import Scope
from cloche.storage.checkups import KEPT, CheckupRepository, KeptCheck
from cloche.storage.database import Transaction
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, newcomer

CHECKS = (KeptCheck(name="sign_in", ok=True, detail="ü", duration_ms=1.5), KeptCheck(name="path", ok=False, detail=""))


class TestCheckups:
    """What the doctor found."""

    async def test_a_check_up_is_kept_as_it_was_with_whose_account_it_used(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Another tenant has its own."""
        checkups = CheckupRepository(scope)
        made = await deployment.node.write(lambda tx: checkups.append(tx, is_ok=False, users=3, checks=CHECKS, at=NOW))
        foreign = await newcomer(deployment.node)

        (found,) = await deployment.other.read(lambda tx: checkups.list(tx, limit=10))

        assert (found.id, found.at, found.user_id) == (made, NOW, scope.user_id)
        assert (found.is_ok, found.users, tuple(found.checks)) == (False, 3, CHECKS)
        assert "@" in found.email
        assert await deployment.other.read(lambda tx: CheckupRepository(foreign).list(tx, limit=10)) == []

    async def test_the_oldest_give_way_to_the_newest(self, deployment: Deployment, scope: Scope) -> None:
        """Newest first, and only those of the own tenant are counted."""
        foreign = await newcomer(deployment.node)

        async def work(tx: Transaction) -> None:
            await CheckupRepository(foreign).append(tx, is_ok=True, users=0, checks=(), at=NOW)
            for number in range(KEPT + 3):
                await CheckupRepository(scope).append(tx, is_ok=True, users=number, checks=(), at=NOW)

        await deployment.node.write(work)

        found = await deployment.other.read(lambda tx: CheckupRepository(scope).list(tx, limit=1000))
        theirs = await deployment.other.read(lambda tx: CheckupRepository(foreign).list(tx, limit=1000))

        assert [one.users for one in found] == list(range(KEPT + 2, 2, -1))
        assert len(theirs) == 1
