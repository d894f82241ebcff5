import logging
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from argon2 import PasswordHasher

from cloche.auth.opening import SignedIn
from cloche.domain.permissions import Permission
from cloche.domain.scope import Principal, SystemScope
from cloche.errors import (
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    SessionRevokedError,
    StorageUnavailableError,
    TenantRequiredError,
    TokenExpiredError,
)
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Transaction
from cloche.storage.sqlite import open_sqlite
from cloche.storage.tenants import SUSPENDED, TenantDirectory
from cloche.storage.users import User

PASSWORD = "correct horse battery staple"
OTHER = "a wholly different phrase"


async def suspend(house, slug: str) -> None:
    async def work(tx: Transaction) -> None:
        directory = TenantDirectory(SystemScope(purpose="test"))
        await directory.set_status(tx, (await directory.get(tx, slug)).id, SUSPENDED)

    await house.database.write(work)


# Signing in


async def test_e_mail_and_password_give_tokens_that_name_the_user(house) -> None:
    user = await house.add("ada", role="admin")

    signed_in = await house.login("ada")

    assert signed_in.expires_in == 900
    assert signed_in.principal.user_id == user.id
    assert signed_in.principal.tenant_id == user.tenant_id
    assert (signed_in.principal.email, signed_in.principal.role) == (house.email("ada"), "admin")
    assert await house.sign_in.authenticate(signed_in.access_token) == signed_in.principal


async def test_the_address_may_be_written_in_any_way(house) -> None:
    await house.add("ada")

    assert await house.sign_in.login(f"  {house.email('ada').upper()} ", PASSWORD)


async def test_wrong_credentials_are_all_answered_alike(house) -> None:
    await house.add("ada")
    await house.add("off")
    await house.sign_in.users.disable_user(house.email("off"), house.tenant)
    attempts = [
        ("ada", OTHER, None),
        ("ada", "", None),
        ("ada", "x" * 100_000, None),
        ("nobody", PASSWORD, None),
        ("off", PASSWORD, None),
        ("ada", PASSWORD, "no-such-tenant"),
    ]

    messages = set()
    for name, password, tenant in attempts:
        with pytest.raises(NotAuthenticatedError) as refused:
            await house.login(name, password=password, tenant=tenant)
        messages.add((type(refused.value), refused.value.message, str(refused.value.details)))

    assert len(messages) == 1


async def test_nobody_signs_in_to_a_suspended_tenant(house) -> None:
    await house.add("ada")
    await suspend(house, house.tenant)

    with pytest.raises(NotAuthenticatedError):
        await house.login("ada")


async def test_what_is_no_address_is_named(house) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await house.sign_in.login("ada", PASSWORD)

    assert refused.value.details["place"] == "$.email"


async def test_a_password_that_is_right_in_several_tenants_asks_which(house) -> None:
    slugs = [f"a-{house.suffix}", f"b-{house.suffix}", f"c-{house.suffix}"]
    for slug, password in zip(slugs, [PASSWORD, PASSWORD, OTHER], strict=True):
        await house.add("ada", tenant=slug, password=password)

    with pytest.raises(TenantRequiredError) as asked:
        await house.login("ada")

    assert asked.value.details == {"tenants": [{"slug": slug, "name": slug} for slug in slugs[:2]]}
    named = await house.login("ada", tenant=slugs[1])
    alone = await house.login("ada", password=OTHER)
    assert len({named.principal.tenant_id, alone.principal.tenant_id}) == 2


async def test_a_wrong_password_does_not_tell_in_which_tenants_somebody_is(house) -> None:
    for slug in (f"a-{house.suffix}", f"b-{house.suffix}"):
        await house.add("ada", tenant=slug)

    with pytest.raises(NotAuthenticatedError) as refused:
        await house.login("ada", password=OTHER)

    assert refused.value.details == {}


async def test_a_suspended_tenant_is_no_choice(house) -> None:
    slugs = [f"a-{house.suffix}", f"b-{house.suffix}"]
    for slug in slugs:
        await house.add("ada", tenant=slug)
    await suspend(house, slugs[0])

    assert (await house.login("ada")).principal


async def test_too_many_attempts_are_refused_even_with_the_right_password_and_only_from_there(house) -> None:
    await house.add("ada")
    for _ in range(10):
        with pytest.raises(NotAuthenticatedError):
            await house.login("ada", password=OTHER)

    with pytest.raises(RateLimitedError) as refused:
        await house.login("ada")

    assert refused.value.retry_after_s == 300
    assert await house.sign_in.login(house.email("ada"), PASSWORD, address="198.51.100.1")
    house.clock.advance(timedelta(minutes=5))
    assert await house.login("ada")


