"""What a person sees of the own account: profile, sessions, agents to choose from, and what they cost."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.auth import UserAnswer
from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.agents import AgentSpec
from cloche.ids import SessionId
from cloche.storage.sessions import Session


class PasswordBody(RequestBody):
    """The password as it is, and as it shall be."""

    current_password: str = Field(repr=False)
    new_password: str = Field(repr=False)


class MeAnswer(BaseModel):
    """Who is signed in, and what that person may do now."""

    user: UserAnswer
    session_id: str
    permissions: list[str]


class SessionAnswer(BaseModel):
    """A live sign-in; ``used_at`` is its last refresh."""

    id: str
    is_current: bool
    user_agent: str
    address: str
    created_at: Moment
    used_at: Moment
    expires_at: Moment


class SessionPage(BaseModel):
    """The live sessions, the last used first; there are never more than one page."""

    items: list[SessionAnswer]
    next_cursor: str | None = None


class AgentAnswer(BaseModel):
    """An agent that can be asked."""

    name: str
    version: str
    description: str
    model: str
    tools: list[str]
    run_timeout_s: float
    examples: list[str] = Field(description="messages that show what it can do")


class AgentPage(BaseModel):
    """All agents, the default one first; there is never more than one page."""

    items: list[AgentAnswer]
    next_cursor: str | None = None


class UsageLine(BaseModel):
    """What one agent used of one model."""

    agent: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


class UsageTotal(BaseModel):
    """All lines added up."""

    calls: int
    input_tokens: int
    output_tokens: int


class UsageAnswer(BaseModel):
    """What the person's runs used since then."""

    since: Moment
    items: list[UsageLine]
    total: UsageTotal


def session_answer(session: Session, current: SessionId) -> SessionAnswer:
    """The session as its owner sees it."""
    return SessionAnswer(
        id=session.id,
        is_current=session.id == current,
        user_agent=session.user_agent,
        address=session.address,
        created_at=session.created_at,
        used_at=session.used_at,
        expires_at=session.expires_at,
    )


def agent_answer(spec: AgentSpec) -> AgentAnswer:
    """The agent as the wire shows one."""
    return AgentAnswer(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        model=spec.model,
        tools=list(spec.tools),
        run_timeout_s=spec.limits.run_timeout.total_seconds(),
        examples=list(spec.examples),
    )
