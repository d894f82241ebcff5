"""Users as an administrator of their tenant sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cloche.auth.emails import normalise_email
from cloche.auth.opening import AuthParts
from cloche.auth.passwords import check_password
from cloche.auth.users import check_role, clean_name, disable, enable, require_other_admin
from cloche.domain.permissions import Permission, Role
from cloche.domain.scope import Scope
from cloche.errors import InvalidInputError
from cloche.ids import SessionId, UserId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest
from cloche.storage.sessions import Session, SessionRepository, SessionsSeen
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

    async def change(self, scope: Scope, user_id: UserId, *, role: str | None = None, name: str | None = None) -> User:
        """The user has the role, in every session, from the next request on, and is called so; None leaves it as it is.

        Raises:
            InvalidInputError: there is no such role.
            ConflictError: it would take the tenant's last active administrator.
        """
        wanted = None if role is None else check_role(role)

        async def work(tx: Transaction, user: User) -> User:
            members, now = MemberRepository(scope), self._parts.clock.now()
            changed = user
            if wanted is not None and wanted is not user.role:
                if user.role is Role.ADMIN:
                    await require_other_admin(tx, members, user)
                await self._audit(tx, scope, "user.role_set", user_id, {"from": user.role.value, "to": wanted.value})
                changed = await members.set_role(tx, user_id, wanted, at=now)
            if name is not None and (cleaned := clean_name(name, user.email)) != user.name:
                await self._audit(tx, scope, "user.renamed", user_id, {})
                changed = await members.set_name(tx, user_id, cleaned, at=now)
            return changed

        return await self._change(scope, user_id, work)

    async def seen(self, scope: Scope, user_ids: Sequence[UserId]) -> dict[UserId, SessionsSeen]:
        """When each of these users was last seen, and in how many sessions they can come in now."""
        scope.require(Permission.ADMIN_USERS)

        async def work(tx: Transaction) -> dict[UserId, SessionsSeen]:
            now = self._parts.clock.now()
            return {user_id: await _sessions(scope, user_id).seen(tx, at=now) for user_id in user_ids}

        return await self._parts.database.read(work)

    async def list_sessions(self, scope: Scope, user_id: UserId) -> list[Session]:
        """The user's live sessions, last used first."""
        scope.require(Permission.ADMIN_USERS)

        async def work(tx: Transaction) -> list[Session]:
            user = await MemberRepository(scope).get(tx, user_id)
            return await _sessions(scope, user.id).list(tx, at=self._parts.clock.now())

        return await self._parts.database.read(work)

    async def revoke_session(self, scope: Scope, user_id: UserId, session_id: SessionId) -> None:
        """This session of the user is over: its tokens are refused, its live connections told.

        Raises:
            NotFoundError: also where the user has no such session.
        """

        async def work(tx: Transaction, user: User) -> User:
            now = self._parts.clock.now()
            if await _sessions(scope, user.id).revoke(tx, session_id, at=now):
                await AuditRepository(scope).append(
                    tx, "session.revoked", target=str(session_id), at=now, detail={"user_id": str(user.id)}
                )
            self._parts.revoke_after_commit(tx, [session_id], at=now)
            return user

        await self._change(scope, user_id, work)

    async def revoke_sessions(self, scope: Scope, user_id: UserId) -> int:
        """Every session of the user is over; how many there were."""
        ended: list[SessionId] = []

        async def work(tx: Transaction, user: User) -> User:
            now = self._parts.clock.now()
            ended[:] = await _sessions(scope, user.id).revoke_all(tx, at=now)
            await self._audit(tx, scope, "sessions.revoked", user.id, {"sessions_ended": len(ended)})
            self._parts.revoke_after_commit(tx, tuple(ended), at=now)
            return user

        await self._change(scope, user_id, work)
        return len(ended)

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


def _sessions(scope: Scope, user_id: UserId) -> SessionRepository:
    """The sessions of a user of the scope's tenant; of a user of another one there are none."""
    return SessionRepository(Scope(tenant_id=scope.tenant_id, user_id=user_id))