async def test_a_right_password_makes_earlier_mistakes_forgotten(house) -> None:
    await house.add("ada")
    for _ in range(3):
        for _ in range(9):
            with pytest.raises(NotAuthenticatedError):
                await house.login("ada", password=OTHER)
        assert await house.login("ada")


async def test_a_hash_of_other_parameters_is_replaced_at_the_next_sign_in(house) -> None:
    user = await house.add("ada")
    stronger = house.another(hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1))

    await stronger.login("ada")

    assert [stored[:27] for stored in await _hashes_of(house, user)] == ["$argon2id$v=19$m=16,t=2,p=1"]
    assert await stronger.login("ada")


class HashRow(NamedTuple):
    secret_hash: str


async def _hashes_of(house: Any, user: User) -> list[str]:
    async def work(tx: Transaction) -> list[HashRow]:
        return await tx.fetch(HashRow, "SELECT secret_hash FROM identities WHERE user_id = ?", str(user.id))

    return [row.secret_hash for row in await house.database.read(work)]


async def test_no_token_and_no_password_is_shown_or_logged(house, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    signed_in = await house.enter()
    with pytest.raises(NotAuthenticatedError):
        await house.login("ada", password=OTHER)
    with pytest.raises(NotAuthenticatedError) as refused:
        await house.sign_in.authenticate(signed_in.access_token + "x")

    shown = f"{signed_in!r} {caplog.text} {refused.value!r} {refused.value.details}"

    for secret in (signed_in.access_token, signed_in.refresh_token, PASSWORD, OTHER, house.email("ada")):
        assert secret not in shown


async def test_a_long_or_dirty_device_name_is_cleaned(house) -> None:
    await house.add("ada")

    signed_in = await house.sign_in.login(
        house.email("ada"), PASSWORD, user_agent="Mo\x00zilla\x1b[31m" + "x" * 5000, address="y" * 5000
    )

    session = (await house.sign_in.list_sessions(signed_in.principal))[0]
    assert session.user_agent.startswith("Mozilla[31mxxx")
    assert len(session.user_agent) <= 256
    assert len(session.address) == 64


# Access


async def test_an_access_token_is_good_for_its_time_and_not_longer(house) -> None:
    signed_in = await house.enter()
    house.clock.advance(timedelta(minutes=15, seconds=29))
    assert await house.sign_in.authenticate(signed_in.access_token)

    house.clock.advance(timedelta(seconds=1))

    with pytest.raises(TokenExpiredError):
        await house.sign_in.authenticate(signed_in.access_token)


async def test_what_is_no_token_is_refused(house) -> None:
    for text in (None, "", "a.b.c", 7):
        with pytest.raises(NotAuthenticatedError):
            await house.sign_in.authenticate(text)


async def test_a_scope_has_the_permissions_of_the_role_now(house) -> None:
    member = await house.enter("ada")
    await house.add("boss", role="admin")
    boss = await house.login("boss")

    scope = await house.sign_in.scope_of(member.principal)
    admin = await house.sign_in.scope_of(boss.principal)

    assert (scope.tenant_id, scope.user_id) == (member.principal.tenant_id, member.principal.user_id)
    assert scope.session_id == member.principal.session_id
    assert Permission.THREADS_WRITE in scope.permissions
    assert Permission.ADMIN_USERS not in scope.permissions
    assert Permission.ADMIN_USERS in admin.permissions


async def test_a_principal_that_somebody_made_up_has_no_scope(house) -> None:
    signed_in = await house.enter()
    real = signed_in.principal
    await house.sign_in.scope_of(real)
    made_up = [
        {"tenant_id": TenantId.new()},
        {"user_id": UserId.new()},
        {"session_id": SessionId.new()},
    ]

    for change in made_up:
        parts = {
            "tenant_id": real.tenant_id,
            "user_id": real.user_id,
            "session_id": real.session_id,
            "email": real.email,
            "role": "admin",
            **change,
        }
        with pytest.raises(SessionRevokedError):
            await house.sign_in.scope_of(Principal(**parts))


async def test_the_role_in_a_principal_does_not_count_but_that_in_the_rows(house) -> None:
    real = (await house.enter()).principal
    exalted = Principal(
        tenant_id=real.tenant_id, user_id=real.user_id, session_id=real.session_id, email=real.email, role="admin"
    )

    assert Permission.ADMIN_USERS not in (await house.sign_in.scope_of(exalted)).permissions


async def test_without_the_database_nobody_gets_in(house, tmp_path) -> None:
    async with open_sqlite(tmp_path / "other.db", clock=house.clock) as database:
        house.database = database
        alone = house.another()
        signed_in = await alone.enter()
        assert await alone.sign_in.authenticate(signed_in.access_token)

    house.clock.advance(timedelta(seconds=2))

    with pytest.raises(StorageUnavailableError):
        await alone.sign_in.authenticate(signed_in.access_token)


async def test_me_is_the_user_with_the_name(house) -> None:
    signed_in = await house.enter("ada")

    me = await house.sign_in.me(signed_in.principal)

    assert (me.id, me.email) == (signed_in.principal.user_id, house.email("ada"))
    assert me.name == house.email("ada").partition("@")[0]


# Ending sessions


async def test_after_logout_the_access_token_is_refused_at_once_and_listeners_have_heard(house) -> None:
    signed_in = await house.enter()
    assert await house.sign_in.authenticate(signed_in.access_token)

    await house.sign_in.logout(signed_in.principal)

    assert house.revoked == [signed_in.principal.session_id]
    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(signed_in.access_token)
    with pytest.raises(SessionRevokedError):
        await house.sign_in.scope_of(signed_in.principal)
    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(signed_in.refresh_token)


async def test_to_log_out_twice_changes_nothing(house) -> None:
    signed_in = await house.enter()

    await house.sign_in.logout(signed_in.principal)
    await house.sign_in.logout(signed_in.principal)

    assert house.revoked == [signed_in.principal.session_id]
    assert await house.count(signed_in.principal, "session.revoked") == 1


async def test_a_listener_that_left_hears_nothing(house) -> None:
    signed_in = await house.enter()
    heard: list[SessionId] = []
    leave = house.sign_in.on_revoked(heard.append)

    leave()
    leave()
    await house.sign_in.logout(signed_in.principal)

    assert heard == []


async def test_a_user_sees_and_ends_own_sessions_only(house) -> None:
    first = await house.enter("ada")
    house.clock.advance(timedelta(minutes=1))
    second = await house.login("ada")
    stranger = await house.enter("eve")

    listed = await house.sign_in.list_sessions(first.principal)

    assert [session.id for session in listed] == [second.principal.session_id, first.principal.session_id]
    assert (listed[0].user_agent, listed[0].address) == ("Firefox", "192.0.2.7")
    for foreign in (stranger.principal.session_id, SessionId.new()):
        with pytest.raises(NotFoundError) as refused:
            await house.sign_in.revoke_session(first.principal, foreign)
        assert refused.value.message == "there is no such session"
    assert house.revoked == []
    await house.sign_in.revoke_session(first.principal, second.principal.session_id)
    assert [session.id for session in await house.sign_in.list_sessions(first.principal)] == [
        first.principal.session_id
    ]
    assert await house.sign_in.authenticate(first.access_token)
    assert await house.sign_in.authenticate(stranger.access_token)


async def test_a_session_that_is_over_is_not_listed_and_opens_nothing(house) -> None:
    signed_in = await house.enter()
    later = signed_in
    for _ in range(3):
        house.clock.advance(timedelta(days=10) - timedelta(seconds=20))
        if house.clock.now() < house.clock._start + timedelta(days=30):
            later = await house.sign_in.refresh(later.refresh_token)
    assert later.expires_in == 60
    house.clock.advance(timedelta(seconds=60))

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(later.refresh_token)
    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(later.access_token)
    assert await house.sign_in.list_sessions(signed_in.principal) == []


async def test_a_revocation_survives_a_restart(house) -> None:
    signed_in = await house.enter()
    await house.sign_in.logout(signed_in.principal)

    restarted = house.another()
    await restarted.sign_in.catch_up()

    assert signed_in.principal.session_id in restarted.sign_in._parts.revocations
    with pytest.raises(SessionRevokedError):
        await restarted.sign_in.authenticate(signed_in.access_token)


async def test_a_revocation_in_another_process_counts_within_a_second(house) -> None:
    other = house.another()
    signed_in = await house.enter()
    assert await other.sign_in.authenticate(signed_in.access_token)

    await house.sign_in.logout(signed_in.principal)
    house.clock.advance(timedelta(seconds=1))

    with pytest.raises(SessionRevokedError):
        await other.sign_in.authenticate(signed_in.access_token)


async def test_catching_up_tells_the_listeners_of_the_other_process_once(house) -> None:
    other = house.another()
    await other.sign_in.catch_up()
    before = len(other.revoked)
    signed_in = await house.enter()
    await house.sign_in.logout(signed_in.principal)

    for _ in range(3):
        house.clock.advance(timedelta(seconds=1))
        await other.sign_in.catch_up()

    assert other.revoked[before:] == [signed_in.principal.session_id]


async def test_what_was_revoked_so_long_ago_that_no_token_lives_is_not_remembered(house) -> None:
    signed_in = await house.enter("ada")
    await house.sign_in.logout(signed_in.principal)
    house.clock.advance(timedelta(minutes=17))

    other = house.another()
    await other.sign_in.catch_up()
    await house.sign_in.logout((await house.login("ada")).principal)

    assert signed_in.principal.session_id not in other.revoked
    assert signed_in.principal.session_id not in house.sign_in._parts.revocations


# The password


async def test_a_changed_password_ends_the_other_sessions_and_keeps_this_one(house) -> None:
    here = await house.enter("ada")
    there = await house.login("ada")

    await house.sign_in.change_password(here.principal, current=PASSWORD, wanted=OTHER)

    assert house.revoked == [there.principal.session_id]
    assert await house.sign_in.authenticate(here.access_token)
    assert await house.sign_in.refresh(here.refresh_token)
    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(there.access_token)
    with pytest.raises(NotAuthenticatedError):
        await house.login("ada", password=PASSWORD)
    assert await house.login("ada", password=OTHER)
    assert await house.count(here.principal, "password.changed") == 1


async def test_a_wrong_current_password_changes_nothing_and_cannot_be_guessed(house) -> None:
    here = await house.enter("ada")

    for _ in range(10):
        with pytest.raises(InvalidInputError) as refused:
            await house.sign_in.change_password(here.principal, current="wrong", wanted=OTHER)
        assert refused.value.details["place"] == "$.current_password"
    with pytest.raises(RateLimitedError):
        await house.sign_in.change_password(here.principal, current=PASSWORD, wanted=OTHER)

    assert await house.login("ada")


async def test_a_new_password_keeps_the_rules(house) -> None:
    here = await house.enter("ada")

    with pytest.raises(InvalidInputError) as refused:
        await house.sign_in.change_password(here.principal, current=PASSWORD, wanted="short")

    assert refused.value.details["place"] == "$.new_password"


async def test_a_change_of_password_that_another_one_overtakes_is_refused(house) -> None:
    here = await house.enter("ada")
    slow = house.another()
    passwords = slow.sign_in._parts.passwords
    verify = passwords.verify

    async def verify_then_wait(stored: str | None, password: str) -> bool:
        matches = await verify(stored, password)
        await house.sign_in.change_password(here.principal, current=PASSWORD, wanted=OTHER)
        return matches

    passwords.verify = verify_then_wait

    with pytest.raises(ConflictError):
        await slow.sign_in.change_password(here.principal, current=PASSWORD, wanted=OTHER + "!")
    assert await house.login("ada", password=OTHER)


async def test_a_sign_in_that_overtakes_a_change_of_password_is_refused(house) -> None:
    here = await house.enter("ada")
    account = house.email("ada")
    slow = house.another()
    passwords = slow.sign_in._parts.passwords
    verify = passwords.verify

    async def verify_then_wait(stored: str | None, password: str) -> bool:
        matches = await verify(stored, password)
        await house.sign_in.change_password(here.principal, current=PASSWORD, wanted=OTHER)
        return matches

    passwords.verify = verify_then_wait

    with pytest.raises(NotAuthenticatedError):
        await slow.sign_in.login(account, PASSWORD)
    assert len(await house.sign_in.list_sessions(here.principal)) == 1


async def test_who_is_disabled_while_signing_in_does_not_get_in(house) -> None:
    user = await house.add("ada")
    slow = house.another()
    passwords = slow.sign_in._parts.passwords
    verify = passwords.verify

    async def verify_then_wait(stored: str | None, password: str) -> bool:
        matches = await verify(stored, password)
        await house.sign_in.users.disable_user(user.email, house.tenant)
        return matches

    passwords.verify = verify_then_wait

    with pytest.raises(NotAuthenticatedError):
        await slow.sign_in.login(user.email, PASSWORD)


def test_a_sign_in_shows_no_token() -> None:
    principal = Principal(
        tenant_id=TenantId.new(), user_id=UserId.new(), session_id=SessionId.new(), email="a@b", role="member"
    )

    shown = repr(
        SignedIn(access_token="AAA", expires_in=1, refresh_token="RRR", refresh_expires_in=1, principal=principal)
    )

    assert "AAA" not in shown
    assert "RRR" not in shown
    assert "a@b" not in shown


# What is over


async def test_rows_of_expired_sessions_are_removed_a_day_later(house) -> None:
    await house.add("ada")
    await house.login("ada")

    house.clock.advance(house.policy.session_lifetime + timedelta(hours=1))
    kept = await house.sign_in.remove_expired()
    house.clock.advance(timedelta(days=1))
    removed = await house.sign_in.remove_expired()

    assert (kept, removed) == (0, 1)
