"""What an administrator sees of the tenant: never the content of anybody's conversation."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.auth import UserAnswer
from cloche.api.wire.runs import UsageShape, usage_shape
from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.permissions import Role
from cloche.domain.runs import ExecutionState, Run
from cloche.storage.audit import AuditLine
from cloche.storage.tenants import Tenant


class MemberBody(RequestBody):
    """A person who shall be able to sign in."""

    email: str
    password: str = Field(repr=False)
    role: Role = Role.MEMBER
    name: str = ""


class MemberPage(BaseModel):
    """The tenant's users, newest first."""

    items: list[UserAnswer]
    next_cursor: str | None


class MemberRunAnswer(BaseModel):
    """A run of somebody of the tenant, without its content."""

    id: str
    user_id: str
    thread_id: str
    agent: str
    agent_version: str
    model: str
    state: ExecutionState
    attempt: int
    failure_code: str | None
    usage: UsageShape
    created_at: Moment
    state_times: dict[ExecutionState, Moment]


class MemberRunPage(BaseModel):
    """Runs of the tenant, newest first, and how many of all its runs are in each live state."""

    items: list[MemberRunAnswer]
    next_cursor: str | None
    live: dict[ExecutionState, int]


class TenantAnswer(BaseModel):
    """Who owns the data and the limits."""

    id: str
    slug: str
    name: str
    status: str
    created_at: Moment


class AuditAnswer(BaseModel):
    """One thing that somebody did. ``actor`` is a user's id, or the name of a part of the program."""

    id: str
    actor: str
    action: str
    target: str
    detail: dict[str, object]
    at: Moment


class AuditPage(BaseModel):
    """The audit trail, newest first."""

    items: list[AuditAnswer]
    next_cursor: str | None


def member_run_answer(run: Run) -> MemberRunAnswer:
    """The run as an administrator sees it."""
    return MemberRunAnswer(
        id=run.id,
        user_id=run.ref.user_id,
        thread_id=run.thread_id,
        agent=run.agent,
        agent_version=run.agent_version,
        model=run.model,
        state=run.state,
        attempt=run.attempt,
        failure_code=None if run.failure is None else run.failure.code,
        usage=usage_shape(run),
        created_at=run.created_at,
        state_times=dict(run.state_times),
    )


def tenant_answer(tenant: Tenant) -> TenantAnswer:
    """The tenant as its administrators see it."""
    return TenantAnswer(
        id=tenant.id, slug=tenant.slug, name=tenant.name, status=tenant.status, created_at=tenant.created_at
    )


def audit_answer(line: AuditLine) -> AuditAnswer:
    """The line of the audit trail as the wire shows one."""
    return AuditAnswer(
        id=line.id,
        actor=line.actor,
        action=line.action,
        target=line.target,
        detail=dict(line.detail),
        at=line.at,
    )
