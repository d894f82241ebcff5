"""Who asks, and for which data: what every repository is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloche.domain.permissions import decide
from cloche.errors import PermissionDeniedError
from cloche.ids import SessionId, TenantId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated user, as the verified token and the user's row say."""

    tenant_id: TenantId
    user_id: UserId
    session_id: SessionId
    email: str = field(repr=False)
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One tenant, one principal and the permissions a call may use.

    Guarantees: a repository made from a scope reads and writes only rows of its tenant and, where rows are
    personal, of its user.
    """

    tenant_id: TenantId
    user_id: UserId
    session_id: SessionId | None = None
    permissions: frozenset[str] = frozenset()

    def require(self, permission: str) -> None:
        """Return when the permission is granted.

        Raises:
            PermissionDeniedError: it is not; the message names it.
        """
        decision = decide(self.permissions, permission)
        if not decision.allowed:
            raise PermissionDeniedError(decision.reason, details={"permission": str(permission)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScope:
    """The program itself, for what crosses users: claim, sweep, sign-in and retention. Its uses are counted."""

    purpose: str
