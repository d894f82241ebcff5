import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from cloche.domain.permissions import Permission
from cloche.errors import InvalidInputError, NotAuthenticatedError, NotFoundError
from cloche.storage.sqlite import open_sqlite

PASSWORD = "correct horse battery staple"
EMAIL = "ada@example.org"


@pytest.fixture
async def empty(house, tmp_path: Path) -> AsyncGenerator:
    """A house with a database of its own, in which nobody is yet."""
    async with open_sqlite(tmp_path / "empty.db", clock=house.clock) as database:
        house.database = database
        yield house.another()


async def test_the_first_administrator_is_made_with_the_secret_and_is_signed_in(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()

    signed_in = await empty.sign_in.setup.complete_setup(secret, " Ada@example.org", PASSWORD, "Ada Lovelace")

    assert await empty.sign_in.authenticate(signed_in.access_token) == signed_in.principal
    scope = await empty.sign_in.scope_of(signed_in.principal)
    assert Permission.ADMIN_TENANT in scope.permissions
    me = await empty.sign_in.me(signed_in.principal)
    assert (me.name, me.email, me.role) == ("Ada Lovelace", EMAIL, "admin")
    assert (await empty.sign_in.login(EMAIL, PASSWORD, tenant="default")).principal.user_id == me.id
    assert [line.action for line in await empty.trail(me.tenant_id)][-2:] == ["session.opened", "user.added"]


async def test_a_secret_is_good_once(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()
    await empty.sign_in.setup.complete_setup(secret, EMAIL, PASSWORD)

    with pytest.raises(NotAuthenticatedError):
        await empty.sign_in.setup.complete_setup(secret, "eve@example.org", PASSWORD)


async def test_of_two_completions_at_once_one_wins(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()

    answers = await asyncio.gather(
        *(empty.sign_in.setup.complete_setup(secret, f"user{n}@example.org", PASSWORD) for n in range(5)),
        return_exceptions=True,
    )

    assert sum(isinstance(answer, NotAuthenticatedError) for answer in answers) == 4
    assert len((await empty.sign_in.users.list_users("default")).items) == 1


async def test_a_new_start_makes_a_new_secret_and_voids_the_old_one(empty) -> None:
    first = await empty.sign_in.setup.ensure_setup()
    second = await empty.another().sign_in.setup.ensure_setup()

    assert first != second
    with pytest.raises(NotAuthenticatedError):
        await empty.sign_in.setup.complete_setup(first, EMAIL, PASSWORD)
    assert await empty.sign_in.setup.complete_setup(second, EMAIL, PASSWORD)


async def test_a_secret_is_over_after_a_day(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()
    empty.clock.advance(timedelta(hours=24))

    with pytest.raises(NotAuthenticatedError):
        await empty.sign_in.setup.complete_setup(secret, EMAIL, PASSWORD)


async def test_once_there_is_a_user_there_is_no_set_up(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()
    await empty.sign_in.users.add_user(EMAIL, PASSWORD, "admin", "default")

    with pytest.raises(NotAuthenticatedError):
        await empty.sign_in.setup.complete_setup(secret, "eve@example.org", PASSWORD)
    assert await empty.sign_in.setup.ensure_setup() is None
    with pytest.raises(NotAuthenticatedError):
        await empty.sign_in.setup.complete_setup(secret, "eve@example.org", PASSWORD)


async def test_a_mistake_in_the_form_does_not_cost_the_secret(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()

    with pytest.raises(InvalidInputError) as short:
        await empty.sign_in.setup.complete_setup(secret, EMAIL, "short")
    with pytest.raises(InvalidInputError) as no_address:
        await empty.sign_in.setup.complete_setup(secret, "ada", PASSWORD)

    assert [error.value.details["place"] for error in (short, no_address)] == ["$.password", "$.email"]
    assert await empty.sign_in.setup.complete_setup(secret, EMAIL, PASSWORD)


async def test_without_the_secret_nothing_is_learned_and_nobody_is_made(empty) -> None:
    secret = await empty.sign_in.setup.ensure_setup()

    for guess in [None, "", "setup", secret[:-1], secret + "A", secret.replace("cs.", "ct.")]:
        with pytest.raises(NotAuthenticatedError):
            await empty.sign_in.setup.complete_setup(guess, "ada", "short")

    assert (await empty.sign_in.users.list_users("default")).items == []


async def test_nobody_can_sign_in_on_a_fresh_installation(empty) -> None:
    await empty.sign_in.setup.ensure_setup()

    for email, password in [("admin@example.org", "admin"), ("admin@localhost", "password"), ("root@localhost", "")]:
        with pytest.raises(NotAuthenticatedError):
            await empty.sign_in.login(email, password)


async def test_without_a_first_start_there_is_no_tenant(empty) -> None:
    with pytest.raises(NotFoundError):
        await empty.sign_in.users.list_users("default")
