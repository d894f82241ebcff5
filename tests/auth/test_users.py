import pytest

from cloche.auth.users import clean_name
from cloche.domain.permissions import Role
from cloche.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    SessionRevokedError,
)
from cloche.storage.pages import page_request

PASSWORD = "correct horse battery staple"
OTHER = "a wholly different phrase"


async def test_an_added_user_is_in_the_list_and_in_the_trail(house) -> None:
    user = await house.add("ada", role="admin")

    page = await house.sign_in.users.list_users(house.tenant)

    assert list(page.items) == [user]
    assert (user.email, user.role, user.status) == (house.email("ada"), Role.ADMIN, "active")
    line = (await house.trail(user.tenant_id))[0]
    assert (line.actor, line.action, line.target, line.detail) == ("operator", "user.added", user.id, {"role": "admin"})


async def test_a_tenant_is_made_only_when_asked(house) -> None:
    with pytest.raises(NotFoundError):
        await house.sign_in.users.add_user(house.email(), PASSWORD, "member", house.tenant)

    await house.sign_in.users.add_user(house.email(), PASSWORD, "member", house.tenant, create_tenant=True)
    await house.sign_in.users.add_user(house.email("bob"), PASSWORD, "member", house.tenant, create_tenant=True)
    await house.sign_in.users.add_user(house.email("eve"), PASSWORD, "member", house.tenant)

    slugs = [tenant.slug for tenant in await house.sign_in.users.list_tenants()]
    assert slugs.count(house.tenant) == 1


async def test_an_address_is_one_user_of_a_tenant_and_may_be_another_s_elsewhere(house) -> None:
    await house.add("ada")

    with pytest.raises(AlreadyExistsError):
        await house.sign_in.users.add_user(house.email("ada").upper(), PASSWORD, "member", house.tenant)

    assert await house.add("ada", tenant=f"other-{house.suffix}")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"email": "ada"}, "$.email"),
        ({"password": "short"}, "$.password"),
        ({"role": "owner"}, "$.role"),
        ({"role": ""}, "$.role"),
        ({"tenant": ""}, "$.tenant"),
        ({"tenant": "No Slug"}, "$.tenant"),
        ({"tenant": "-x"}, "$.tenant"),
        ({"tenant": "x" * 64}, "$.tenant"),
        ({"tenant": "x\n"}, "$.tenant"),
    ],
)
async def test_what_will_not_do_is_named(house, change: dict[str, str], place: str) -> None:
    wanted = {"email": "ada@example.org", "password": PASSWORD, "role": "member", "tenant": "x", **change}

    with pytest.raises(InvalidInputError) as refused:
        await house.sign_in.users.add_user(**wanted, create_tenant=True)

    assert refused.value.details["place"] == place


async def test_a_disabled_user_is_out_at_once_everywhere_and_can_be_let_in_again(house) -> None:
    first = await house.enter("ada")
    second = await house.login("ada")
    bystander = await house.enter("bob")

    disabled = await house.sign_in.users.disable_user(house.email("ada"), house.tenant)

    assert disabled.status == "disabled"
    assert sorted(house.revoked) == sorted([first.principal.session_id, second.principal.session_id])
    for signed_in in (first, second):
        with pytest.raises(SessionRevokedError):
            await house.sign_in.authenticate(signed_in.access_token)
    with pytest.raises(NotAuthenticatedError):
        await house.login("ada")
    assert await house.sign_in.authenticate(bystander.access_token)
    enabled = await house.sign_in.users.enable_user(house.email("ada"), house.tenant)
    assert enabled.status == "active"
    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(first.access_token)
    assert await house.login("ada")


async def test_the_last_administrator_stays(house) -> None:
    await house.add("ada", role="admin")
    await house.add("bob", role="admin")
    await house.add("eve")
    await house.sign_in.users.disable_user(house.email("bob"), house.tenant)

    with pytest.raises(ConflictError, match="last active administrator"):
        await house.sign_in.users.disable_user(house.email("ada"), house.tenant)

    assert await house.login("ada")


async def test_a_password_set_by_the_operator_ends_every_session(house) -> None:
    signed_in = await house.enter("ada")

    await house.sign_in.users.set_password(house.email("ada"), house.tenant, OTHER)

    assert house.revoked == [signed_in.principal.session_id]
    with pytest.raises(NotAuthenticatedError):
        await house.login("ada")
    assert await house.login("ada", password=OTHER)
    with pytest.raises(InvalidInputError):
        await house.sign_in.users.set_password(house.email("ada"), house.tenant, "short")


async def test_who_is_not_there_is_not_found(house) -> None:
    await house.add("ada")
    users = house.sign_in.users

    for call in [
        users.disable_user(house.email("nobody"), house.tenant),
        users.disable_user(house.email("ada"), "no-such-tenant"),
        users.enable_user(house.email("nobody"), house.tenant),
        users.set_password(house.email("nobody"), house.tenant, OTHER),
        users.list_users("no-such-tenant"),
    ]:
        with pytest.raises(NotFoundError):
            await call


async def test_a_long_list_comes_in_pages(house) -> None:
    added = [(await house.add(f"user{number}")).id for number in range(5)]
    users = house.sign_in.users

    first = await users.list_users(house.tenant, page_request("users", limit=3))
    rest = await users.list_users(house.tenant, page_request("users", limit=3, cursor=first.next_cursor))

    assert [user.id for user in [*first.items, *rest.items]] == added[::-1]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        ("  Ada \n\t Lovelace\x00 ", "Ada Lovelace"),
        ("", "ada"),
        (" \u200b ", "ada"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_name_is_one_clean_line(name: str, shown: str) -> None:
    assert clean_name(name, "ada@example.org") == shown


async def test_a_user_s_repr_shows_no_address(house) -> None:
    assert house.email("ada") not in repr(await house.add("ada"))
