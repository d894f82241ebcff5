"""What a principal may do: permissions, roles, and the one decision function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Permission(StrEnum):
    """One right. Routes, operations and tools each declare the one that they need."""

    THREADS_READ = "threads:read"
    THREADS_WRITE = "threads:write"
    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    APPROVALS_DECIDE = "approvals:decide"
    AGENTS_READ = "agents:read"
    USAGE_READ = "usage:read"
    PROFILE_READ = "profile:read"
    PROFILE_WRITE = "profile:write"
    SESSIONS_MANAGE = "sessions:manage"
    TOOLS_BASIC = "tools:basic"
    TOOLS_EXTERNAL = "tools:external"
    ADMIN_USERS = "admin:users"
    ADMIN_RUNS = "admin:runs"
    ADMIN_RUNS_CANCEL = "admin:runs_cancel"
    ADMIN_REPAIRS = "admin:repairs"
    ADMIN_TENANT = "admin:tenant"
    ADMIN_AUDIT = "admin:audit"
    METRICS_READ = "metrics:read"


class Role(StrEnum):
    """A named set of permissions that a user has in a tenant."""

    MEMBER = "member"
    ADMIN = "admin"


_MEMBER = frozenset(
    {
        Permission.THREADS_READ,
        Permission.THREADS_WRITE,
        Permission.RUNS_READ,
        Permission.RUNS_WRITE,
        Permission.APPROVALS_DECIDE,
        Permission.AGENTS_READ,
        Permission.USAGE_READ,
        Permission.PROFILE_READ,
        Permission.PROFILE_WRITE,
        Permission.SESSIONS_MANAGE,
        Permission.TOOLS_BASIC,
    }
)

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.MEMBER: _MEMBER,
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether something is allowed, and why."""

    allowed: bool
    reason: str


def permissions_of(role: Role, grants: frozenset[str] = frozenset()) -> frozenset[str]:
    """The permissions of a role together with what was granted to the user by name. Users with the same ones share them."""
    return _together(ROLE_PERMISSIONS[role], grants)


@lru_cache(maxsize=1024)
def _together(permissions: frozenset[Permission], grants: frozenset[str]) -> frozenset[str]:
    return frozenset(str(permission) for permission in permissions) | grants


def decide(granted: frozenset[str], needed: str) -> Decision:
    """Allow exactly what is granted; everything else is denied, and the reason names it."""
    if needed in granted:
        return Decision(allowed=True, reason=f"granted: {needed}")
    return Decision(allowed=False, reason=f"the permission {needed} is not granted")
