"""Users as the command line sees them: by the tenant's slug and the e-mail address."""

from __future__ import annotations

import re

from cloche.auth.emails import normalise_email
from cloche.auth.opening import AuthParts
from cloche.auth.passwords import check_password
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import ConflictError, InvalidInputError
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest
from cloche.storage.sessions import SessionRepository
from cloche.storage.tenants import ACTIVE, Tenant, TenantDirectory
from cloche.storage.users import DISABLED, MemberRepository, User

MAX_NAME = 200

_OPERATOR = SystemScope(purpose="operator")
_match_slug = re.compile(r"[a-z0-9][a-z0-9-]{0,62}").fullmatch


class Users:
    """What an operator may do with users from the machine itself. ``SignIn.users`` is the one in use."""

    def __init__(self, parts: AuthParts) -> None:
        self._parts = parts

    async def add_user(
        self, email: str, password: str, role: str, tenant: str, *, name: str = "", create_tenant: bool = False
    ) -> User:
        """The user can sign in.

        Args:
            email: unique in the tenant, in any spelling.
            password: 12 to 1024 characters.
            role: the name of a role.
            tenant: the slug of the tenant.
            name: how the user is called; by default what stands before the @.
            create_tenant: make the tenant when there is none of that slug.

        Raises:
            InvalidInputError: one of these will not do; ``details`` says which.
            NotFoundError: there is no such tenant.
            AlreadyExistsError: the tenant has a user with this e-mail address.
        """
        account = normalise_email(email)
        checked_role = check_role(role)
        checked_slug = _check_slug(tenant)
        stored = await self._parts.passwords.hash(check_password(password, email=account))

        async def work(tx: Transaction) -> User:
            now = self._parts.clock.now()
            directory = TenantDirectory(_OPERATOR)
            if create_tenant:
                home = await directory.create(tx, slug=checked_slug, name=checked_slug, at=now)
            else:
                home = await directory.get(tx, checked_slug)
            members = MemberRepository(_OPERATOR, home.id)
            user = await members.create(
                tx,
                email=account,
                name=clean_name(name, account),
                role=checked_role,
                password_hash=stored,
                at=now,
            )
            await AuditRepository(_OPERATOR, home.id).append(
                tx, "user.added", target=str(user.id), at=now, detail={"role": checked_role.value}
            )
            return user

        return await self._parts.database.write(work)

    async def disable_user(self, email: str, tenant: str) -> User:
        """The user cannot sign in, and every session is over.

        Raises:
            NotFoundError: there is no such tenant or user.
            ConflictError: it is the tenant's last active administrator.
        """
        account = normalise_email(email)

        async def work(tx: Transaction) -> User:
            home = await TenantDirectory(_OPERATOR).get(tx, tenant)
            user = await MemberRepository(_OPERATOR, home.id).get_by_email(tx, account)
            return await disable(tx, self._parts, _OPERATOR, user)

        return await self._parts.database.write(work)

    async def enable_user(self, email: str, tenant: str) -> User:
        """The user can sign in again; sessions that were ended stay so.

        Raises:
            NotFoundError: there is no such tenant or user.
        """
        account = normalise_email(email)

        async def work(tx: Transaction) -> User:
            home = await TenantDirectory(_OPERATOR).get(tx, tenant)
            user = await MemberRepository(_OPERATOR, home.id).get_by_email(tx, account)
            return await enable(tx, self._parts, _OPERATOR, user)

        return await self._parts.database.write(work)

    async def set_password(self, email: str, tenant: str, password: str) -> None:
        """The user signs in with this password from now on, and every session is over: for who forgot the old one.

        Raises:
            InvalidInputError: the password will not do.
            NotFoundError: there is no such tenant or user.
        """
        account = normalise_email(email)
        stored = await self._parts.passwords.hash(check_password(password, email=account))

        async def work(tx: Transaction) -> None:
            now = self._parts.clock.now()
            home = await TenantDirectory(_OPERATOR).get(tx, tenant)
            members = MemberRepository(_OPERATOR, home.id)
            user = await members.get_by_email(tx, account)
            await members.set_password_hash(tx, user.id, stored, at=now)
            await end_sessions(tx, self._parts, user)
            await AuditRepository(_OPERATOR, home.id).append(tx, "password.set", target=str(user.id), at=now)

        await self._parts.database.write(work)

    async def list_users(self, tenant: str, page: PageRequest | None = None) -> Page[User]:
        """The tenant's users, newest first.

        Raises:
            NotFoundError: there is no such tenant.
        """

        async def work(tx: Transaction) -> Page[User]:
            home = await TenantDirectory(_OPERATOR).get(tx, tenant)
            return await MemberRepository(_OPERATOR, home.id).list(tx, page or PageRequest())

        return await self._parts.database.read(work)

    async def list_tenants(self) -> list[Tenant]:
        """Every tenant, by slug."""

        async def work(tx: Transaction) -> list[Tenant]:
            return await TenantDirectory(_OPERATOR).list(tx)

        return await self._parts.database.read(work)


async def disable(tx: Transaction, parts: AuthParts, by: Scope | SystemScope, user: User) -> User:
    """The user cannot sign in, every session is over, and the trail says who did it.

    Raises:
        ConflictError: it is the tenant's last active administrator.
    """
    now = parts.clock.now()
    members = MemberRepository(by, user.tenant_id)
    if user.role is Role.ADMIN:
        await require_other_admin(tx, members, user)
    disabled = await members.set_status(tx, user.id, DISABLED, at=now)
    await end_sessions(tx, parts, user)
    await AuditRepository(by, user.tenant_id).append(tx, "user.disabled", target=str(user.id), at=now)
    return disabled


async def enable(tx: Transaction, parts: AuthParts, by: Scope | SystemScope, user: User) -> User:
    """The user can sign in again, and the trail says who did it."""
    now = parts.clock.now()
    enabled = await MemberRepository(by, user.tenant_id).set_status(tx, user.id, ACTIVE, at=now)
    await AuditRepository(by, user.tenant_id).append(tx, "user.enabled", target=str(user.id), at=now)
    return enabled


async def end_sessions(tx: Transaction, parts: AuthParts, user: User) -> None:
    """Every session of the user is over."""
    now = parts.clock.now()
    ended = await SessionRepository(Scope(tenant_id=user.tenant_id, user_id=user.id)).revoke_all(tx, at=now)
    parts.revoke_after_commit(tx, ended, at=now)


async def require_other_admin(tx: Transaction, members: MemberRepository, user: User) -> None:
    """Return when somebody else can still administer the tenant.

    Raises:
        ConflictError: nobody could.
    """
    if not await members.has_admin_besides(tx, user.id):
        raise ConflictError("this is the tenant's last active administrator; make another one first")


def check_role(text: str) -> Role:
    """The role of that name.

    Raises:
        InvalidInputError: there is none.
    """
    try:
        return Role(text)
    except ValueError:
        known = [role.value for role in Role]
        raise InvalidInputError(
            f"a role is one of {', '.join(known)}", details={"place": "$.role", "known": known}
        ) from None


def clean_name(name: str, email: str) -> str:
    """How a user is called: one printable line, or else what stands before the @."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    return " ".join(printable.split())[:MAX_NAME] or email.partition("@")[0]


def _check_slug(text: str) -> str:
    if not _match_slug(text):
        raise InvalidInputError(
            "a tenant's slug has 1 to 63 of a-z, 0-9 and -, and begins with no -", details={"place": "$.tenant"}
        )
    return text
