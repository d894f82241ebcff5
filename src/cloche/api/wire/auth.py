"""Signing in: what is sent and what comes back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.auth.opening import SignedIn
from cloche.storage.users import User


class LoginBody(RequestBody):
    """An e-mail address with its password; the tenant's slug only where the two are right in several tenants."""

    email: str
    password: str = Field(repr=False)
    tenant: str | None = None


class RefreshBody(RequestBody):
    """A refresh token, which is used up by this."""

    refresh_token: str = Field(repr=False)


class SetUpBody(RequestBody):
    """The secret that the server printed at its first start, and who becomes the first administrator."""

    secret: str = Field(repr=False)
    email: str
    password: str = Field(repr=False)
    name: str = ""


class UserAnswer(BaseModel):
    """A person in a tenant."""

    id: str
    tenant_id: str
    email: str
    name: str
    role: str
    status: str
    created_at: Moment


class TokensAnswer(BaseModel):
    """An access token, the seconds that it is good for, and the token that gets the next one."""

    access_token: str = Field(repr=False)
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 -- the name of the scheme
    expires_in: int
    refresh_token: str = Field(repr=False)
    user: UserAnswer


class TicketAnswer(BaseModel):
    """A value that opens one live connection, offered as the subprotocol ``ticket.<value>``."""

    ticket: str = Field(repr=False)


def user_answer(user: User) -> UserAnswer:
    """The user as the wire shows one."""
    return UserAnswer(
        id=user.id,
        tenant_id=user.tenant_id,
        email=user.email,
        name=user.name,
        role=user.role,
        status=user.status,
        created_at=user.created_at,
    )


def tokens_answer(signed_in: SignedIn, user: User) -> TokensAnswer:
    """The tokens as the wire shows them."""
    return TokensAnswer(
        access_token=signed_in.access_token,
        expires_in=signed_in.expires_in,
        refresh_token=signed_in.refresh_token,
        user=user_answer(user),
    )
