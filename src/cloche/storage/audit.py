"""The audit trail: who did what to whom, kept apart from logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.scope import Scope, SystemScope
from cloche.ids import TenantId, TraceId
from cloche.storage.database import Param, Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One thing that was done. ``actor`` is a user's id, or the name of a part of the program."""

    id: str
    actor: str
    action: str
    target: str
    detail: Mapping[str, object]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditChoice:
    """Which lines are wanted: those that fit all of it. ``action`` is how an action begins."""

    actor: str | None = None
    action: str = ""
    since: datetime | None = None


EVERY_LINE = AuditChoice()


class _AuditRow(NamedTuple):
    id: str
    actor: str
    action: str
    target: str
    detail: bytes
    created_at: int


class AuditRepository:
    """The audit trail of one tenant.

    Args:
        scope: who acts; a ``SystemScope`` names the tenant beside it.
    """

    def __init__(self, scope: Scope | SystemScope, tenant_id: TenantId | None = None) -> None:
        own = scope.tenant_id if isinstance(scope, Scope) else tenant_id
        assert own is not None, "a system scope works on one named tenant"
        assert tenant_id is None or tenant_id == own, "a user's scope never reaches into another tenant"
        self._tenant = str(own)
        self._actor = str(scope.user_id) if isinstance(scope, Scope) else scope.purpose

    async def append(
        self,
        tx: Transaction,
        action: str,
        *,
        target: str,
        at: datetime,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """The line is in the trail. ``detail`` holds JSON-ready facts, never a secret."""
        await tx.execute(
            "INSERT INTO audit (tenant_id, id, actor, action, target, detail, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            str(TraceId.new("audit")),
            self._actor,
            action,
            target,
            msgspec.json.encode(detail or {}),
            to_micros(at),
        )

    async def list(self, tx: Transaction, page: PageRequest, choice: AuditChoice = EVERY_LINE) -> Page[AuditLine]:
        """The tenant's lines that fit the choice, newest first."""
        number, identity = page.before or (2**62, "~")
        conditions, params = "", list[Param]()
        if choice.actor is not None:
            conditions += "AND actor = ? "
            params.append(choice.actor)
        if choice.action:
            conditions += "AND SUBSTR(action, 1, ?) = ? "
            params += (len(choice.action), choice.action)
        if choice.since is not None:
            conditions += "AND created_at >= ? "
            params.append(to_micros(choice.since))
        rows = await tx.fetch(
            _AuditRow,
            "SELECT id, actor, action, target, detail, created_at FROM audit "
            f"WHERE tenant_id = ? AND (created_at, id) < (?, ?) {conditions}"
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            self._tenant,
            number,
            identity,
            *params,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        cursor = cursor_of("audit", kept[-1].created_at, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[_line(row) for row in kept], next_cursor=cursor)


def _line(row: _AuditRow) -> AuditLine:
    return AuditLine(
        id=row.id,
        actor=row.actor,
        action=row.action,
        target=row.target,
        detail=msgspec.json.decode(row.detail, type=dict[str, object]),
        at=from_micros(row.created_at),
    )
