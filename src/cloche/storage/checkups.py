"""What the doctor found on its last rounds, kept for the tenant whose administrator's account it used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.scope import Scope
from cloche.ids import MetricId, UserId
from cloche.storage.database import Transaction

KEPT = 100
"""How many check-ups a tenant keeps."""


class KeptCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a check-up."""

    name: str
    ok: bool
    detail: str
    duration_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCheckup:
    """A check-up: when it was stored, by whose account, of how many users at once, and what was found."""

    id: MetricId
    at: datetime
    user_id: UserId
    email: str = field(repr=False)
    is_ok: bool
    users: int
    checks: Sequence[KeptCheck]


class _CheckupRow(NamedTuple):
    id: str
    user_id: str
    email: str | None
    is_ok: int
    users: int
    checks: bytes
    created_at: int


_CHECKS = msgspec.json.Decoder(tuple[KeptCheck, ...])


class CheckupRepository:
    """The check-ups of the scope's tenant. The caller has checked that the scope may see them."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def append(
        self, tx: Transaction, *, is_ok: bool, users: int, checks: Sequence[KeptCheck], at: datetime
    ) -> MetricId:
        """The check-up is kept, by the scope's user, and of those before it the newest ones; its id."""
        checkup = MetricId.new("checkup")
        await tx.execute(
            "INSERT INTO checkups (tenant_id, id, user_id, is_ok, users, checks, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            str(checkup),
            self._user,
            int(is_ok),
            users,
            msgspec.json.encode(checks),
            to_micros(at),
        )
        await tx.execute(
            "DELETE FROM checkups WHERE tenant_id = ? AND id <= "
            "(SELECT id FROM checkups WHERE tenant_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            self._tenant,
            self._tenant,
            KEPT,
        )
        return checkup

    async def list(self, tx: Transaction, *, limit: int) -> list[KeptCheckup]:
        """The newest check-ups, newest first."""
        rows = await tx.fetch(
            _CheckupRow,
            "SELECT checkups.id, checkups.user_id, users.email, checkups.is_ok, checkups.users, checkups.checks, "
            "checkups.created_at FROM checkups "
            "LEFT JOIN users ON users.tenant_id = checkups.tenant_id AND users.id = checkups.user_id "
            "WHERE checkups.tenant_id = ? ORDER BY checkups.id DESC LIMIT ?",
            self._tenant,
            limit,
        )
        return [
            KeptCheckup(
                id=MetricId(row.id),
                at=from_micros(row.created_at),
                user_id=UserId(row.user_id),
                email=row.email or "",
                is_ok=bool(row.is_ok),
                users=row.users,
                checks=_CHECKS.decode(row.checks),
            )
            for row in rows
        ]
