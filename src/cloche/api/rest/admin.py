"""What an administrator does with the tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery
from cloche.api.wire.access import requires
from cloche.api.wire.admin import (
    AuditPage,
    TenantAnswer,
    audit_answer,
    tenant_answer,
)
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import Instant
from cloche.domain.permissions import Permission
from cloche.storage.audit import AuditChoice, AuditLine, AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, page_request
from cloche.storage.tenants import Tenant, TenantRepository


class AdminRoutes:
    """The tenant, and the trail of what was done in it."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/admin/tenant", run=self.get_tenant, answer=TenantAnswer),
            Endpoint(method="GET", path="/v1/admin/audit", run=self.list_audit, answer=AuditPage),
        ]

    @requires(Permission.ADMIN_TENANT)
    async def get_tenant(self, caller: Admitted) -> TenantAnswer:
        """Get what the caller's tenant is called and how it stands."""
        scope = caller.scope

        async def work(tx: Transaction) -> Tenant:
            return await TenantRepository(scope).get(tx)

        return tenant_answer(await self._database.read(work))

    @requires(Permission.ADMIN_AUDIT)
    async def list_audit(
        self,
        caller: Admitted,
        *,
        actor: Annotated[
            str | None, Query(max_length=200, description="done by this user, or part of the program")
        ] = None,
        action: Annotated[str, Query(max_length=100, description="how the action begins, as `session.`")] = "",
        since: Annotated[Instant | None, Query(description="done since then")] = None,
        limit: LimitQuery = FIRST_PAGE,
        cursor: CursorQuery = None,
    ) -> AuditPage:
        """List what was done in the tenant, newest first."""
        scope, page = caller.scope, page_request("audit", limit=limit, cursor=cursor)
        choice = AuditChoice(actor=actor, action=action, since=since)

        async def work(tx: Transaction) -> Page[AuditLine]:
            return await AuditRepository(scope).list(tx, page, choice)

        found = await self._database.read(work)
        return AuditPage(items=[audit_answer(line) for line in found.items], next_cursor=found.next_cursor)
