"""Refresh-token families: each token is good once, and a thief is noticed.

Each use gives a token of the next generation. A token of the generation before the newest may come again for a few
seconds (two tabs, or an answer lost on its way) and gives a sibling. Anything older was stolen, or its successor was:
the whole session ends.

Source: https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2
"""

from __future__ import annotations

from cloche.auth.opaque import OpaqueSecret
from cloche.auth.opening import AuthParts, Opened
from cloche.auth.standings import read_standing
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotAuthenticatedError, SessionRevokedError
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.sessions import (
    RefreshTokenRepository,
    SessionDirectory,
    SessionRepository,
    StoredRefreshToken,
)

_SYSTEM = SystemScope(purpose="refresh")


async def rotate(tx: Transaction, parts: AuthParts, secret: OpaqueSecret) -> Opened | None:
    """The session with its next refresh token; None when the token had been used, and the session is revoked now.

    Raises:
        NotAuthenticatedError: the token was never issued, or its time is over.
        SessionRevokedError: the session is not live, or its user may not sign in.
    """
    now = parts.clock.now()
    token = await SessionDirectory(_SYSTEM).find_refresh_token(tx, secret.tenant_id, secret.digest)
    if token is None:
        raise NotAuthenticatedError
    scope = Scope(tenant_id=secret.tenant_id, user_id=token.user_id, session_id=token.session_id)
    # The first write locks the session's row: two refreshes of one family come one after the other.
    await SessionRepository(scope).touch(tx, token.session_id, at=now)
    standing = await read_standing(tx, scope, at=now)
    if standing is None:
        raise SessionRevokedError
    if not await _may_rotate(tx, parts, scope, token, secret):
        await _revoke(tx, parts, scope, token)
        return None
    if token.expires_at <= now:
        raise NotAuthenticatedError
    text = await parts.add_refresh_token(tx, standing, generation=token.generation + 1)
    return Opened(standing=standing, refresh_token=text)


async def _may_rotate(
    tx: Transaction, parts: AuthParts, scope: Scope, token: StoredRefreshToken, secret: OpaqueSecret
) -> bool:
    family = RefreshTokenRepository(scope)
    is_first_use = await family.use(tx, secret.digest, at=parts.clock.now())
    head = await family.head(tx)
    if head.generation == token.generation:
        return is_first_use
    return head.generation == token.generation + 1 and parts.clock.now() - head.since <= parts.policy.grace


async def _revoke(tx: Transaction, parts: AuthParts, scope: Scope, token: StoredRefreshToken) -> None:
    now = parts.clock.now()
    await SessionRepository(scope).revoke(tx, token.session_id, at=now)
    await AuditRepository(_SYSTEM, scope.tenant_id).append(
        tx,
        "session.reuse_detected",
        target=str(token.session_id),
        at=now,
        detail={"user_id": str(scope.user_id), "generation": token.generation},
    )
    parts.revoke_after_commit(tx, [token.session_id], at=now)
