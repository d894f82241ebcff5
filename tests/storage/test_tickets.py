import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloche.clock import SystemClock
from cloche.domain.scope import Scope, SystemScope
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.sqlite import open_sqlite
from cloche.storage.tickets import SetUpTicketRepository, TicketHolder, TicketRedemption, TicketRepository

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
END = NOW + timedelta(seconds=30)
REDEMPTION = TicketRedemption(SystemScope(purpose="test"))
SET_UP = SetUpTicketRepository(SystemScope(purpose="test"))


@pytest.fixture
def scope() -> Scope:
    return Scope(tenant_id=TenantId.new(), user_id=UserId.new(), session_id=SessionId.new())


async def issue(database: Database, scope: Scope, digest: bytes = b"digest") -> None:
    async def work(tx: Transaction) -> None:
        await TicketRepository(scope).create(tx, digest, at=NOW, expires_at=END)

    await database.write(work)


async def take(
    database: Database, tenant_id: TenantId, digest: bytes = b"digest", at: datetime = NOW
) -> TicketHolder | None:
    async def work(tx: Transaction) -> TicketHolder | None:
        return await REDEMPTION.take(tx, tenant_id, digest, at=at)

    return await database.write(work)


async def test_a_ticket_leads_to_its_holder_once(database: Database, scope: Scope) -> None:
    await issue(database, scope)

    assert await take(database, scope.tenant_id) == TicketHolder(
        tenant_id=scope.tenant_id, user_id=scope.user_id, session_id=SessionId(str(scope.session_id))
    )
    assert await take(database, scope.tenant_id) is None


async def test_of_many_takers_at_once_one_gets_the_holder(database: Database, scope: Scope) -> None:
    await issue(database, scope)

    holders = await asyncio.gather(*(take(database, scope.tenant_id) for _ in range(10)))

    assert sum(holder is not None for holder in holders) == 1


async def test_a_ticket_is_none_elsewhere_nor_with_another_digest_nor_after_its_time(
    database: Database, scope: Scope
) -> None:
    await issue(database, scope)

    assert await take(database, TenantId.new()) is None
    assert await take(database, scope.tenant_id, b"another") is None
    assert await take(database, scope.tenant_id, at=END) is None
    assert await take(database, scope.tenant_id, at=END - timedelta(microseconds=1)) is not None


async def test_expired_tickets_can_be_swept_away(database: Database, scope: Scope) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)

    async def work(tx: Transaction) -> tuple[int, int]:
        await TicketRepository(scope).create(tx, b"old", at=long_ago, expires_at=long_ago)
        await TicketRepository(scope).create(tx, b"new", at=NOW, expires_at=END)
        first = await REDEMPTION.delete_expired(tx, before=long_ago)
        return first, await REDEMPTION.delete_expired(tx, before=long_ago)

    assert await database.write(work) == (1, 0)
    assert await take(database, scope.tenant_id, b"new") is not None


async def test_a_set_up_ticket_is_taken_once_and_a_newer_one_voids_it(tmp_path: Path, scope: Scope) -> None:
    async def work(tx: Transaction) -> list[object]:
        tenant = scope.tenant_id
        await SET_UP.create(tx, tenant, b"first", at=NOW, expires_at=END)
        await SET_UP.create(tx, tenant, b"second", at=NOW, expires_at=END)
        return [
            await SET_UP.is_live(tx, tenant, b"first", at=NOW),
            await SET_UP.take(tx, tenant, b"first", at=NOW),
            await SET_UP.is_live(tx, tenant, b"second", at=NOW),
            await SET_UP.is_live(tx, tenant, b"second", at=END),
            await SET_UP.take(tx, tenant, b"second", at=END),
            await REDEMPTION.take(tx, tenant, b"second", at=NOW),
            await SET_UP.take(tx, tenant, b"second", at=NOW),
            await SET_UP.take(tx, tenant, b"second", at=NOW),
            await SET_UP.is_live(tx, tenant, b"second", at=NOW),
        ]

    async with open_sqlite(tmp_path / "own.db", clock=SystemClock()) as database:
        answers = await database.write(work)

    assert answers == [False, False, True, False, False, None, True, False, False]


async def test_a_connection_ticket_makes_no_administrator(database: Database, scope: Scope) -> None:
    await issue(database, scope)

    async def work(tx: Transaction) -> tuple[bool, bool]:
        return (
            await SET_UP.is_live(tx, scope.tenant_id, b"digest", at=NOW),
            await SET_UP.take(tx, scope.tenant_id, b"digest", at=NOW),
        )

    assert await database.write(work) == (False, False)
