"""Sessions and their refresh tokens in the database. Of a token only its digest is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Transaction
from cloche.storage.tenants import ACTIVE

_COLUMNS = "id, user_agent, address, created_at, used_at, expires_at"
_OWN = "tenant_id = ? AND user_id = ?"
_LIVE = "revoked_at IS NULL AND expires_at > ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A live sign-in of a user; ``used_at`` is its last refresh."""

    id: SessionId
    user_agent: str
    address: str
    created_at: datetime
    used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStanding:
    """Whether a session may be used, as the rows of session, user and tenant say, and as whom."""

    email: str = field(repr=False)
    role: Role
    is_open: bool
    is_user_active: bool
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRefreshToken:
    """A refresh token that was issued once; ``expires_at`` is its own, the session may end sooner."""

    user_id: UserId
    session_id: SessionId
    generation: int
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyHead:
    """The newest generation of a session's refresh tokens, and when its first token was issued."""

    generation: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsSeen:
    """What the sessions of a user tell of the user."""

    last_seen_at: datetime | None
    live_sessions: int


class _SeenRow(NamedTuple):
    used_at: int | None
    live: int


class _SessionRow(NamedTuple):
    id: str
    user_agent: str
    address: str
    created_at: int
    used_at: int
    expires_at: int


class _StandingRow(NamedTuple):
    email: str
    role: str
    status: str
    tenant_status: str
    expires_at: int
    revoked_at: int | None


class _TokenRow(NamedTuple):
    user_id: str
    session_id: str
    generation: int
    expires_at: int


class _HeadRow(NamedTuple):
    generation: int
    since: int


class _IdRow(NamedTuple):
    id: str


class _RevokedRow(NamedTuple):
    id: str
    revoked_at: int


class SessionRepository:
    """The sessions of one user."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def create(
        self,
        tx: Transaction,
        session_id: SessionId,
        *,
        user_agent: str,
        address: str,
        at: datetime,
        expires_at: datetime,
    ) -> None:
        """The session exists and is live."""
        await tx.execute(
            "INSERT INTO sessions (tenant_id, user_id, id, user_agent, address, created_at, used_at, expires_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            str(session_id),
            user_agent,
            address,
            to_micros(at),
            to_micros(at),
            to_micros(expires_at),
        )

    async def list(self, tx: Transaction, *, at: datetime) -> list[Session]:
        """The user's live sessions, last used first; at most 100."""
        rows = await tx.fetch(
            _SessionRow,
            f"SELECT {_COLUMNS} FROM sessions WHERE {_OWN} AND {_LIVE} ORDER BY used_at DESC, id DESC LIMIT 100",
            self._tenant,
            self._user,
            to_micros(at),
        )
        return [_session(row) for row in rows]

    async def seen(self, tx: Transaction, *, at: datetime) -> SessionsSeen:
        """When the user last signed in or refreshed, as far as there are rows of it, and how many sessions are live."""
        row = await tx.first(
            _SeenRow,
            f"SELECT MAX(used_at), COUNT(CASE WHEN {_LIVE} THEN 1 END) FROM sessions WHERE {_OWN}",
            to_micros(at),
            self._tenant,
            self._user,
        )
        assert row is not None, "an aggregate always has a row"
        return SessionsSeen(
            last_seen_at=None if row.used_at is None else from_micros(row.used_at), live_sessions=row.live
        )

    async def touch(self, tx: Transaction, session_id: SessionId, *, at: datetime) -> Session | None:
        """The session with this as its last use; None when it is not live.

        Guarantees: until the transaction ends nobody else revokes or refreshes it.
        """
        row = await tx.first(
            _SessionRow,
            f"UPDATE sessions SET used_at = ? WHERE {_OWN} AND id = ? AND {_LIVE} RETURNING {_COLUMNS}",
            to_micros(at),
            self._tenant,
            self._user,
            str(session_id),
            to_micros(at),
        )
        return None if row is None else _session(row)

    async def revoke(self, tx: Transaction, session_id: SessionId, *, at: datetime) -> bool:
        """Whether this call ended the session; False when it was revoked before.

        Raises:
            NotFoundError: the user has none of that id.
        """
        changed = await tx.execute(
            f"UPDATE sessions SET revoked_at = ? WHERE {_OWN} AND id = ? AND revoked_at IS NULL",
            to_micros(at),
            self._tenant,
            self._user,
            str(session_id),
        )
        if not changed and await self.find_standing(tx, session_id) is None:
            raise NotFoundError("there is no such session")
        return changed > 0

    async def revoke_all(self, tx: Transaction, *, at: datetime, keep: SessionId | None = None) -> list[SessionId]:
        """The sessions that this call ended: every one of the user but ``keep``."""
        rows = await tx.fetch(
            _IdRow,
            f"UPDATE sessions SET revoked_at = ? WHERE {_OWN} AND id <> ? AND revoked_at IS NULL RETURNING id",
            to_micros(at),
            self._tenant,
            self._user,
            "" if keep is None else str(keep),
        )
        return [SessionId(row.id) for row in rows]

    async def find_standing(self, tx: Transaction, session_id: SessionId) -> SessionStanding | None:
        """What the rows say of the session now; None when the user has none of that id."""
        row = await tx.first(
            _StandingRow,
            "SELECT users.email, users.role, users.status, tenants.status, sessions.expires_at, sessions.revoked_at "
            "FROM sessions JOIN users ON users.tenant_id = sessions.tenant_id AND users.id = sessions.user_id "
            "JOIN tenants ON tenants.id = sessions.tenant_id "
            "WHERE sessions.tenant_id = ? AND sessions.user_id = ? AND sessions.id = ?",
            self._tenant,
            self._user,
            str(session_id),
        )
        if row is None:
            return None
        return SessionStanding(
            email=row.email,
            role=Role(row.role),
            is_open=row.revoked_at is None,
            is_user_active=row.status == ACTIVE and row.tenant_status == ACTIVE,
            expires_at=from_micros(row.expires_at),
        )


