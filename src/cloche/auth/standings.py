"""Whether a session still stands, and what its user may do: the rows' answer, at most a second old."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloche.auth.revocations import Revocations
from cloche.clock import Clock
from cloche.domain.permissions import permissions_of
from cloche.domain.scope import Principal, Scope
from cloche.errors import SessionRevokedError
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.sessions import SessionRepository
from cloche.storage.users import UserRepository

MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A live session: who it is, what that user may do, and when the session ends at the latest."""

    principal: Principal
    permissions: frozenset[str]
    session_expires_at: datetime


class Standings:
    """Looks sessions up, and remembers each for ``lifetime``; changes made in this process count at once."""

    def __init__(self, database: Database, clock: Clock, revocations: Revocations, *, lifetime: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._revocations = revocations
        self._lifetime_s = lifetime.total_seconds()
        self._seen: OrderedDict[SessionId, tuple[float, Standing]] = OrderedDict()
        self._changes = 0

    async def get(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId) -> Standing:
        """The session's standing.

        Raises:
            SessionRevokedError: it was revoked or is over, its user or tenant may not sign in, or it is unknown.
            StorageError: the rows cannot be read; nothing is granted then.
        """
        now = self._clock.monotonic()
        seen = self._seen.get(session_id)
        if seen is None or now - seen[0] >= self._lifetime_s:
            changes = self._changes
            standing = await self._read(tenant_id, user_id, session_id)
            if changes == self._changes:
                self._remember(now, standing)
        else:
            standing = seen[1]
        principal = standing.principal
        if (
            session_id in self._revocations
            or standing.session_expires_at <= self._clock.now()
            or (principal.tenant_id, principal.user_id) != (tenant_id, user_id)
        ):
            raise SessionRevokedError
        return standing

    def forget_session(self, session_id: SessionId) -> None:
        """The next look at the session is one at its rows."""
        self._changes += 1
        self._seen.pop(session_id, None)

    def forget_user(self, user_id: UserId) -> None:
        """The next look at any session of the user is one at its rows."""
        self._changes += 1
        for session_id in [key for key, (_, seen) in self._seen.items() if seen.principal.user_id == user_id]:
            del self._seen[session_id]

    def _remember(self, now: float, standing: Standing) -> None:
        session_id = standing.principal.session_id
        self._seen[session_id] = (now, standing)
        self._seen.move_to_end(session_id)
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)

    async def _read(self, tenant_id: TenantId, user_id: UserId, session_id: SessionId) -> Standing:
        scope = Scope(tenant_id=tenant_id, user_id=user_id, session_id=session_id)

        async def work(tx: Transaction) -> Standing | None:
            return await read_standing(tx, scope, at=self._clock.now())

        standing = await self._database.read(work)
        if standing is None:
            raise SessionRevokedError
        return standing


async def read_standing(tx: Transaction, scope: Scope, *, at: datetime) -> Standing | None:
    """What the rows of this transaction say of the scope's session; None when it may not be used."""
    assert scope.session_id is not None, "a standing is that of a session"
    found = await SessionRepository(scope).find_standing(tx, scope.session_id)
    if found is None or not found.is_open or not found.is_user_active or found.expires_at <= at:
        return None
    grants = await UserRepository(scope).list_grants(tx)
    return Standing(
        principal=Principal(
            tenant_id=scope.tenant_id,
            user_id=scope.user_id,
            session_id=scope.session_id,
            email=found.email,
            role=found.role.value,
        ),
        permissions=permissions_of(found.role, grants),
        session_expires_at=found.expires_at,
    )
