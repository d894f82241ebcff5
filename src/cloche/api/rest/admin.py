"""What an administrator does with the tenant."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.admin import (
    AuditPage,
    MemberBody,
    MemberPage,
    MemberRunPage,
    TenantAnswer,
    audit_answer,
    member_run_answer,
    tenant_answer,
)
from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.api.wire.parts import EdgeParts
from cloche.clock import to_micros
from cloche.domain.permissions import Permission
from cloche.domain.runs import LIVE_STATES, ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.ids import UserId
from cloche.storage.audit import AuditLine, AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import MAX_LIMIT, Page, PageRequest, cursor_of, page_request
from cloche.storage.runs import RunRepository
from cloche.storage.tenants import Tenant, TenantRepository
from cloche.storage.users import MemberRepository


class AdminRoutes:
    """The tenant's users, runs and trail. Of a run only what an operator needs: never what was said in it."""

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
            Endpoint(method="GET", path="/v1/admin/runs", run=self.list_member_runs, answer=MemberRunPage),
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

    @requires(Permission.ADMIN_RUNS)
    async def list_member_runs(
        self, caller: Admitted, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None
    ) -> MemberRunPage:
        """List the tenant's runs without their content, newest first, and count its live ones by state."""
        scope, page = caller.scope, page_request("runs", limit=limit, cursor=cursor)

        async def work(tx: Transaction) -> tuple[Page[Run], dict[ExecutionState, int]]:
            return await _newest_runs(tx, scope, page), await _count_live(tx, scope)

        found, live = await self._database.read(work)
        return MemberRunPage(
            items=[member_run_answer(run) for run in found.items], next_cursor=found.next_cursor, live=live
        )

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


async def _members(tx: Transaction, scope: Scope) -> list[Scope]:
    """The scope of each user of the administrator's tenant; it grants nothing."""
    members = MemberRepository(scope)
    found = await members.list(tx, PageRequest(limit=MAX_LIMIT))
    users = [*found.items]
    while found.next_cursor is not None:
        found = await members.list(tx, page_request("users", limit=MAX_LIMIT, cursor=found.next_cursor))
        users += found.items
    return [Scope(tenant_id=scope.tenant_id, user_id=user.id) for user in users]


async def _newest_runs(tx: Transaction, scope: Scope, page: PageRequest) -> Page[Run]:
    found: list[Run] = []
    is_more = False
    for member in await _members(tx, scope):
        own = await RunRepository(member).list(tx, page)
        is_more = is_more or own.next_cursor is not None or len(found) + len(own.items) > page.limit
        found = nlargest(page.limit, [*found, *own.items], key=lambda run: (run.created_at, run.id))
    cursor = cursor_of("runs", to_micros(found[-1].created_at), found[-1].id) if is_more else None
    return Page(items=found, next_cursor=cursor)


async def _count_live(tx: Transaction, scope: Scope) -> dict[ExecutionState, int]:
    counted: Counter[ExecutionState] = Counter()
    for member in await _members(tx, scope):
        runs = RunRepository(member)
        left, page = await runs.live_count(tx), PageRequest(limit=MAX_LIMIT)
        while left:
            found = await runs.list(tx, page)
            live = [run.state for run in found.items if run.state in LIVE_STATES]
            counted.update(live)
            left -= len(live)
            if found.next_cursor is None:
                break
            page = page_request("runs", limit=MAX_LIMIT, cursor=found.next_cursor)
    return {state: counted[state] for state in sorted(LIVE_STATES)}
