from datetime import UTC, datetime, timedelta

import pytest

from cloche.domain.scope import Scope, SystemScope
from cloche.ids import TenantId, UserId
from cloche.storage.audit import AuditLine, AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.pages import Page, PageRequest, page_request

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def scope() -> Scope:
    return Scope(tenant_id=TenantId.new(), user_id=UserId.new())


async def test_a_line_is_kept_with_its_actor_and_facts(database: Database, scope: Scope) -> None:
    audit = AuditRepository(scope)

    async def work(tx: Transaction) -> Page[AuditLine]:
        await audit.append(tx, "user.added", target="user_1", at=NOW, detail={"role": "admin", "count": 2})
        return await audit.list(tx, PageRequest())

    line = (await database.write(work)).items[0]

    assert (line.actor, line.action, line.target, line.at) == (scope.user_id, "user.added", "user_1", NOW)
    assert line.detail == {"role": "admin", "count": 2}


async def test_the_program_itself_acts_under_its_purpose_in_a_named_tenant(database: Database, scope: Scope) -> None:
    async def work(tx: Transaction) -> Page[AuditLine]:
        await AuditRepository(SystemScope(purpose="sweep"), scope.tenant_id).append(tx, "a.b", target="x", at=NOW)
        return await AuditRepository(scope).list(tx, PageRequest())

    assert [(line.actor, line.detail) for line in (await database.write(work)).items] == [("sweep", {})]


async def test_a_tenant_s_trail_is_its_own_and_comes_in_pages_newest_first(database: Database, scope: Scope) -> None:
    audit = AuditRepository(scope)
    stranger = AuditRepository(Scope(tenant_id=TenantId.new(), user_id=scope.user_id))

    async def fill(tx: Transaction) -> None:
        for number in range(5):
            await audit.append(tx, f"step.{number}", target="x", at=NOW + timedelta(seconds=number // 2))
            await stranger.append(tx, "foreign", target="x", at=NOW)

    await database.write(fill)
    found: list[str] = []
    cursor: str | None = None
    for _ in range(3):

        async def work(tx: Transaction, cursor: str | None = cursor) -> Page[AuditLine]:
            return await audit.list(tx, page_request("audit", limit=2, cursor=cursor))

        page = await database.read(work)
        found += [line.action for line in page.items]
        cursor = page.next_cursor

    assert found == ["step.4", "step.3", "step.2", "step.1", "step.0"]
    assert cursor is None


def test_a_user_s_scope_cannot_write_elsewhere_and_a_system_scope_must_say_where(scope: Scope) -> None:
    with pytest.raises(AssertionError):
        AuditRepository(scope, TenantId.new())
    with pytest.raises(AssertionError):
        AuditRepository(SystemScope(purpose="sweep"))
    assert AuditRepository(scope, scope.tenant_id)
