"""What the installation does now and did lately, for who operates a tenant of it."""

from __future__ import annotations

from datetime import datetime

from cloche.api.rest.route import Admitted, Endpoint
from cloche.api.rest.system import readiness_of
from cloche.api.wire.access import requires
from cloche.api.wire.operations import OperationsAnswer, model_state_answer, node_answer
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import seconds_between
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState
from cloche.storage.database import Transaction
from cloche.storage.tenant_runs import TenantRunRepository


class OperationRoutes:
    """Load figures of the processes, and figures of the caller's own tenant."""

    def __init__(self, services: EdgeParts) -> None:
        self._services = services
        self._database = services.database
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/admin/operations", run=self.get_operations, answer=OperationsAnswer),
        ]

    @requires(Permission.ADMIN_RUNS)
    async def get_operations(self, caller: Admitted) -> OperationsAnswer:
        """Get what is going on now: the processes and their load, the tenant's live runs, the checks and the models.

        What a process says of its load is that of all tenants together; nothing in it tells of anybody.
        """
        runs = TenantRunRepository(caller.scope)

        async def work(tx: Transaction) -> tuple[dict[ExecutionState, int], datetime | None]:
            return await runs.count_live(tx), await runs.oldest_pending_at(tx)

        live, pending_at = await self._database.read(work)
        ready, models = await readiness_of(self._services), await self._services.models()
        nodes, now = await self._services.nodes(), self._clock.now()
        return OperationsAnswer(
            at=now,
            nodes=[node_answer(node, now) for node in nodes],
            live=live,
            oldest_pending_s=None if pending_at is None else seconds_between(pending_at, now),
            status=ready.status,
            checks=ready.checks,
            models=[model_state_answer(name, found) for name, found in models.items()],
        )
