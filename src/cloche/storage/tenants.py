"""Tenants in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError
from cloche.ids import TenantId
from cloche.storage.database import Transaction

ACTIVE = "active"
SUSPENDED = "suspended"


_COLUMNS = "id, slug, name, status, created_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who owns data and limits. Nobody signs in to one that is not ``active``."""

    id: TenantId
    slug: str
    name: str
    status: str
    created_at: datetime


class _TenantRow(NamedTuple):
    id: str
    slug: str
    name: str
    status: str
    created_at: int


class TenantRepository:
    """The one tenant of a scope."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def get(self, tx: Transaction) -> Tenant:
        """The scope's own tenant.

        Raises:
            NotFoundError: it was removed.
        """
        row = await tx.first(_TenantRow, f"SELECT {_COLUMNS} FROM tenants WHERE id = ?", self._tenant)
        if row is None:
            raise NotFoundError("there is no such tenant")
        return _tenant(row)


class TenantDirectory:
    """Every tenant: for set-up, the command line and sign-in, before there is a scope."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def create(self, tx: Transaction, *, slug: str, name: str, at: datetime) -> Tenant:
        """The tenant with this slug: a new one, or the one that had the slug before.

        Guarantees: of two concurrent callers one makes it, and both get the same.
        """
        await tx.execute(
            "INSERT INTO tenants (id, slug, name, status, created_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            str(TenantId.new()),
            slug,
            name,
            ACTIVE,
            to_micros(at),
        )
        found = await self.find(tx, slug)
        assert found is not None, "the row was there or has just been written"
        return found

    async def find(self, tx: Transaction, slug: str) -> Tenant | None:
        """The tenant with this slug, or None."""
        row = await tx.first(_TenantRow, f"SELECT {_COLUMNS} FROM tenants WHERE slug = ?", slug)
        return None if row is None else _tenant(row)

    async def get(self, tx: Transaction, slug: str) -> Tenant:
        """The tenant with this slug.

        Raises:
            NotFoundError: there is none.
        """
        found = await self.find(tx, slug)
        if found is None:
            raise NotFoundError("there is no such tenant")
        return found

    async def list(self, tx: Transaction) -> list[Tenant]:
        """Every tenant, by slug."""
        return [_tenant(row) for row in await tx.fetch(_TenantRow, f"SELECT {_COLUMNS} FROM tenants ORDER BY slug")]

    async def set_status(self, tx: Transaction, tenant_id: TenantId, status: str) -> bool:
        """Whether the tenant was there; it has the status now."""
        return await tx.execute("UPDATE tenants SET status = ? WHERE id = ?", status, str(tenant_id)) > 0


def _tenant(row: _TenantRow) -> Tenant:
    return Tenant(
        id=TenantId(row.id),
        slug=row.slug,
        name=row.name,
        status=row.status,
        created_at=from_micros(row.created_at),
    )
