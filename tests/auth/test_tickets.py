import asyncio
import re
from datetime import timedelta

import pytest

from cloche.auth.opaque import SecretKind, make_secret
from cloche.errors import NotAuthenticatedError, SessionRevokedError
from cloche.ids import TenantId


async def test_a_ticket_opens_one_connection_as_its_holder(house) -> None:
    signed_in = await house.enter()
    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)

    principal = await house.sign_in.tickets.redeem_ticket(ticket)

    assert principal == signed_in.principal
    with pytest.raises(NotAuthenticatedError):
        await house.sign_in.tickets.redeem_ticket(ticket)


async def test_a_ticket_is_legal_in_a_subprotocol_and_short(house) -> None:
    signed_in = await house.enter()

    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)

    assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", f"ticket.{ticket}")
    assert len(ticket) < 128


async def test_exactly_one_of_two_redemptions_at_once_wins(house) -> None:
    signed_in = await house.enter()
    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)

    answers = await asyncio.gather(
        *(house.sign_in.tickets.redeem_ticket(ticket) for _ in range(10)), return_exceptions=True
    )

    assert answers.count(signed_in.principal) == 1
    assert sum(isinstance(answer, NotAuthenticatedError) for answer in answers) == 9


async def test_a_ticket_is_over_after_thirty_seconds(house) -> None:
    signed_in = await house.enter()
    good, late = [await house.sign_in.tickets.issue_ticket(signed_in.principal) for _ in range(2)]

    house.clock.advance(timedelta(seconds=29))
    assert await house.sign_in.tickets.redeem_ticket(good)
    house.clock.advance(timedelta(seconds=1))

    with pytest.raises(NotAuthenticatedError):
        await house.sign_in.tickets.redeem_ticket(late)


async def test_a_ticket_of_an_ended_session_opens_nothing_and_is_used_up(house) -> None:
    signed_in = await house.enter()
    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)
    await house.sign_in.logout(signed_in.principal)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.tickets.redeem_ticket(ticket)
    with pytest.raises(NotAuthenticatedError) as refused:
        await house.sign_in.tickets.redeem_ticket(ticket)

    assert type(refused.value) is NotAuthenticatedError


async def test_a_ticket_of_a_disabled_user_opens_nothing(house) -> None:
    signed_in = await house.enter("ada")
    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)
    await house.sign_in.users.disable_user(house.email("ada"), house.tenant)

    with pytest.raises(SessionRevokedError):
        await house.sign_in.tickets.redeem_ticket(ticket)


async def test_a_ticket_gives_the_role_that_the_user_has_at_redemption(house) -> None:
    member = await house.enter("ada")
    boss = await house.enter("boss", role="admin")
    ticket = await house.sign_in.tickets.issue_ticket(member.principal)
    scope = await house.sign_in.scope_of(boss.principal)
    await house.sign_in.members.change(scope, member.principal.user_id, role="admin")

    assert (await house.sign_in.tickets.redeem_ticket(ticket)).role == "admin"


async def test_what_is_no_ticket_is_refused(house) -> None:
    signed_in = await house.enter()
    tenant = signed_in.principal.tenant_id
    ticket = await house.sign_in.tickets.issue_ticket(signed_in.principal)
    others = [
        None,
        "",
        "ticket",
        ticket[:-1],
        f"ticket.{ticket}",
        ticket.replace(str(tenant), str(TenantId.new())),
        make_secret(SecretKind.TICKET, tenant)[0],
        signed_in.refresh_token,
        signed_in.access_token,
    ]

    for text in others:
        with pytest.raises(NotAuthenticatedError):
            await house.sign_in.tickets.redeem_ticket(text)

    assert await house.sign_in.tickets.redeem_ticket(ticket)
