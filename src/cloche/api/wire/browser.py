"""A browser's session: what its page is told. The tokens themselves stay in cookies."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.storage.users import User


class BrowserSessionAnswer(BaseModel):
    """Who is signed in in this browser, what that person may do, and what the page sends with every change.

    ``expires_in`` is how many seconds the access token has; the page refreshes the session before.
    """

    user: UserAnswer
    session_id: str
    permissions: list[str]
    csrf_token: str = Field(repr=False)
    expires_in: int


def browser_session_answer(
    user: User, *, session_id: str, permissions: frozenset[str], csrf_token: str, expires_in: int
) -> BrowserSessionAnswer:
    """The session as its page is told of it."""
    return BrowserSessionAnswer(
        user=user_answer(user),
        session_id=session_id,
        permissions=sorted(permissions),
        csrf_token=csrf_token,
        expires_in=expires_in,
    )
