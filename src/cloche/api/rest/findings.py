"""The repair view: what disagrees in the tenant, and the way to have it repaired."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import Admitted, Endpoint
from cloche.api.wire.access import requires
from cloche.api.wire.findings import FindingAnswer, FindingPage, RepairBody, finding_answer
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import Instant
from cloche.domain.findings import FindingRef
from cloche.domain.permissions import Permission


class FindingRoutes:
    """What an administrator sees of rows that disagree: which, since when, and what would be done."""

    def __init__(self, services: EdgeParts) -> None:
        self._repairs = services.repairs
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/admin/findings", run=self.list_findings, answer=FindingPage),
            Endpoint(
                method="POST",
                path="/v1/admin/repairs",
                run=self.repair_finding,
                answer=FindingAnswer,
                errors=(404, 409),
            ),
        ]

    @requires(Permission.ADMIN_RUNS)
    async def list_findings(
        self,
        caller: Admitted,
        since: Annotated[Instant | None, Query(description="look back to this time; without it, a day")] = None,
    ) -> FindingPage:
        """List what disagrees in the tenant's rows, oldest first, at most a hundred; nothing is changed.

        Runs that are not over and open approvals are all looked at. Of what is over, runs that were made, and threads that
        were changed, since the given time.
        """
        look = await self._repairs.look(caller.scope, since=since)
        now = self._clock.now()
        return FindingPage(
            items=[finding_answer(finding, now) for finding in look.findings],
            more=look.more,
            looked_back_to=look.since,
        )

    @requires(Permission.ADMIN_REPAIRS)
    async def repair_finding(self, caller: Admitted, body: RepairBody) -> FindingAnswer:
        """Repair one finding, as its `would` says, and tell what it was.

        It is looked for once more first: 404 when it is there no more, 409 when it needs a person.
        """
        finding = await self._repairs.repair(caller.scope, FindingRef.parse(body.finding))
        return finding_answer(finding, self._clock.now())
