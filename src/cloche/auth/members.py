"""Users as an administrator of their tenant sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cloche.auth.emails import normalise_email
from cloche.auth.opening import AuthParts
from cloche.auth.passwords import check_password
from cloche.auth.users import check_role, clean_name, disable, enable, require_other_admin
from cloche.domain.permissions import Permission, Role
from cloche.domain.scope import Scope
from cloche.errors import InvalidInputError
from cloche.ids import UserId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest
from cloche.storage.users import MemberRepository, User

MAX_PERMISSION = 100


class Members:
    """Every call needs a scope with ``admin:users`` and works on that scope's tenant. ``SignIn.members`` is in use.

    Each method raises PermissionDeniedError without that permission, and NotFoundError for a user of another tenant
    as for one that does not exist.
    """

    def __init__(self, parts: AuthParts) -> None:
        self._parts = parts

    async def list(self, scope: Scope, page: PageRequest) -> Page[User]:
        """The tenant's users, newest first."""
        scope.require(Permission.ADMIN_USERS)

        async def work(tx: Transaction) -> Page[User]:
            return await MemberRepository(scope).list(tx, page)

        return await self._parts.database.read(work)

    async def add(self, scope: Scope, *, email: str, password: str, role: str, name: str = "") -> User:
        """The user can sign in.

        Raises:
            InvalidInputError: one of these will not do; ``details`` says which.
            AlreadyExistsError: the tenant has a user with this e-mail address.
        """
        scope.require(Permission.ADMIN_USERS)
        account = normalise_email(email)
        checked_role = check_role(role)
        stored = await self._parts.passwords.hash(check_password(password, email=account))

        async def work(tx: Transaction) -> User:
            now = self._parts.clock.now()
            user = await MemberRepository(scope).create(
                tx, email=account, name=clean_name(name, account), role=checked_role, password_hash=stored, at=now
            )
            await self._audit(tx, scope, "user.added", user.id, {"role": checked_role.value})
            return user

        return await self._parts.database.write(work)

    async def disable(self, scope: Scope, user_id: UserId) -> User:
        """The user cannot sign in, and every session is over.

        Raises:
            ConflictError: it is the tenant's last active administrator.
        """

        async def work(tx: Transaction, user: User) -> User:
            return await disable(tx, self._parts, scope, user)

        return await self._change(scope, user_id, work)

    async def enable(self, scope: Scope, user_id: UserId) -> User:
        """The user can sign in again."""

        async def work(tx: Transaction, user: User) -> User:
            return await enable(tx, self._parts, scope, user)

        return await self._change(scope, user_id, work)

    async def set_role(self, scope: Scope, user_id: UserId, role: str) -> User:
        """The user has the role, in every session, from the next request on.

        Raises:
            InvalidInputError: there is no such role.
            ConflictError: it would take the tenant's last active administrator.
        """
        wanted = check_role(role)

        async def work(tx: Transaction, user: User) -> User:
            members = MemberRepository(scope)
            if user.role is Role.ADMIN and wanted is not Role.ADMIN:
                await require_other_admin(tx, members, user)
            await self._audit(tx, scope, "user.role_set", user_id, {"from": user.role.value, "to": wanted.value})
            return await members.set_role(tx, user_id, wanted, at=self._parts.clock.now())

        return await self._change(scope, user_id, work)

    async def grant(self, scope: Scope, user_id: UserId, permission: str) -> None:
        """The user has the permission beside those of the role, from the next request on.

        Raises:
            InvalidInputError: it is blank or longer than 100 characters.
        """
        if not permission.strip() or len(permission) > MAX_PERMISSION:
            raise InvalidInputError("a permission has 1 to 100 characters", details={"place": "$.permission"})

        async def work(tx: Transaction, user: User) -> User:
            await MemberRepository(scope).grant(tx, user_id, permission, at=self._parts.clock.now())
            await self._audit(tx, scope, "permission.granted", user_id, {"permission": permission})
            return user

        await self._change(scope, user_id, work)

    async def withdraw(self, scope: Scope, user_id: UserId, permission: str) -> None:
        """The permission is not granted to the user by name, from the next request on."""

        async def work(tx: Transaction, user: User) -> User:
            await MemberRepository(scope).withdraw(tx, user_id, permission)
            await self._audit(tx, scope, "permission.withdrawn", user_id, {"permission": permission})
            return user

        await self._change(scope, user_id, work)

    async def _change(
        self, scope: Scope, user_id: UserId, change: Callable[[Transaction, User], Awaitable[User]]
    ) -> User:
        scope.require(Permission.ADMIN_USERS)

        async def work(tx: Transaction) -> User:
            user = await MemberRepository(scope).get(tx, user_id)
            tx.after_commit(lambda: self._parts.standings.forget_user(user_id))
            return await change(tx, user)

        return await self._parts.database.write(work)

    async def _audit(
        self, tx: Transaction, scope: Scope, action: str, user_id: UserId, detail: dict[str, object]
    ) -> None:
        at = self._parts.clock.now()
        await AuditRepository(scope).append(tx, action, target=str(user_id), at=at, detail=detail)
