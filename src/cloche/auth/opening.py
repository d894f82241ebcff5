"""Opening a session, and giving its user the two tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from cloche.auth.opaque import SecretKind, make_secret
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.revocations import Revocations
from cloche.auth.standings import Standing, Standings, read_standing
from cloche.auth.tokens import AccessTokens
from cloche.clock import Clock
from cloche.domain.scope import Principal, Scope
from cloche.ids import SessionId, TenantId, UserId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.sessions import RefreshTokenRepository, SessionRepository

MAX_USER_AGENT = 256
MAX_ADDRESS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """What a sign-in or a refresh gives: an access token and the way to the next one, with the seconds each is good for."""

    access_token: str = field(repr=False)
    expires_in: int
    refresh_token: str = field(repr=False)
    refresh_expires_in: int
    principal: Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """From where somebody signs in, as their list of sessions will show it."""

    user_agent: str
    address: str

    @classmethod
    def of(cls, user_agent: str, address: str) -> Self:
        """What a client said of itself, cut to size and without control characters."""
        return cls(user_agent=_shown(user_agent, MAX_USER_AGENT), address=_shown(address, MAX_ADDRESS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that this transaction opened or refreshed, with its new refresh token."""

    standing: Standing
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthParts:
    """What every part of this floor works with; made once, by ``SignIn``."""

    database: Database
    clock: Clock
    policy: SignInPolicy
    passwords: Passwords
    tokens: AccessTokens
    revocations: Revocations
    standings: Standings

    async def open_session(self, tx: Transaction, tenant_id: TenantId, user_id: UserId, device: Device) -> Opened:
        """The user has a new session and the first refresh token of its family."""
        now = self.clock.now()
        scope = Scope(tenant_id=tenant_id, user_id=user_id, session_id=SessionId.new())
        assert scope.session_id is not None, "it has just been made"
        await SessionRepository(scope).create(
            tx,
            scope.session_id,
            user_agent=device.user_agent,
            address=device.address,
            at=now,
            expires_at=now + self.policy.session_lifetime,
        )
        standing = await read_standing(tx, scope, at=now)
        assert standing is not None, "the caller has seen in this transaction that the user may sign in"
        await AuditRepository(scope).append(
            tx, "session.opened", target=str(scope.session_id), at=now, detail={"address": device.address}
        )
        return Opened(standing=standing, refresh_token=await self.add_refresh_token(tx, standing, generation=1))

    async def add_refresh_token(self, tx: Transaction, standing: Standing, *, generation: int) -> str:
        """A new refresh token of the session; only its digest is stored."""
        now = self.clock.now()
        text, secret = make_secret(SecretKind.REFRESH, standing.principal.tenant_id)
        await RefreshTokenRepository(own_scope(standing.principal)).create(
            tx,
            secret.digest,
            generation=generation,
            at=now,
            expires_at=min(now + self.policy.refresh_lifetime, standing.session_expires_at),
        )
        return text

    def signed_in(self, opened: Opened) -> SignedIn:
        """The tokens for a session whose transaction is durable."""
        principal = opened.standing.principal
        ends_at = opened.standing.session_expires_at
        issued = self.tokens.issue(principal, not_after=ends_at)
        refreshable = min(self.policy.refresh_lifetime, ends_at - self.clock.now())
        return SignedIn(
            access_token=issued.text,
            expires_in=issued.expires_in,
            refresh_token=opened.refresh_token,
            refresh_expires_in=max(0, int(refreshable.total_seconds())),
            principal=principal,
        )

    def revoke_after_commit(self, tx: Transaction, session_ids: Iterable[SessionId], *, at: datetime) -> None:
        """Once the transaction is durable, nobody gets in with these sessions, and who listens has heard of it."""
        ended = tuple(session_ids)
        tx.after_commit(lambda: self.revocations.add(ended, at=at))


def own_scope(principal: Principal) -> Scope:
    """The scope in which a principal's own rows are kept; it grants nothing."""
    return Scope(tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id)


def _shown(text: str, length: int) -> str:
    return "".join(character for character in text[:length] if character.isprintable())
