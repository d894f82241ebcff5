"""Users, their password hashes and their grants in the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import AlreadyExistsError, NotFoundError
from cloche.ids import TenantId, UserId
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of
from cloche.storage.tenants import ACTIVE

DISABLED = "disabled"
PASSWORD = "password"  # noqa: S105 -- the name of an identity's provider

MAX_CANDIDATES = 8
_COLUMNS = "tenant_id, id, email, name, role, status, created_at, updated_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person in a tenant."""

    tenant_id: TenantId
    id: UserId
    email: str = field(repr=False)
    name: str = field(repr=False)
    role: Role
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInCandidate:
    """A user whom an e-mail address may mean; ``password_hash`` is None for who signs in by other ways only."""

    tenant_id: TenantId
    tenant_slug: str
    tenant_name: str
    user_id: UserId
    is_active: bool
    password_hash: str | None = field(repr=False)


class _UserRow(NamedTuple):
    tenant_id: str
    id: str
    email: str
    name: str
    role: str
    status: str
    created_at: int
    updated_at: int


class _CandidateRow(NamedTuple):
    tenant_id: str
    tenant_slug: str
    tenant_name: str
    user_id: str
    tenant_status: str
    status: str
    secret_hash: str | None


class _HashRow(NamedTuple):
    secret_hash: str | None


class _PermissionRow(NamedTuple):
    permission: str


class _OneRow(NamedTuple):
    one: int


class UserRepository:
    """The row of one user: that of the scope."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def get(self, tx: Transaction) -> User:
        """The scope's own user.

        Raises:
            NotFoundError: the user was removed.
        """
        row = await tx.first(
            _UserRow, f"SELECT {_COLUMNS} FROM users WHERE tenant_id = ? AND id = ?", self._tenant, self._user
        )
        if row is None:
            raise NotFoundError("there is no such user")
        return _user(row)

    async def may_sign_in(self, tx: Transaction) -> bool:
        """Whether the user and the tenant are active."""
        row = await tx.first(
            _OneRow,
            "SELECT 1 FROM users JOIN tenants ON tenants.id = users.tenant_id "
            "WHERE users.tenant_id = ? AND users.id = ? AND users.status = ? AND tenants.status = ?",
            self._tenant,
            self._user,
            ACTIVE,
            ACTIVE,
        )
        return row is not None

    async def list_grants(self, tx: Transaction) -> frozenset[str]:
        """What was granted to the user by name, beside the role."""
        rows = await tx.fetch(
            _PermissionRow,
            "SELECT permission FROM grants WHERE tenant_id = ? AND subject = ?",
            self._tenant,
            self._user,
        )
        return frozenset(row.permission for row in rows)

    async def find_password_hash(self, tx: Transaction) -> str | None:
        """The user's password hash; None for who signs in by other ways only."""
        row = await tx.first(
            _HashRow,
            "SELECT secret_hash FROM identities WHERE tenant_id = ? AND user_id = ? AND provider = ?",
            self._tenant,
            self._user,
            PASSWORD,
        )
        return None if row is None else row.secret_hash

    async def replace_password_hash(self, tx: Transaction, *, found: str, wanted: str, at: datetime) -> bool:
        """Whether the stored hash was still ``found``; it is ``wanted`` then."""
        changed = await tx.execute(
            "UPDATE identities SET secret_hash = ?, updated_at = ? "
            "WHERE tenant_id = ? AND user_id = ? AND provider = ? AND secret_hash = ?",
            wanted,
            to_micros(at),
            self._tenant,
            self._user,
            PASSWORD,
            found,
        )
        return changed > 0


