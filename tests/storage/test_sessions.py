from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.sessions import (
    RefreshTokenRepository,
    Session,
    SessionDirectory,
    SessionRepository,
    SessionStanding,
    StoredRefreshToken,
)
from cloche.storage.tenants import SUSPENDED, TenantDirectory
from cloche.storage.users import DISABLED, MemberRepository, User

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
END = NOW + timedelta(days=30)
SYSTEM = SystemScope(purpose="test")


@dataclass
class Place:
    database: Database
    user: User

    @property
    def sessions(self) -> SessionRepository:
        return SessionRepository(Scope(tenant_id=self.user.tenant_id, user_id=self.user.id))

    def scope(self, session_id: SessionId) -> Scope:
        return Scope(tenant_id=self.user.tenant_id, user_id=self.user.id, session_id=session_id)

    async def open(self, *, at: datetime = NOW, expires_at: datetime = END) -> SessionId:
        session_id = SessionId.new()

        async def work(tx: Transaction) -> None:
            await self.sessions.create(
                tx, session_id, user_agent="Firefox", address="192.0.2.1", at=at, expires_at=expires_at
            )

        await self.database.write(work)
        return session_id

    async def listed(self, at: datetime = NOW) -> list[SessionId]:
        async def work(tx: Transaction) -> list[Session]:
            return await self.sessions.list(tx, at=at)

        return [session.id for session in await self.database.read(work)]

    async def standing(self, session_id: SessionId) -> SessionStanding | None:
        async def work(tx: Transaction) -> SessionStanding | None:
            return await self.sessions.find_standing(tx, session_id)

        return await self.database.read(work)

    async def revoke(self, session_id: SessionId, at: datetime = NOW) -> bool:
        async def work(tx: Transaction) -> bool:
            return await self.sessions.revoke(tx, session_id, at=at)

        return await self.database.write(work)


async def new_place(database: Database) -> Place:
    async def work(tx: Transaction) -> User:
        tenant = await TenantDirectory(SYSTEM).create(tx, slug=TenantId.new()[-26:], name="T", at=NOW)
        members = MemberRepository(SYSTEM, tenant.id)
        return await members.create(
            tx, email="ada@example.org", name="Ada", role=Role.MEMBER, password_hash="hash", at=NOW
        )

    return Place(database, await database.write(work))


@pytest.fixture
async def place(database: Database) -> Place:
    return await new_place(database)


async def test_live_sessions_are_listed_last_used_first(place: Place) -> None:
    first, second = await place.open(), await place.open(at=LATER)
    over = await place.open(expires_at=LATER)
    revoked = await place.open()
    await place.revoke(revoked)

    assert await place.listed(LATER) == [second, first]
    assert set(await place.listed(NOW)) == {first, second, over}


async def test_a_session_belongs_to_its_user(place: Place) -> None:
    session_id = await place.open()
    stranger = await new_place(place.database)

    assert await stranger.listed() == []
    assert await stranger.standing(session_id) is None
    for missing in (session_id, SessionId.new()):
        with pytest.raises(NotFoundError, match="there is no such session"):
            await stranger.revoke(missing)
    assert await place.listed() == [session_id]


async def test_a_use_moves_the_time_of_a_live_session_only(place: Place) -> None:
    live, revoked = await place.open(), await place.open()
    await place.revoke(revoked)

    async def work(tx: Transaction) -> list[Session | None]:
        return [await place.sessions.touch(tx, one, at=LATER) for one in (live, revoked, SessionId.new())]

    async def too_late(tx: Transaction) -> Session | None:
        return await place.sessions.touch(tx, live, at=END)

    touched = await place.database.write(work)

    assert touched[0] is not None
    assert (touched[0].id, touched[0].used_at, touched[0].created_at) == (live, LATER, NOW)
    assert touched[1:] == [None, None]
    assert await place.database.write(too_late) is None


async def test_a_session_is_revoked_once(place: Place) -> None:
    session_id = await place.open()

    assert await place.revoke(session_id) is True
    assert await place.revoke(session_id) is False
    standing = await place.standing(session_id)
    assert standing is not None
    assert not standing.is_open


async def test_all_sessions_of_a_user_but_one_can_be_revoked(place: Place) -> None:
    kept, other, before = await place.open(), await place.open(), await place.open()
    stranger = await new_place(place.database)
    foreign = await stranger.open()
    await place.revoke(before)

    async def work(tx: Transaction) -> tuple[list[SessionId], list[SessionId]]:
        return (
            await place.sessions.revoke_all(tx, at=NOW, keep=kept),
            await place.sessions.revoke_all(tx, at=NOW),
        )

    assert await place.database.write(work) == ([other], [kept])
    assert await stranger.listed() == [foreign]


