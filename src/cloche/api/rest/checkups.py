"""The doctor's last results."""

from __future__ import annotations

from cloche.api.rest.route import FIRST_PAGE, Admitted, Endpoint, LimitQuery
from cloche.api.wire.access import requires
from cloche.api.wire.checkups import CheckupAnswer, CheckupBody, CheckupPage, checkup_answer, kept_check
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.storage.checkups import CheckupRepository, KeptCheckup
from cloche.storage.database import Transaction


class CheckupRoutes:
    """What the doctor found, for those who look at a page rather than at a terminal."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        path = "/v1/admin/checkups"
        return [
            Endpoint(method="POST", path=path, run=self.store_checkup, answer=CheckupAnswer, status=201),
            Endpoint(method="GET", path=path, run=self.list_checkups, answer=CheckupPage),
        ]

    @requires(Permission.ADMIN_REPAIRS)
    async def store_checkup(self, caller: Admitted, body: CheckupBody) -> CheckupAnswer:
        """Store what a round of the doctor found; the tenant keeps the newest hundred."""
        checkups, at = CheckupRepository(caller.scope), self._clock.now()

        async def work(tx: Transaction) -> KeptCheckup:
            checks = [kept_check(line) for line in body.checks]
            await checkups.append(tx, is_ok=body.is_ok, users=body.users, checks=checks, at=at)
            return (await checkups.list(tx, limit=1))[0]

        return checkup_answer(await self._database.write(work))

    @requires(Permission.ADMIN_RUNS)
    async def list_checkups(self, caller: Admitted, limit: LimitQuery = FIRST_PAGE) -> CheckupPage:
        """List what the doctor found lately, newest first."""
        checkups = CheckupRepository(caller.scope)
        found = await self._database.read(lambda tx: checkups.list(tx, limit=limit))
        return CheckupPage(items=[checkup_answer(one) for one in found])
