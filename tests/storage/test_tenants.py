import asyncio
from datetime import UTC, datetime

import pytest

from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError
from cloche.ids import TenantId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.tenants import ACTIVE, SUSPENDED, Tenant, TenantDirectory, TenantRepository

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
DIRECTORY = TenantDirectory(SystemScope(purpose="test"))


def slug() -> str:
    return TenantId.new()[-26:]


async def make(database: Database, name: str) -> Tenant:
    async def work(tx: Transaction) -> Tenant:
        return await DIRECTORY.create(tx, slug=name, name=name.upper(), at=NOW)

    return await database.write(work)


async def test_a_tenant_is_found_by_its_slug(database: Database) -> None:
    made = await make(database, name := slug())

    async def work(tx: Transaction) -> tuple[Tenant | None, Tenant, Tenant | None]:
        return await DIRECTORY.find(tx, name), await DIRECTORY.get(tx, name), await DIRECTORY.find(tx, slug())

    assert await database.read(work) == (made, made, None)
    assert (made.slug, made.name, made.status, made.created_at) == (name, name.upper(), ACTIVE, NOW)


async def test_a_slug_that_is_nobody_s_is_not_found(database: Database) -> None:
    async def work(tx: Transaction) -> Tenant:
        return await DIRECTORY.get(tx, slug())

    with pytest.raises(NotFoundError):
        await database.read(work)


async def test_two_that_make_one_slug_at_once_get_the_same_tenant(database: Database) -> None:
    name = slug()

    made = await asyncio.gather(*(make(database, name) for _ in range(5)))

    assert len({tenant.id for tenant in made}) == 1


async def test_a_scope_sees_its_own_tenant_and_no_other(database: Database) -> None:
    own = await make(database, slug())
    await make(database, slug())

    async def get(tenant_id: TenantId) -> Tenant:
        repository = TenantRepository(Scope(tenant_id=tenant_id, user_id=UserId.new()))
        return await database.read(repository.get)

    assert await get(own.id) == own
    with pytest.raises(NotFoundError):
        await get(TenantId.new())


async def test_a_tenant_can_be_suspended_and_is_listed_as_such(database: Database) -> None:
    made = await make(database, slug())

    async def work(tx: Transaction) -> tuple[bool, bool, list[Tenant]]:
        known = await DIRECTORY.set_status(tx, made.id, SUSPENDED)
        unknown = await DIRECTORY.set_status(tx, TenantId.new(), SUSPENDED)
        return known, unknown, await DIRECTORY.list(tx)

    known, unknown, listed = await database.write(work)

    assert (known, unknown) == (True, False)
    assert [tenant.status for tenant in listed if tenant.id == made.id] == [SUSPENDED]
    assert [tenant.slug for tenant in listed] == sorted(tenant.slug for tenant in listed)
