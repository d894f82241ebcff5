"""What an administrator does with the tenant."""

from __future__ import annotations

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.admin import (
    AuditPage,
    MemberBody,
    MemberPage,
    TenantAnswer,
    audit_answer,
    tenant_answer,
)
from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.ids import UserId
from cloche.storage.audit import AuditLine, AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, page_request
from cloche.storage.tenants import Tenant, TenantRepository


class AdminRoutes:
    """The tenant, its users, and the trail of what was done in it."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._members = services.sign_in.members

    def table(self) -> list[Endpoint]:
        """The routes."""
        user = "/v1/admin/users/{user_id}"
        return [
            Endpoint(method="GET", path="/v1/admin/users", run=self.list_users, answer=MemberPage),
            Endpoint(
                method="POST",
                path="/v1/admin/users",
                run=self.create_user,
                answer=UserAnswer,
                status=201,
                errors=(409, 429),
            ),
            Endpoint(method="POST", path=f"{user}/disable", run=self.disable_user, answer=UserAnswer, errors=(409,)),
            Endpoint(method="POST", path=f"{user}/enable", run=self.enable_user, answer=UserAnswer),
            Endpoint(method="GET", path="/v1/admin/tenant", run=self.get_tenant, answer=TenantAnswer),
            Endpoint(method="GET", path="/v1/admin/audit", run=self.list_audit, answer=AuditPage),
        ]

    @requires(Permission.ADMIN_USERS)
    async def list_users(
        self, caller: Admitted, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None
    ) -> MemberPage:
        """List the tenant's users, newest first."""
        found = await self._members.list(caller.scope, page_request("users", limit=limit, cursor=cursor))
        return MemberPage(items=[user_answer(user) for user in found.items], next_cursor=found.next_cursor)

    @requires(Permission.ADMIN_USERS)
    async def create_user(self, caller: Admitted, body: MemberBody) -> UserAnswer:
        """Add a user, who can sign in at once."""
        user = await self._members.add(
            caller.scope, email=body.email, password=body.password, role=body.role.value, name=body.name
        )
        return user_answer(user)

    @requires(Permission.ADMIN_USERS)
    async def disable_user(self, caller: Admitted, user_id: str) -> UserAnswer:
        """Disable a user: no sign-in, and every session ends."""
        return user_answer(await self._members.disable(caller.scope, path_id(UserId, user_id)))

    @requires(Permission.ADMIN_USERS)
    async def enable_user(self, caller: Admitted, user_id: str) -> UserAnswer:
        """Let a user sign in again."""
        return user_answer(await self._members.enable(caller.scope, path_id(UserId, user_id)))

    @requires(Permission.ADMIN_TENANT)
    async def get_tenant(self, caller: Admitted) -> TenantAnswer:
        """Get what the caller's tenant is called and how it stands."""
        scope = caller.scope

        async def work(tx: Transaction) -> Tenant:
            return await TenantRepository(scope).get(tx)

        return tenant_answer(await self._database.read(work))

    @requires(Permission.ADMIN_AUDIT)
    async def list_audit(
        self, caller: Admitted, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None
    ) -> AuditPage:
        """List what was done in the tenant, newest first."""
        scope, page = caller.scope, page_request("audit", limit=limit, cursor=cursor)

        async def work(tx: Transaction) -> Page[AuditLine]:
            return await AuditRepository(scope).list(tx, page)

        found = await self._database.read(work)
        return AuditPage(items=[audit_answer(line) for line in found.items], next_cursor=found.next_cursor)
