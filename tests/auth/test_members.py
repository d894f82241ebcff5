from datetime import timedelta

import pytest

from cloche.domain.permissions import Permission, Role
from cloche.domain.scope import Scope
from cloche.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    PermissionDeniedError,
    SessionRevokedError,
)
from cloche.ids import SessionId, UserId
from cloche.storage.pages import PageRequest

PASSWORD = "correct horse battery staple"


@pytest.fixture
async def admin(house) -> Scope:
    return await house.sign_in.scope_of((await house.enter("boss", role="admin")).principal)


async def test_an_administrator_adds_and_lists_users_of_the_own_tenant(house, admin: Scope) -> None:
    await house.add("eve", tenant=f"other-{house.suffix}")

    added = await house.sign_in.members.add(admin, email=house.email("ada"), password=PASSWORD, role="member", name="A")

    page = await house.sign_in.members.list(admin, PageRequest())
    assert [user.name for user in page.items] == ["A", house.email("boss").partition("@")[0]]
    assert (await house.login("ada")).principal.user_id == added.id
    with pytest.raises(AlreadyExistsError):
        await house.sign_in.members.add(admin, email=house.email("ada"), password=PASSWORD, role="member")


async def test_a_member_may_do_none_of_it(house) -> None:
    scope = await house.sign_in.scope_of((await house.enter("ada")).principal)
    members = house.sign_in.members
    user_id = scope.user_id

    for call in [
        members.list(scope, PageRequest()),
        members.add(scope, email=house.email("bob"), password=PASSWORD, role="admin"),
        members.disable(scope, user_id),
        members.enable(scope, user_id),
        members.change(scope, user_id, role="admin"),
        members.grant(scope, user_id, "tools:external"),
        members.withdraw(scope, user_id, "tools:external"),
        members.seen(scope, [user_id]),
        members.list_sessions(scope, user_id),
        members.revoke_session(scope, user_id, SessionId.new()),
        members.revoke_sessions(scope, user_id),
    ]:
        with pytest.raises(PermissionDeniedError) as refused:
            await call
        assert refused.value.details == {"permission": "admin:users"}


async def test_a_user_of_another_tenant_is_as_one_that_does_not_exist(house, admin: Scope) -> None:
    foreign = await house.add("eve", tenant=f"other-{house.suffix}")
    members = house.sign_in.members
    answers = []

    for user_id in (foreign.id, UserId.new()):
        for call in [
            members.disable(admin, user_id),
            members.enable(admin, user_id),
            members.change(admin, user_id, role="admin"),
            members.grant(admin, user_id, "tools:external"),
            members.withdraw(admin, user_id, "tools:external"),
        ]:
            with pytest.raises(NotFoundError) as refused:
                await call
            answers.append((refused.value.message, str(refused.value.details)))

    assert len(set(answers)) == 1
    assert await house.login("eve")


async def test_a_new_role_counts_at_once_in_live_sessions(house, admin: Scope) -> None:
    signed_in = await house.enter("ada")
    assert Permission.ADMIN_USERS not in (await house.sign_in.scope_of(signed_in.principal)).permissions

    user = await house.sign_in.members.change(admin, signed_in.principal.user_id, role="admin")

    assert user.role is Role.ADMIN
    assert Permission.ADMIN_USERS in (await house.sign_in.scope_of(signed_in.principal)).permissions
    assert (await house.sign_in.authenticate(signed_in.access_token)).role == "admin"


async def test_a_new_role_counts_in_another_process_within_a_second(house, admin: Scope) -> None:
    other = house.another()
    signed_in = await house.enter("ada")
    await other.sign_in.scope_of(signed_in.principal)

    await house.sign_in.members.change(admin, signed_in.principal.user_id, role="admin")

    assert (await other.sign_in.authenticate(signed_in.access_token)).role == "member"
    house.clock.advance(timedelta(seconds=1))
    assert (await other.sign_in.authenticate(signed_in.access_token)).role == "admin"


async def test_a_grant_counts_at_once_and_so_does_its_end(house, admin: Scope) -> None:
    principal = (await house.enter("ada")).principal
    members = house.sign_in.members
    assert Permission.TOOLS_EXTERNAL not in (await house.sign_in.scope_of(principal)).permissions

    for _ in range(2):
        await members.grant(admin, principal.user_id, "tools:external")
    granted = await house.sign_in.scope_of(principal)
    await members.withdraw(admin, principal.user_id, "tools:external")
    withdrawn = await house.sign_in.scope_of(principal)

    granted.require(Permission.TOOLS_EXTERNAL)
    with pytest.raises(PermissionDeniedError):
        withdrawn.require(Permission.TOOLS_EXTERNAL)


@pytest.mark.parametrize("permission", ["", "   ", "x" * 101])
async def test_what_is_no_permission_is_not_granted(house, admin: Scope, permission: str) -> None:
    with pytest.raises(InvalidInputError):
        await house.sign_in.members.grant(admin, admin.user_id, permission)


async def test_a_disabled_member_is_out_at_once_and_can_be_let_in_again(house, admin: Scope) -> None:
    signed_in = await house.enter("ada")

    await house.sign_in.members.disable(admin, signed_in.principal.user_id)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(signed_in.access_token)
    with pytest.raises(NotAuthenticatedError):
        await house.login("ada")
    await house.sign_in.members.enable(admin, signed_in.principal.user_id)
    assert await house.login("ada")


async def test_the_last_administrator_can_neither_go_nor_step_down(house, admin: Scope) -> None:
    with pytest.raises(ConflictError):
        await house.sign_in.members.disable(admin, admin.user_id)
    with pytest.raises(ConflictError):
        await house.sign_in.members.change(admin, admin.user_id, role="member")
    assert (await house.sign_in.members.change(admin, admin.user_id, role="admin")).role is Role.ADMIN

    other = await house.add("ada", role="admin")

    assert (await house.sign_in.members.change(admin, admin.user_id, role="member")).role is Role.MEMBER
    assert other.role is Role.ADMIN


async def test_there_are_only_known_roles(house, admin: Scope) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await house.sign_in.members.change(admin, admin.user_id, role="owner")

    assert refused.value.details == {"place": "$.role", "known": ["member", "admin"]}


async def test_the_trail_names_who_did_what_to_whom(house, admin: Scope) -> None:
    user = await house.add("ada")
    members = house.sign_in.members

    await members.change(admin, user.id, role="admin")
    await members.grant(admin, user.id, "tools:external")
    await members.withdraw(admin, user.id, "tools:external")
    await members.disable(admin, user.id)
    await members.enable(admin, user.id)

    lines = [
        line for line in await house.trail(admin.tenant_id) if line.actor == admin.user_id and line.target == user.id
    ]
    assert [line.action for line in lines][::-1] == [
        "user.role_set",
        "permission.granted",
        "permission.withdrawn",
        "user.disabled",
        "user.enabled",
    ]
    assert lines[-1].detail == {"from": "member", "to": "admin"}
