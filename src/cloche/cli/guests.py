"""Users that are made for a check-up and disabled after it, by an administrator's account."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import msgspec

from cloche.cli.rest import Account, RefusedError, RestClient, UnreachableError, open_rest
from cloche.errors import AlreadyExistsError, PermissionDeniedError
from cloche.ids import IDType, generate_id

MAX_GUESTS = 90
"""Fewer than the sign-ins that a server takes from one address in five minutes."""

_DOMAIN = "doctor.invalid"


class _UserFacts(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    email: str


class _UserList(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[_UserFacts, ...]


@asynccontextmanager
async def open_guests(url: str, account: Account, number: int) -> AsyncGenerator[Sequence[Account]]:
    """Accounts of users who were just added to the tenant of ``account``; disabled at the end of the block.

    Cancellation: safe; those who were added are disabled before it travels on.

    Raises:
        PermissionDeniedError: the account may not add users; the text says which permission it needs.
        RefusedError: the server would not.
        UnreachableError: nobody answers; or a user could not be disabled, and the text names them.
    """
    async with open_rest(url) as rest:
        await rest.sign_in(account)
        made: dict[str, str | None] = {}
        try:
            yield [await _add(rest, account.tenant, made) for _ in range(number)]
        finally:
            await _disable(rest, made)
            await rest.sign_out()


async def _add(rest: RestClient, tenant: str | None, made: dict[str, str | None]) -> Account:
    email = f"{generate_id(IDType.USER, 'doctor')}@{_DOMAIN}"
    guest = Account(email=email, password=secrets.token_urlsafe(24), tenant=tenant)
    # Noted before it is asked for: an interrupt may come while the answer is on its way.
    made[email] = None
    try:
        made[email] = await _post(rest, guest)
    except RefusedError as refused:
        del made[email]
        if refused.error.code != PermissionDeniedError.code:
            raise
        raise PermissionDeniedError(
            "--users adds users for the time of the check-up, which needs the permission admin:users: "
            "give the --email of an administrator"
        ) from refused
    return guest


async def _post(rest: RestClient, guest: Account) -> str:
    body: dict[str, object] = {"email": guest.email, "password": guest.password, "name": "cloche doctor"}
    return (await rest.post(_UserFacts, "/v1/admin/users", body)).id


async def _disable(rest: RestClient, made: dict[str, str | None]) -> None:
    """None of them can sign in any more; each is tried, whatever comes of the others."""
    left: list[str] = []
    why: Exception | None = None
    for email, known in made.items():
        try:
            user_id = known or await _id_of(rest, email)
            await rest.request("POST", f"/v1/admin/users/{user_id}/disable")
        except (RefusedError, UnreachableError) as error:
            why = error
            left.append(email)
    if left:
        raise UnreachableError(
            f"users of the check-up could not be disabled; run `cloche users disable` for {', '.join(left)}: {why}"
        ) from why


async def _id_of(rest: RestClient, email: str) -> str:
    """The id of a user who was asked for, and whose answer did not come: the server may still be at it.

    Asking for the same one again tells: either this makes the user, and the first request cannot any more, or there is one.
    """
    try:
        return await _post(rest, Account(email=email, password=secrets.token_urlsafe(24)))
    except RefusedError as refused:
        if refused.error.code != AlreadyExistsError.code:
            raise
        newest = await rest.get(_UserList, "/v1/admin/users?limit=100")
        found = next((user.id for user in newest.items if user.email == email), None)
        if found is None:
            raise
        return found