class MemberRepository:
    """The users of one tenant: for its administrators, and for the command line.

    Args:
        scope: who asks; a ``SystemScope`` names the tenant beside it.
    """

    def __init__(self, scope: Scope | SystemScope, tenant_id: TenantId | None = None) -> None:
        own = scope.tenant_id if isinstance(scope, Scope) else tenant_id
        assert own is not None, "a system scope works on one named tenant"
        assert tenant_id is None or tenant_id == own, "a user's scope never reaches into another tenant"
        self._tenant = str(own)

    async def create(
        self, tx: Transaction, *, email: str, name: str, role: Role, password_hash: str, at: datetime
    ) -> User:
        """The user exists and can sign in with the password behind the hash.

        Raises:
            AlreadyExistsError: the tenant has a user with this e-mail address.
        """
        user_id = UserId.new()
        now = to_micros(at)
        written = await tx.execute(
            f"INSERT INTO users ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            self._tenant,
            str(user_id),
            email,
            name,
            role.value,
            ACTIVE,
            now,
            now,
        )
        if not written:
            raise AlreadyExistsError("a user with this e-mail address exists", details={"place": "$.email"})
        await self.set_password_hash(tx, user_id, password_hash, at=at)
        return await self.get(tx, user_id)

    async def set_password_hash(self, tx: Transaction, user_id: UserId, password_hash: str, *, at: datetime) -> None:
        """The user signs in with the password behind the hash, whatever was there before."""
        now = to_micros(at)
        await tx.execute(
            "INSERT INTO identities (tenant_id, user_id, provider, subject, secret_hash, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant_id, user_id, provider) "
            "DO UPDATE SET secret_hash = excluded.secret_hash, updated_at = excluded.updated_at",
            self._tenant,
            str(user_id),
            PASSWORD,
            str(user_id),
            password_hash,
            now,
            now,
        )

    async def get(self, tx: Transaction, user_id: UserId) -> User:
        """The user.

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        return await self._get(tx, "id", str(user_id))

    async def get_by_email(self, tx: Transaction, email: str) -> User:
        """The user with this e-mail address.

        Raises:
            NotFoundError: the tenant has none.
        """
        return await self._get(tx, "email", email)

    async def list(self, tx: Transaction, page: PageRequest) -> Page[User]:
        """The tenant's users, newest first."""
        number, identity = page.before or (2**62, "~")
        rows = await tx.fetch(
            _UserRow,
            f"SELECT {_COLUMNS} FROM users WHERE tenant_id = ? AND (created_at, id) < (?, ?) "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            self._tenant,
            number,
            identity,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        cursor = cursor_of("users", kept[-1].created_at, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[_user(row) for row in kept], next_cursor=cursor)

    async def set_status(self, tx: Transaction, user_id: UserId, status: str, *, at: datetime) -> User:
        """The user has the status.

        Raises:
            NotFoundError: the tenant has no such user.
        """
        return await self._set(tx, user_id, "status", status, at)

    async def set_role(self, tx: Transaction, user_id: UserId, role: Role, *, at: datetime) -> User:
        """The user has the role.

        Raises:
            NotFoundError: the tenant has no such user.
        """
        return await self._set(tx, user_id, "role", role.value, at)

    async def set_name(self, tx: Transaction, user_id: UserId, name: str, *, at: datetime) -> User:
        """The user is called so.

        Raises:
            NotFoundError: the tenant has no such user.
        """
        return await self._set(tx, user_id, "name", name, at)

    async def has_admin_besides(self, tx: Transaction, user_id: UserId) -> bool:
        """Whether the tenant has an active administrator other than this user."""
        row = await tx.first(
            _OneRow,
            "SELECT 1 FROM users WHERE tenant_id = ? AND role = ? AND status = ? AND id <> ? LIMIT 1",
            self._tenant,
            Role.ADMIN.value,
            ACTIVE,
            str(user_id),
        )
        return row is not None

    async def grant(self, tx: Transaction, user_id: UserId, permission: str, *, at: datetime) -> None:
        """The permission is granted to the user; granting it again changes nothing."""
        await tx.execute(
            "INSERT INTO grants (tenant_id, subject, permission, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            self._tenant,
            str(user_id),
            permission,
            to_micros(at),
        )

    async def withdraw(self, tx: Transaction, user_id: UserId, permission: str) -> None:
        """The permission is not granted to the user by name."""
        await tx.execute(
            "DELETE FROM grants WHERE tenant_id = ? AND subject = ? AND permission = ?",
            self._tenant,
            str(user_id),
            permission,
        )

    async def _get(self, tx: Transaction, column: str, value: str) -> User:
        row = await tx.first(
            _UserRow, f"SELECT {_COLUMNS} FROM users WHERE tenant_id = ? AND {column} = ?", self._tenant, value
        )
        if row is None:
            raise NotFoundError("there is no such user")
        return _user(row)

    async def _set(self, tx: Transaction, user_id: UserId, column: str, value: str, at: datetime) -> User:
        await tx.execute(
            f"UPDATE users SET {column} = ?, updated_at = ? WHERE tenant_id = ? AND id = ?",
            value,
            to_micros(at),
            self._tenant,
            str(user_id),
        )
        return await self.get(tx, user_id)


class SignInRepository:
    """Whom an e-mail address may mean, before there is a scope."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def list_candidates(self, tx: Transaction, email: str, *, slug: str | None) -> list[SignInCandidate]:
        """The users with this e-mail address, of one tenant or of the first ``MAX_CANDIDATES``."""
        rows = await tx.fetch(
            _CandidateRow,
            "SELECT users.tenant_id, tenants.slug, tenants.name, users.id, tenants.status, users.status, "
            "identities.secret_hash FROM users JOIN tenants ON tenants.id = users.tenant_id "
            "LEFT JOIN identities ON identities.tenant_id = users.tenant_id AND identities.user_id = users.id "
            "AND identities.provider = ? WHERE users.email = ?"
            + (" AND tenants.slug = ?" if slug is not None else "")
            + " "
            "ORDER BY tenants.slug LIMIT ?",
            PASSWORD,
            email,
            *([] if slug is None else [slug]),
            MAX_CANDIDATES,
        )
        return [_candidate(row) for row in rows]

    async def has_any_user(self, tx: Transaction) -> bool:
        """Whether there is a user at all, in any tenant."""
        return await tx.first(_OneRow, "SELECT 1 FROM users LIMIT 1") is not None


def _user(row: _UserRow) -> User:
    return User(
        tenant_id=TenantId(row.tenant_id),
        id=UserId(row.id),
        email=row.email,
        name=row.name,
        role=Role(row.role),
        status=row.status,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
    )


def _candidate(row: _CandidateRow) -> SignInCandidate:
    return SignInCandidate(
        tenant_id=TenantId(row.tenant_id),
        tenant_slug=row.tenant_slug,
        tenant_name=row.tenant_name,
        user_id=UserId(row.user_id),
        is_active=row.status == ACTIVE and row.tenant_status == ACTIVE,
        password_hash=row.secret_hash,
    )
