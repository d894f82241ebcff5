"""Users of the tenant on the wire, as its administrators see them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.api.wire.shapes import Moment, RequestBody
from cloche.auth.users import MAX_NAME
from cloche.domain.permissions import Role
from cloche.storage.sessions import SessionsSeen
from cloche.storage.users import User


class MemberBody(RequestBody):
    """A person who shall be able to sign in."""

    email: str
    password: str = Field(repr=False)
    role: Role = Role.MEMBER
    name: str = ""


class MemberPatch(RequestBody):
    """What changes of a user; what is left out stays."""

    role: Role | None = None
    name: str | None = Field(default=None, max_length=MAX_NAME)


class MemberAnswer(UserAnswer):
    """A user of the tenant. ``last_seen_at`` is the last sign-in or refresh, as long as the session is kept."""

    last_seen_at: Moment | None
    live_sessions: int


class SessionsEndedAnswer(BaseModel):
    """How many sessions this has ended."""

    sessions_ended: int


class MemberPage(BaseModel):
    """The tenant's users, newest first."""

    items: list[MemberAnswer]
    next_cursor: str | None


def member_answer(user: User, seen: SessionsSeen) -> MemberAnswer:
    """The user as an administrator sees one."""
    return MemberAnswer(**dict(user_answer(user)), last_seen_at=seen.last_seen_at, live_sessions=seen.live_sessions)