async def test_a_standing_tells_of_session_user_and_tenant(place: Place) -> None:
    session_id = await place.open()
    members = MemberRepository(SYSTEM, place.user.tenant_id)

    async def disable(tx: Transaction) -> None:
        await members.set_status(tx, place.user.id, DISABLED, at=NOW)

    async def suspend(tx: Transaction) -> None:
        await members.set_status(tx, place.user.id, "active", at=NOW)
        await members.set_role(tx, place.user.id, Role.ADMIN, at=NOW)
        await TenantDirectory(SYSTEM).set_status(tx, place.user.tenant_id, SUSPENDED)

    standing = await place.standing(session_id)
    await place.database.write(disable)
    disabled = await place.standing(session_id)
    await place.database.write(suspend)
    suspended = await place.standing(session_id)

    assert standing == SessionStanding(
        email="ada@example.org", role=Role.MEMBER, is_open=True, is_user_active=True, expires_at=END
    )
    assert "example.org" not in repr(standing)
    assert disabled is not None
    assert not disabled.is_user_active
    assert suspended is not None
    assert (suspended.is_user_active, suspended.role) == (False, Role.ADMIN)


async def test_a_refresh_token_is_found_by_tenant_and_digest_and_used_once(place: Place) -> None:
    session_id = await place.open()
    digest = session_id.encode()
    family = RefreshTokenRepository(place.scope(session_id))

    async def work(tx: Transaction) -> list[object]:
        await family.create(tx, digest, generation=1, at=NOW, expires_at=LATER)
        directory = SessionDirectory(SYSTEM)
        return [
            await directory.find_refresh_token(tx, place.user.tenant_id, digest),
            await directory.find_refresh_token(tx, TenantId.new(), digest),
            await directory.find_refresh_token(tx, place.user.tenant_id, b"x"),
            await RefreshTokenRepository(place.scope(SessionId.new())).use(tx, digest, at=NOW),
            await family.use(tx, digest, at=NOW),
            await family.use(tx, digest, at=NOW),
        ]

    found, elsewhere, unknown, foreign, first, second = await place.database.write(work)

    assert found == StoredRefreshToken(user_id=place.user.id, session_id=session_id, generation=1, expires_at=LATER)
    assert (elsewhere, unknown) == (None, None)
    assert (foreign, first, second) == (False, True, False)


async def test_the_head_of_a_family_is_its_newest_generation_since_its_first_token(place: Place) -> None:
    session_id = await place.open()
    other = await place.open()
    family = RefreshTokenRepository(place.scope(session_id))

    async def work(tx: Transaction) -> tuple[int, datetime]:
        for number, (generation, at) in enumerate([(1, NOW), (2, LATER), (2, LATER + timedelta(seconds=3))]):
            await family.create(tx, f"{session_id}{number}".encode(), generation=generation, at=at, expires_at=END)
        stranger = RefreshTokenRepository(place.scope(other))
        await stranger.create(tx, other.encode(), generation=9, at=NOW, expires_at=END)
        head = await family.head(tx)
        return head.generation, head.since

    assert await place.database.write(work) == (2, LATER)


def test_a_family_without_a_session_cannot_be_named() -> None:
    with pytest.raises(AssertionError):
        RefreshTokenRepository(Scope(tenant_id=TenantId.new(), user_id=UserId.new()))


async def test_what_was_revoked_since_a_time_is_listed_across_tenants_in_order(place: Place) -> None:
    stranger = await new_place(place.database)
    early, late, foreign = await place.open(), await place.open(), await stranger.open()
    await place.open()
    await place.revoke(early, NOW - timedelta(seconds=1))
    await place.revoke(late, LATER)
    await stranger.revoke(foreign, NOW)

    async def work(tx: Transaction) -> list[tuple[SessionId, datetime]]:
        return await SessionDirectory(SYSTEM).list_revoked(tx, since=NOW)

    listed = [(one, at) for one, at in await place.database.read(work) if one in (early, late, foreign)]
    assert listed == [(foreign, NOW), (late, LATER)]


async def test_expired_sessions_go_with_their_tokens_and_live_ones_stay(place: Place) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    over = await place.open(expires_at=long_ago)
    live = await place.open()

    async def fill(tx: Transaction) -> None:
        for session_id in (over, live):
            family = RefreshTokenRepository(place.scope(session_id))
            await family.create(tx, session_id.encode(), generation=1, at=NOW, expires_at=END)

    async def sweep(tx: Transaction) -> int:
        return await SessionDirectory(SYSTEM).delete_expired(tx, before=long_ago)

    async def look(tx: Transaction) -> list[bool]:
        directory = SessionDirectory(SYSTEM)
        return [
            await directory.find_refresh_token(tx, place.user.tenant_id, one.encode()) is not None
            for one in (over, live)
        ]

    await place.database.write(fill)

    assert await place.database.write(sweep) == 1
    assert await place.database.read(look) == [False, True]
    assert await place.listed() == [live]
    assert await place.standing(over) is None
