"""One-time tickets in the database: for a live connection, and for the first set-up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from cloche.clock import to_micros
from cloche.domain.scope import Scope, SystemScope
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Transaction

CONNECTION = "connection"
SET_UP = "setup"

_INSERT = "INSERT INTO tickets (tenant_id, hash, kind, user_id, session_id, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketHolder:
    """For which user and session a ticket was made."""

    tenant_id: TenantId
    user_id: UserId
    session_id: SessionId


class _HolderRow(NamedTuple):
    user_id: str
    session_id: str


class _HashRow(NamedTuple):
    hash: bytes


class TicketRepository:
    """The tickets of one user's session."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)
        self._session = str(scope.session_id)

    async def create(self, tx: Transaction, digest: bytes, *, at: datetime, expires_at: datetime) -> None:
        """A ticket for one live connection of this session is stored, by the digest of its value."""
        await tx.execute(
            _INSERT,
            self._tenant,
            digest,
            CONNECTION,
            self._user,
            self._session,
            to_micros(at),
            to_micros(expires_at),
        )


class TicketRedemption:
    """Tickets by the digest of their value, before there is a scope."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def take(self, tx: Transaction, tenant_id: TenantId, digest: bytes, *, at: datetime) -> TicketHolder | None:
        """The holder of a live connection ticket, which is used up now; None when it was used, is over, or never was.

        Guarantees: one guarded UPDATE; of concurrent callers exactly one gets the holder.
        """
        row = await tx.first(
            _HolderRow,
            "UPDATE tickets SET used_at = ? WHERE tenant_id = ? AND hash = ? AND kind = ? AND used_at IS NULL "
            "AND expires_at > ? RETURNING user_id, session_id",
            to_micros(at),
            str(tenant_id),
            digest,
            CONNECTION,
            to_micros(at),
        )
        if row is None:
            return None
        return TicketHolder(tenant_id=tenant_id, user_id=UserId(row.user_id), session_id=SessionId(row.session_id))

    async def delete_expired(self, tx: Transaction, *, before: datetime) -> int:
        """How many tickets had expired by then; their rows are gone."""
        return await tx.execute("DELETE FROM tickets WHERE expires_at <= ?", to_micros(before))


class SetUpTicketRepository:
    """The ticket with which the first administrator is made, before there is a user."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def create(
        self, tx: Transaction, tenant_id: TenantId, digest: bytes, *, at: datetime, expires_at: datetime
    ) -> None:
        """A set-up ticket is stored, and it is the only one."""
        await self.void(tx)
        await tx.execute(_INSERT, str(tenant_id), digest, SET_UP, None, None, to_micros(at), to_micros(expires_at))

    async def void(self, tx: Transaction) -> None:
        """No set-up ticket is valid any more."""
        await tx.execute("DELETE FROM tickets WHERE kind = ?", SET_UP)

    async def is_live(self, tx: Transaction, tenant_id: TenantId, digest: bytes, *, at: datetime) -> bool:
        """Whether the ticket could be taken now."""
        row = await tx.first(
            _HashRow,
            "SELECT hash FROM tickets WHERE tenant_id = ? AND hash = ? AND kind = ? AND used_at IS NULL AND expires_at > ?",
            str(tenant_id),
            digest,
            SET_UP,
            to_micros(at),
        )
        return row is not None

    async def take(self, tx: Transaction, tenant_id: TenantId, digest: bytes, *, at: datetime) -> bool:
        """Whether the ticket was live; it is used up now.

        Guarantees: of concurrent callers exactly one gets True.
        """
        taken = await tx.execute(
            "UPDATE tickets SET used_at = ? WHERE tenant_id = ? AND hash = ? AND kind = ? AND used_at IS NULL "
            "AND expires_at > ?",
            to_micros(at),
            str(tenant_id),
            digest,
            SET_UP,
            to_micros(at),
        )
        return taken > 0
