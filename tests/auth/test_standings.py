import asyncio
from datetime import timedelta

import pytest

from cloche.errors import SessionRevokedError


async def test_a_look_that_began_before_a_revocation_is_not_remembered_after_it(house) -> None:
    signed_in = await house.enter()
    standings = house.sign_in._parts.standings
    principal = signed_in.principal

    async with asyncio.TaskGroup() as tasks:
        look = tasks.create_task(standings.get(principal.tenant_id, principal.user_id, principal.session_id))
        await asyncio.sleep(0)
        standings.forget_session(principal.session_id)

    assert look.result().principal == principal
    assert principal.session_id not in standings._seen


async def test_a_look_that_a_revocation_overtakes_is_refused(house) -> None:
    principal = (await house.enter()).principal
    parts = house.sign_in._parts

    async def revoke() -> None:
        parts.revocations.add([principal.session_id], at=house.clock.now())

    answers = await asyncio.gather(
        parts.standings.get(principal.tenant_id, principal.user_id, principal.session_id),
        revoke(),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [SessionRevokedError, type(None)]


async def test_only_so_many_standings_are_remembered(house, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloche.auth.standings.MAX_REMEMBERED", 1)
    first, second = await house.enter("ada"), await house.enter("bob")

    await house.sign_in.authenticate(first.access_token)
    await house.sign_in.authenticate(second.access_token)

    assert list(house.sign_in._parts.standings._seen) == [second.principal.session_id]


async def test_a_look_at_the_rows_holds_for_a_second_and_not_longer(house) -> None:
    other = house.another()
    principal = (await house.enter()).principal
    standings = other.sign_in._parts.standings
    first = await standings.get(principal.tenant_id, principal.user_id, principal.session_id)
    house.clock.advance(timedelta(milliseconds=999))
    second = await standings.get(principal.tenant_id, principal.user_id, principal.session_id)
    house.clock.advance(timedelta(milliseconds=1))
    third = await standings.get(principal.tenant_id, principal.user_id, principal.session_id)

    assert first is second
    assert third is not first
    assert third == first


async def test_a_session_is_refused_from_the_moment_it_is_over_although_a_look_still_holds(house) -> None:
    principal = (await house.enter()).principal
    standings = house.sign_in._parts.standings
    house.clock.advance(timedelta(days=30, milliseconds=-500))
    assert await standings.get(principal.tenant_id, principal.user_id, principal.session_id)
    house.clock.advance(timedelta(milliseconds=500))

    with pytest.raises(SessionRevokedError):
        await standings.get(principal.tenant_id, principal.user_id, principal.session_id)