class RefreshTokenRepository:
    """The refresh tokens of one session: its family.

    Args:
        scope: must name the session.
    """

    def __init__(self, scope: Scope) -> None:
        assert scope.session_id is not None, "a family of refresh tokens belongs to a session"
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)
        self._session = str(scope.session_id)

    async def create(
        self, tx: Transaction, digest: bytes, *, generation: int, at: datetime, expires_at: datetime
    ) -> None:
        """A token of that generation is valid, by the digest of its text."""
        await tx.execute(
            "INSERT INTO refresh_tokens (tenant_id, hash, user_id, session_id, generation, created_at, expires_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            digest,
            self._user,
            self._session,
            generation,
            to_micros(at),
            to_micros(expires_at),
        )

    async def use(self, tx: Transaction, digest: bytes, *, at: datetime) -> bool:
        """Whether the token was unused until now."""
        changed = await tx.execute(
            "UPDATE refresh_tokens SET used_at = ? "
            "WHERE tenant_id = ? AND hash = ? AND user_id = ? AND session_id = ? AND used_at IS NULL",
            to_micros(at),
            self._tenant,
            digest,
            self._user,
            self._session,
        )
        return changed > 0

    async def head(self, tx: Transaction) -> FamilyHead:
        """The newest generation of the family, which has at least one token."""
        row = await tx.first(
            _HeadRow,
            "SELECT generation, MIN(created_at) FROM refresh_tokens "
            "WHERE tenant_id = ? AND user_id = ? AND session_id = ? "
            "GROUP BY generation ORDER BY generation DESC LIMIT 1",
            self._tenant,
            self._user,
            self._session,
        )
        assert row is not None, "the caller holds a token of this family"
        return FamilyHead(generation=row.generation, since=from_micros(row.since))


class SessionDirectory:
    """Sessions across users: for refresh, before there is a scope, and for what was revoked."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def find_refresh_token(
        self, tx: Transaction, tenant_id: TenantId, digest: bytes
    ) -> StoredRefreshToken | None:
        """The token with this digest, used or not; None when none was issued."""
        row = await tx.first(
            _TokenRow,
            "SELECT user_id, session_id, generation, expires_at FROM refresh_tokens WHERE tenant_id = ? AND hash = ?",
            str(tenant_id),
            digest,
        )
        if row is None:
            return None
        return StoredRefreshToken(
            user_id=UserId(row.user_id),
            session_id=SessionId(row.session_id),
            generation=row.generation,
            expires_at=from_micros(row.expires_at),
        )

    async def list_revoked(self, tx: Transaction, *, since: datetime) -> list[tuple[SessionId, datetime]]:
        """The sessions that were revoked at that time or later, in order, each with its time."""
        rows = await tx.fetch(
            _RevokedRow,
            "SELECT id, revoked_at FROM sessions WHERE revoked_at >= ? ORDER BY revoked_at, id",
            to_micros(since),
        )
        return [(SessionId(row.id), from_micros(row.revoked_at)) for row in rows]

    async def delete_expired(self, tx: Transaction, *, before: datetime) -> int:
        """How many sessions had expired by then; their rows and those of their tokens are gone."""
        limit = to_micros(before)
        await tx.execute(
            "DELETE FROM refresh_tokens WHERE EXISTS (SELECT 1 FROM sessions "
            "WHERE sessions.tenant_id = refresh_tokens.tenant_id AND sessions.user_id = refresh_tokens.user_id "
            "AND sessions.id = refresh_tokens.session_id AND sessions.expires_at <= ?)",
            limit,
        )
        return await tx.execute("DELETE FROM sessions WHERE expires_at <= ?", limit)


def _session(row: _SessionRow) -> Session:
    return Session(
        id=SessionId(row.id),
        user_agent=row.user_agent,
        address=row.address,
        created_at=from_micros(row.created_at),
        used_at=from_micros(row.used_at),
        expires_at=from_micros(row.expires_at),
    )
