"""Refresh tokens: one use each, a grace for honest races, and the end of the session for a thief."""

import asyncio
from datetime import timedelta

import pytest

from cloche.auth.opaque import SecretKind, make_secret, read_secret
from cloche.auth.opening import own_scope
from cloche.errors import NotAuthenticatedError, SessionRevokedError
from cloche.ids import TenantId
from cloche.storage.database import Transaction
from cloche.storage.sessions import RefreshTokenRepository


async def test_a_refresh_gives_new_tokens_of_the_same_session(house) -> None:
    first = await house.enter()
    house.clock.advance(timedelta(minutes=14))

    second = await house.sign_in.refresh(first.refresh_token)

    assert second.principal == first.principal
    assert second.expires_in == 900
    assert second.refresh_token != first.refresh_token
    assert await house.sign_in.authenticate(second.access_token) == first.principal


async def test_a_chain_of_refreshes_goes_on_and_shows_in_the_session_s_last_use(house) -> None:
    signed_in = await house.enter()
    for _ in range(5):
        house.clock.advance(timedelta(minutes=10))
        signed_in = await house.sign_in.refresh(signed_in.refresh_token)

    sessions = await house.sign_in.list_sessions(signed_in.principal)

    assert [session.used_at for session in sessions] == [house.clock.now()]


async def test_a_used_token_that_comes_later_ends_the_session_with_one_line_in_the_trail(house) -> None:
    first = await house.enter()
    second = await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(seconds=6))

    for _ in range(2):
        with pytest.raises(SessionRevokedError):
            await house.sign_in.refresh(first.refresh_token)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(second.refresh_token)
    with pytest.raises(SessionRevokedError):
        await house.sign_in.authenticate(second.access_token)
    assert house.revoked == [first.principal.session_id]
    assert await house.count(first.principal, "session.reuse_detected") == 1


async def test_the_line_in_the_trail_says_whose_session_it_was_and_no_secret(house) -> None:
    first = await house.enter()
    await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(minutes=1))
    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(first.refresh_token)

    line = (await house.trail(first.principal.tenant_id))[0]

    assert (line.actor, line.action) == ("refresh", "session.reuse_detected")
    assert line.target == first.principal.session_id
    assert line.detail == {"user_id": str(first.principal.user_id), "generation": 1}
    assert line.at == house.clock.now()


async def test_within_the_grace_the_last_token_gives_a_sibling(house) -> None:
    first = await house.enter()
    second = await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(seconds=5))

    sibling = await house.sign_in.refresh(first.refresh_token)

    assert sibling.refresh_token != second.refresh_token
    assert await house.sign_in.refresh(second.refresh_token)
    assert house.revoked == []


async def test_a_token_two_generations_old_ends_the_session_even_within_the_grace(house) -> None:
    first = await house.enter()
    second = await house.sign_in.refresh(first.refresh_token)
    third = await house.sign_in.refresh(second.refresh_token)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(first.refresh_token)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(third.refresh_token)
    assert house.revoked == [first.principal.session_id]


async def test_a_sibling_does_not_open_a_second_line_of_tokens(house) -> None:
    first = await house.enter()
    second = await house.sign_in.refresh(first.refresh_token)
    sibling = await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(minutes=10))
    await house.sign_in.refresh(second.refresh_token)
    house.clock.advance(timedelta(seconds=6))

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(sibling.refresh_token)

    assert house.revoked == [first.principal.session_id]


async def test_the_grace_counts_from_the_first_use_and_is_not_prolonged_by_the_next(house) -> None:
    first = await house.enter()
    await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(seconds=4))
    await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(seconds=2))

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(first.refresh_token)


async def test_twenty_refreshes_at_once_all_go_on_in_one_session(house) -> None:
    first = await house.enter()

    answers = await asyncio.gather(*(house.sign_in.refresh(first.refresh_token) for _ in range(20)))

    assert len({answer.refresh_token for answer in answers}) == 20
    assert {answer.principal for answer in answers} == {first.principal}
    assert house.revoked == []
    assert len(await house.sign_in.list_sessions(first.principal)) == 1


async def test_of_twenty_late_reuses_at_once_one_writes_the_trail(house) -> None:
    first = await house.enter()
    await house.sign_in.refresh(first.refresh_token)
    house.clock.advance(timedelta(minutes=1))

    answers = await asyncio.gather(
        *(house.sign_in.refresh(first.refresh_token) for _ in range(20)), return_exceptions=True
    )

    assert {type(answer) for answer in answers} == {SessionRevokedError}
    assert await house.count(first.principal, "session.reuse_detected") == 1
    assert house.revoked == [first.principal.session_id]


async def test_a_used_token_without_a_successor_is_not_good_again(house) -> None:
    signed_in = await house.enter()
    secret = read_secret(SecretKind.REFRESH, signed_in.refresh_token)

    async def work(tx: Transaction) -> None:
        await RefreshTokenRepository(own_scope(signed_in.principal)).use(tx, secret.digest, at=house.clock.now())

    await house.database.write(work)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(signed_in.refresh_token)


async def test_only_the_thief_s_session_ends(house) -> None:
    stolen = await house.enter("ada")
    elsewhere = await house.login("ada")
    await house.sign_in.refresh(stolen.refresh_token)
    house.clock.advance(timedelta(minutes=1))

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(stolen.refresh_token)

    assert await house.sign_in.refresh(elsewhere.refresh_token)


async def test_a_token_that_nobody_used_for_long_is_over(house) -> None:
    signed_in = await house.enter()
    house.clock.advance(timedelta(days=14))

    with pytest.raises(NotAuthenticatedError) as refused:
        await house.sign_in.refresh(signed_in.refresh_token)

    assert not isinstance(refused.value, SessionRevokedError)
    assert house.revoked == []


async def test_a_refused_refresh_is_no_use_of_the_session(house) -> None:
    signed_in = await house.enter()
    before = (await house.sign_in.list_sessions(signed_in.principal))[0].used_at
    house.clock.advance(timedelta(days=14))

    with pytest.raises(NotAuthenticatedError):
        await house.sign_in.refresh(signed_in.refresh_token)

    assert (await house.sign_in.list_sessions(signed_in.principal))[0].used_at == before


async def test_who_was_disabled_gets_no_new_tokens(house) -> None:
    signed_in = await house.enter("ada")
    await house.sign_in.users.disable_user(house.email("ada"), house.tenant)
    await house.sign_in.users.enable_user(house.email("ada"), house.tenant)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.refresh(signed_in.refresh_token)


async def test_tokens_that_were_never_issued_are_refused(house) -> None:
    signed_in = await house.enter()
    tenant = signed_in.principal.tenant_id
    elsewhere = signed_in.refresh_token.replace(str(tenant), str(TenantId.new()))
    unknown = [
        make_secret(SecretKind.REFRESH, tenant)[0],
        elsewhere,
        signed_in.access_token,
        signed_in.refresh_token + "A",
        await house.sign_in.tickets.issue_ticket(signed_in.principal),
        "",
        None,
    ]

    for text in unknown:
        with pytest.raises(NotAuthenticatedError) as refused:
            await house.sign_in.refresh(text)
        assert type(refused.value) is NotAuthenticatedError

    assert await house.sign_in.refresh(signed_in.refresh_token)
