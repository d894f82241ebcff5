"""What an administrator sees of the tenant: never the content of anybody's conversation."""

from __future__ import annotations

from pydantic import BaseModel

from cloche.api.wire.shapes import Moment
from cloche.storage.audit import AuditLine
from cloche.storage.tenants import Tenant


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
