from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloche.domain.scope import Scope, SystemScope
from cloche.ids import TenantId, UserId
from cloche.storage.audit import AuditChoice, AuditLine, AuditRepository
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


async def test_lines_are_chosen_by_who_did_what_since_when(database: Database, scope: Scope) -> None:
    audit = AuditRepository(scope)
    other = AuditRepository(Scope(tenant_id=scope.tenant_id, user_id=UserId.new()))
    user = str(scope.user_id)

    async def fill(tx: Transaction) -> None:
        for number, action in enumerate(("user.added", "session.opened", "session.revoked", "user_x")):
            await audit.append(tx, action, target="x", at=NOW + timedelta(seconds=number))
            await other.append(tx, action, target="x", at=NOW + timedelta(seconds=number))

    async def chosen(**options: Any) -> list[tuple[str, bool]]:
        page = await database.read(lambda tx: audit.list(tx, PageRequest(limit=100), AuditChoice(**options)))
        return [(line.action, line.actor == user) for line in page.items]

    await database.write(fill)

    assert len(await chosen()) == 8
    assert await chosen(actor=user) == [
        ("user_x", True),
        ("session.revoked", True),
        ("session.opened", True),
        ("user.added", True),
    ]
    assert await chosen(actor=user, action="session.") == [("session.revoked", True), ("session.opened", True)]
    assert await chosen(actor=user, action="user.") == [("user.added", True)]
    assert await chosen(actor=user, action="user._") == []
    assert await chosen(actor=user, since=NOW + timedelta(seconds=2)) == [("user_x", True), ("session.revoked", True)]
    assert await chosen(actor="nobody") == []
