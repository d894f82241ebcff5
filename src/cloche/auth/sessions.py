"""Signing in: the face of this floor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from cloche.auth.attempts import LoginLimiter
from cloche.auth.emails import normalise_email
from cloche.auth.families import rotate
from cloche.auth.members import Members
from cloche.auth.opaque import SecretKind, read_secret
from cloche.auth.opening import AuthParts, Device, Opened, SignedIn, own_scope
from cloche.auth.passwords import MAX_LENGTH, Passwords, check_password
from cloche.auth.policy import SignInPolicy
from cloche.auth.revocations import OnRevoked, Revocations
from cloche.auth.setup import SetUp
from cloche.auth.standings import Standing, Standings
from cloche.auth.tickets import Tickets
from cloche.auth.tokens import AccessTokens
from cloche.auth.users import Users
from cloche.clock import Clock
from cloche.domain.scope import Principal, Scope, SystemScope
from cloche.errors import (
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    SessionRevokedError,
    TenantRequiredError,
)
from cloche.ids import SessionId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.sessions import Session, SessionDirectory, SessionRepository
from cloche.storage.tickets import TicketRedemption
from cloche.storage.users import SignInCandidate, SignInRepository, User, UserRepository

_SYSTEM = SystemScope(purpose="sign-in")
_OVERLAP = timedelta(seconds=10)


class SignIn:
    """Who is it, and may they still come in. All that people and edges need of this floor hangs here.

    Attributes:
        tickets: one-time tickets for live connections.
        setup: the first start and its first administrator.
        users: users as the command line sees them, by tenant and e-mail address.
        members: users as an administrator of their tenant sees them.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        tokens: AccessTokens,
        passwords: Passwords,
        limiter: LoginLimiter,
        policy: SignInPolicy,
    ) -> None:
        revocations = Revocations(clock, keep=policy.access_lifetime + 2 * policy.leeway)
        standings = Standings(database, clock, revocations, lifetime=policy.standing_lifetime)
        revocations.subscribe(tokens.forget)
        revocations.subscribe(standings.forget_session)
        self._parts = AuthParts(
            database=database,
            clock=clock,
            policy=policy,
            passwords=passwords,
            tokens=tokens,
            revocations=revocations,
            standings=standings,
        )
        self._limiter = limiter
        self._caught_up_to: datetime | None = None
        self.tickets = Tickets(self._parts)
        self.setup = SetUp(self._parts)
        self.users = Users(self._parts)
        self.members = Members(self._parts)

    async def catch_up(self) -> None:
        """Sessions that were revoked before this start, or by another process, count as revoked here.

        To be called at start; and again whenever another process may have revoked a session.
        """
        revocations = self._parts.revocations
        since = revocations.horizon
        if self._caught_up_to is not None:
            since = max(since, self._caught_up_to - _OVERLAP)
        now = self._parts.clock.now()

        async def work(tx: Transaction) -> list[tuple[SessionId, datetime]]:
            return await SessionDirectory(_SYSTEM).list_revoked(tx, since=since)

        for session_id, at in await self._parts.database.read(work):
            revocations.add([session_id], at=at)
        self._caught_up_to = now

    async def remove_expired(self) -> int:
        """The rows of expired sessions and tickets are gone; how many sessions there were.

        Sessions are kept a day longer than they are valid, so that a list of them can show how they ended.
        """
        now = self._parts.clock.now()

        async def work(tx: Transaction) -> int:
            await TicketRedemption(_SYSTEM).delete_expired(tx, before=now)
            return await SessionDirectory(_SYSTEM).delete_expired(tx, before=now - timedelta(days=1))

        return await self._parts.database.write(work)

    def on_revoked(self, callback: OnRevoked) -> Callable[[], None]:
        """Call ``callback`` with each session that ends by revocation; the returned function ends that.

        The callback runs on the event loop as soon as the revocation is durable. It returns at once and never raises.
        """
        return self._parts.revocations.subscribe(callback)

    async def login(
        self, email: str, password: str, *, tenant: str | None = None, user_agent: str = "", address: str = ""
    ) -> SignedIn:
        """A new session of the user whose e-mail address and password these are.

        Args:
            email: in any spelling that ``normalise_email`` takes.
            password: as it was typed.
            tenant: the slug of the tenant; needed only where the password is right in several.
            user_agent: shown in the user's list of sessions.
            address: the client's network address, which attempts are counted by.

        Raises:
            InvalidInputError: the e-mail address is none.
            NotAuthenticatedError: no active user has them; the answer is the same, and as slow, for each reason.
            TenantRequiredError: several tenants' users have them; ``details`` lists these tenants.
            RateLimitedError: too many attempts.
        """
        account = normalise_email(email)
        self._limiter.check(account, address)

        async def work(tx: Transaction) -> list[SignInCandidate]:
            return await SignInRepository(_SYSTEM).list_candidates(tx, account, slug=tenant)

        proven = await self._proven(await self._parts.database.read(work), password)
        if not proven:
            raise _wrong_credentials()
        self._limiter.forgive(account, address)
        if len(proven) > 1:
            tenants = [{"slug": one.tenant_slug, "name": one.tenant_name} for one in proven]
            raise TenantRequiredError(details={"tenants": tenants})
        return await self._open(proven[0], password, Device.of(user_agent, address))

    async def refresh(self, refresh_token: object) -> SignedIn:
        """New tokens for the session, in exchange for its refresh token, which is used up.

        A token that comes again within the grace gives another successor; later, or from an older generation, it ends
        the session.

        Raises:
            NotAuthenticatedError: it is none, or its time is over.
            SessionRevokedError: the session has ended, or this call ended it.
        """
        secret = read_secret(SecretKind.REFRESH, refresh_token)

        async def work(tx: Transaction) -> Opened | None:
            return await rotate(tx, self._parts, secret)

        opened = await self._parts.database.write(work)
        if opened is None:
            raise SessionRevokedError
        return self._parts.signed_in(opened)

    async def authenticate(self, access_token: object) -> Principal:
        """Who sends this access token, with the role that the user has now.

        Guarantees: after a revocation in this process the next call refuses; after one elsewhere, within a second.

        Raises:
            TokenExpiredError: refresh it and come back.
            SessionRevokedError: the session was ended, or the user disabled.
            NotAuthenticatedError: it is no valid access token.
        """
        claims = self._parts.tokens.verify(access_token)
        standing = await self._parts.standings.get(claims.tenant_id, claims.user_id, claims.session_id)
        return standing.principal

    async def scope_of(self, principal: Principal) -> Scope:
        """What the principal may use now: the permissions of the role, and those granted by name.

        Raises:
            SessionRevokedError: the session was ended, or the user disabled.
        """
        standing = await self._standing(principal)
        return Scope(
            tenant_id=principal.tenant_id,
            user_id=principal.user_id,
            session_id=principal.session_id,
            permissions=standing.permissions,
        )

    async def me(self, principal: Principal) -> User:
        """The principal's own user.

        Raises:
            NotFoundError: it was removed.
        """

        async def work(tx: Transaction) -> User:
            return await UserRepository(own_scope(principal)).get(tx)

        return await self._parts.database.read(work)

    async def logout(self, principal: Principal) -> None:
        """The principal's session is over; doing it again changes nothing.

        Raises:
            NotFoundError: the session was removed.
        """
        await self.revoke_session(principal, principal.session_id)

    async def revoke_session(self, principal: Principal, session_id: SessionId) -> None:
        """This session of the principal's user is over: its tokens are refused, its live connections told.

        Raises:
            NotFoundError: the user has no such session.
        """

        async def work(tx: Transaction) -> None:
            now = self._parts.clock.now()
            scope = own_scope(principal)
            if await SessionRepository(scope).revoke(tx, session_id, at=now):
                await AuditRepository(scope).append(tx, "session.revoked", target=str(session_id), at=now)
            self._parts.revoke_after_commit(tx, [session_id], at=now)

        await self._parts.database.write(work)

    async def list_sessions(self, principal: Principal) -> list[Session]:
        """The live sessions of the principal's user, last used first."""

        async def work(tx: Transaction) -> list[Session]:
            return await SessionRepository(own_scope(principal)).list(tx, at=self._parts.clock.now())

        return await self._parts.database.read(work)

    async def change_password(self, principal: Principal, *, current: str, wanted: str) -> None:
        """The user signs in with ``wanted`` from now on, and every session but this one is over.

        Raises:
            InvalidInputError: the current password is wrong, or the wanted one may not be one; ``details`` says which.
            RateLimitedError: too many attempts.
            ConflictError: the password was changed at the same time.
        """
        checked = check_password(wanted, email=principal.email, place="$.new_password")
        self._limiter.check(str(principal.user_id), None)
        scope = own_scope(principal)

        async def read(tx: Transaction) -> str | None:
            return await UserRepository(scope).find_password_hash(tx)

        found = await self._parts.database.read(read)
        if not await self._parts.passwords.verify(found, current) or found is None:
            raise InvalidInputError("the current password is wrong", details={"place": "$.current_password"})
        stored = await self._parts.passwords.hash(checked)

        async def work(tx: Transaction) -> None:
            now = self._parts.clock.now()
            if not await UserRepository(scope).replace_password_hash(tx, found=found, wanted=stored, at=now):
                raise ConflictError("the password was changed at the same time")
            ended = await SessionRepository(scope).revoke_all(tx, at=now, keep=principal.session_id)
            await AuditRepository(scope).append(
                tx, "password.changed", target=str(principal.user_id), at=now, detail={"sessions_ended": len(ended)}
            )
            self._parts.revoke_after_commit(tx, ended, at=now)

        await self._parts.database.write(work)
        self._limiter.forgive(str(principal.user_id), None)

    async def _standing(self, principal: Principal) -> Standing:
        return await self._parts.standings.get(principal.tenant_id, principal.user_id, principal.session_id)

    async def _proven(self, candidates: list[SignInCandidate], password: str) -> list[SignInCandidate]:
        """The active candidates whose password it is. Without any candidate it takes as long as with one."""
        if len(password) > MAX_LENGTH:
            return []
        hashes = [one.password_hash for one in candidates] or [None]
        matches = await asyncio.gather(*(self._parts.passwords.verify(one, password) for one in hashes))
        return [one for one, is_match in zip(candidates, matches, strict=False) if is_match and one.is_active]

    async def _open(self, proven: SignInCandidate, password: str, device: Device) -> SignedIn:
        found = proven.password_hash
        assert found is not None, "a password was proven against it"
        needs_rehash = self._parts.passwords.needs_rehash(found)
        wanted = await self._parts.passwords.hash(password) if needs_rehash else found

        async def work(tx: Transaction) -> Opened:
            repository = UserRepository(Scope(tenant_id=proven.tenant_id, user_id=proven.user_id))
            # The write holds the row: a password that is changed meanwhile ends this session too, or refuses it here.
            now = self._parts.clock.now()
            is_same = await repository.replace_password_hash(tx, found=found, wanted=wanted, at=now)
            if not is_same or not await repository.may_sign_in(tx):
                raise _wrong_credentials()
            return await self._parts.open_session(tx, proven.tenant_id, proven.user_id, device)

        return self._parts.signed_in(await self._parts.database.write(work))


def _wrong_credentials() -> NotAuthenticatedError:
    return NotAuthenticatedError("the e-mail address or the password is wrong")
