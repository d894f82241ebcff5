from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import AlreadyExistsError, NotFoundError
from cloche.ids import TenantId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.pages import Page, PageRequest, page_request
from cloche.storage.tenants import ACTIVE, SUSPENDED, Tenant, TenantDirectory
from cloche.storage.users import (
    DISABLED,
    MAX_CANDIDATES,
    MemberRepository,
    SignInCandidate,
    SignInRepository,
    User,
    UserRepository,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
SYSTEM = SystemScope(purpose="test")


@dataclass
class Place:
    database: Database
    tenant: Tenant

    @property
    def members(self) -> MemberRepository:
        return MemberRepository(SYSTEM, self.tenant.id)

    async def add(self, email: str = "ada@example.org", *, role: Role = Role.MEMBER, at: datetime = NOW) -> User:
        async def work(tx: Transaction) -> User:
            return await self.members.create(tx, email=email, name="Ada", role=role, password_hash="hash", at=at)

        return await self.database.write(work)

    def own(self, user: User) -> UserRepository:
        return UserRepository(Scope(tenant_id=user.tenant_id, user_id=user.id))


async def new_place(database: Database) -> Place:
    async def work(tx: Transaction) -> Tenant:
        return await TenantDirectory(SYSTEM).create(tx, slug=TenantId.new()[-26:], name="T", at=NOW)

    return Place(database, await database.write(work))


@pytest.fixture
async def place(database: Database) -> Place:
    return await new_place(database)


async def test_a_user_is_kept_as_it_was_made(place: Place) -> None:
    made = await place.add()

    assert await place.database.read(place.own(made).get) == made
    assert (made.email, made.name, made.role, made.status) == ("ada@example.org", "Ada", Role.MEMBER, ACTIVE)
    assert (made.created_at, made.updated_at, made.tenant_id) == (NOW, NOW, place.tenant.id)


async def test_a_user_is_shown_without_name_and_address(place: Place) -> None:
    shown = repr(await place.add())

    assert "Ada" not in shown
    assert "example" not in shown


async def test_an_address_is_unique_in_a_tenant_only(place: Place) -> None:
    await place.add()
    other = await new_place(place.database)

    with pytest.raises(AlreadyExistsError):
        await place.add()

    assert await other.add()


async def test_a_refused_user_leaves_no_password_behind(place: Place) -> None:
    user = await place.add()

    with pytest.raises(AlreadyExistsError):
        await place.add()

    assert await place.database.read(place.own(user).find_password_hash) == "hash"


async def test_members_of_one_tenant_are_not_those_of_another(place: Place) -> None:
    user = await place.add()
    other = await new_place(place.database)
    stranger = MemberRepository(Scope(tenant_id=other.tenant.id, user_id=UserId.new()))

    async def get(tx: Transaction) -> User:
        return await stranger.get(tx, user.id)

    async def get_by_email(tx: Transaction) -> User:
        return await stranger.get_by_email(tx, user.email)

    async def disable(tx: Transaction) -> User:
        return await stranger.set_status(tx, user.id, DISABLED, at=NOW)

    async def promote(tx: Transaction) -> User:
        return await stranger.set_role(tx, user.id, Role.ADMIN, at=NOW)

    async def list_all(tx: Transaction) -> Page[User]:
        return await stranger.list(tx, PageRequest())

    for work in (get, get_by_email, disable, promote):
        with pytest.raises(NotFoundError):
            await place.database.write(work)
    assert list((await place.database.read(list_all)).items) == []
    assert await place.database.read(place.own(user).get) == user


def test_a_user_s_scope_cannot_name_another_tenant_and_a_system_scope_must_name_one() -> None:
    scope = Scope(tenant_id=TenantId.new(), user_id=UserId.new())

    with pytest.raises(AssertionError):
        MemberRepository(scope, TenantId.new())
    with pytest.raises(AssertionError):
        MemberRepository(SYSTEM)
    assert MemberRepository(scope, scope.tenant_id)


async def test_status_and_role_change_with_their_time(place: Place) -> None:
    user = await place.add()

    async def work(tx: Transaction) -> tuple[User, User]:
        return (
            await place.members.set_status(tx, user.id, DISABLED, at=LATER),
            await place.members.set_role(tx, user.id, Role.ADMIN, at=LATER),
        )

    disabled, promoted = await place.database.write(work)

    assert (disabled.status, disabled.updated_at) == (DISABLED, LATER)
    assert (promoted.role, promoted.status) == (Role.ADMIN, DISABLED)


async def test_only_other_active_administrators_count(place: Place) -> None:
    boss = await place.add("boss@example.org", role=Role.ADMIN)
    deputy = await place.add("deputy@example.org", role=Role.ADMIN)
    await place.add("member@example.org")
    elsewhere = await new_place(place.database)
    await elsewhere.add("boss@example.org", role=Role.ADMIN)

    async def work(tx: Transaction) -> tuple[bool, bool]:
        before = await place.members.has_admin_besides(tx, boss.id)
        await place.members.set_status(tx, deputy.id, DISABLED, at=NOW)
        return before, await place.members.has_admin_besides(tx, boss.id)

    assert await place.database.write(work) == (True, False)


async def test_users_are_listed_in_pages_newest_first(place: Place) -> None:
    users = [await place.add(f"u{n}@example.org", at=NOW + timedelta(seconds=n // 2)) for n in range(7)]
    expected = sorted(users, key=lambda user: (user.created_at, user.id), reverse=True)

    found: list[User] = []
    cursor: str | None = None
    for _ in range(4):

        async def work(tx: Transaction, cursor: str | None = cursor) -> Page[User]:
            return await place.members.list(tx, page_request("users", limit=2, cursor=cursor))

        page = await place.database.read(work)
        found += page.items
        cursor = page.next_cursor

    assert found == expected
    assert cursor is None


async def test_a_grant_is_kept_once_and_can_be_withdrawn(place: Place) -> None:
    user, other = await place.add(), await place.add("bob@example.org")

    async def work(tx: Transaction) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        for _ in range(2):
            await place.members.grant(tx, user.id, "tools:external", at=NOW)
        await place.members.grant(tx, user.id, "admin:runs", at=NOW)
        granted = await place.own(user).list_grants(tx)
        await place.members.withdraw(tx, user.id, "tools:external")
        await place.members.withdraw(tx, user.id, "tools:external")
        return granted, await place.own(user).list_grants(tx), await place.own(other).list_grants(tx)

    granted, left, others = await place.database.write(work)

    assert granted == {"tools:external", "admin:runs"}
    assert left == {"admin:runs"}
    assert others == frozenset()


async def test_a_password_hash_is_replaced_only_when_it_is_the_one_found(place: Place) -> None:
    user, other = await place.add(), await place.add("bob@example.org")
    own = place.own(user)

    async def work(tx: Transaction) -> tuple[bool, bool, str | None]:
        first = await own.replace_password_hash(tx, found="hash", wanted="new", at=NOW)
        second = await own.replace_password_hash(tx, found="hash", wanted="newer", at=NOW)
        return first, second, await own.find_password_hash(tx)

    assert await place.database.write(work) == (True, False, "new")
    assert await place.database.read(place.own(other).find_password_hash) == "hash"


async def test_who_has_no_password_has_no_hash_until_one_is_set(place: Place) -> None:
    user = await place.add()

    async def without(tx: Transaction) -> str | None:
        await tx.execute("DELETE FROM identities WHERE tenant_id = ? AND user_id = ?", user.tenant_id, user.id)
        return await place.own(user).find_password_hash(tx)

    async def with_one(tx: Transaction) -> str | None:
        await place.members.set_password_hash(tx, user.id, "first", at=NOW)
        await place.members.set_password_hash(tx, user.id, "second", at=LATER)
        return await place.own(user).find_password_hash(tx)

    assert await place.database.write(without) is None
    assert await place.database.write(with_one) == "second"


async def test_a_user_of_another_tenant_or_none_is_not_found(place: Place) -> None:
    user = await place.add()
    for scope in (
        Scope(tenant_id=TenantId.new(), user_id=user.id),
        Scope(tenant_id=user.tenant_id, user_id=UserId.new()),
    ):
        with pytest.raises(NotFoundError):
            await place.database.read(UserRepository(scope).get)
        assert await place.database.read(UserRepository(scope).find_password_hash) is None
        assert not await place.database.read(UserRepository(scope).may_sign_in)


async def test_only_an_active_user_of_an_active_tenant_may_sign_in(place: Place) -> None:
    user = await place.add()

    async def work(tx: Transaction) -> list[bool]:
        answers = [await place.own(user).may_sign_in(tx)]
        await place.members.set_status(tx, user.id, DISABLED, at=NOW)
        answers.append(await place.own(user).may_sign_in(tx))
        await place.members.set_status(tx, user.id, ACTIVE, at=NOW)
        await TenantDirectory(SYSTEM).set_status(tx, user.tenant_id, SUSPENDED)
        answers.append(await place.own(user).may_sign_in(tx))
        return answers

    assert await place.database.write(work) == [True, False, False]


async def test_an_address_leads_to_its_users_in_every_tenant_or_in_the_named_one(place: Place) -> None:
    email = f"{TenantId.new()}@example.org"
    other = await new_place(place.database)
    users = {user.tenant_id: user for user in [await place.add(email), await other.add(email)]}

    async def work(tx: Transaction) -> tuple[list[SignInCandidate], list[SignInCandidate], list[SignInCandidate]]:
        repository = SignInRepository(SYSTEM)
        return (
            await repository.list_candidates(tx, email, slug=None),
            await repository.list_candidates(tx, email, slug=other.tenant.slug),
            await repository.list_candidates(tx, "nobody-" + email, slug=None),
        )

    everywhere, named, nobody = await place.database.read(work)

    assert {one.user_id for one in everywhere} == {user.id for user in users.values()}
    assert [(one.tenant_slug, one.tenant_name, one.user_id) for one in named] == [
        (other.tenant.slug, "T", users[other.tenant.id].id)
    ]
    assert all(one.is_active and one.password_hash == "hash" for one in everywhere)
    assert "hash=" not in repr(named)
    assert nobody == []


async def test_who_is_disabled_or_has_no_password_is_a_candidate_that_cannot_get_in(place: Place) -> None:
    email = f"{TenantId.new()}@example.org"
    user = await place.add(email)

    async def work(tx: Transaction) -> list[SignInCandidate]:
        await place.members.set_status(tx, user.id, DISABLED, at=NOW)
        await tx.execute("DELETE FROM identities WHERE tenant_id = ? AND user_id = ?", user.tenant_id, user.id)
        return await SignInRepository(SYSTEM).list_candidates(tx, email, slug=None)

    assert [(one.is_active, one.password_hash) for one in await place.database.write(work)] == [(False, None)]


async def test_one_address_costs_a_bounded_number_of_candidates(place: Place) -> None:
    email = f"{TenantId.new()}@example.org"
    for _ in range(MAX_CANDIDATES + 2):
        await (await new_place(place.database)).add(email)

    async def work(tx: Transaction) -> list[SignInCandidate]:
        return await SignInRepository(SYSTEM).list_candidates(tx, email, slug=None)

    assert len(await place.database.read(work)) == MAX_CANDIDATES


async def test_any_user_is_a_user(place: Place) -> None:
    await place.add()

    assert await place.database.read(SignInRepository(SYSTEM).has_any_user)
