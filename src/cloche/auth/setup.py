"""The first start: a secret on the operator's screen makes the first administrator."""

from __future__ import annotations

from cloche.auth.emails import normalise_email
from cloche.auth.opaque import OpaqueSecret, SecretKind, make_secret, read_secret
from cloche.auth.opening import AuthParts, Device, Opened, SignedIn
from cloche.auth.passwords import check_password
from cloche.auth.users import clean_name
from cloche.domain.permissions import Role
from cloche.domain.scope import SystemScope
from cloche.errors import NotAuthenticatedError
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.tenants import TenantDirectory
from cloche.storage.tickets import SetUpTicketRepository
from cloche.storage.users import MemberRepository, SignInRepository

DEFAULT_TENANT = "default"

_SYSTEM = SystemScope(purpose="setup")


class SetUp:
    """There is no account of its own accord: who starts the server makes the first. ``SignIn.setup`` is the one in use."""

    def __init__(self, parts: AuthParts) -> None:
        self._parts = parts

    async def ensure_setup(self) -> str | None:
        """A new one-time secret while there is no user at all, None as soon as there is one.

        Guarantees: the tenant ``default`` exists when there is a secret; every older secret is void.
        """

        async def work(tx: Transaction) -> str | None:
            now = self._parts.clock.now()
            if await SignInRepository(_SYSTEM).has_any_user(tx):
                await SetUpTicketRepository(_SYSTEM).void(tx)
                return None
            tenant = await TenantDirectory(_SYSTEM).create(tx, slug=DEFAULT_TENANT, name="Default", at=now)
            text, secret = make_secret(SecretKind.SET_UP, tenant.id)
            await SetUpTicketRepository(_SYSTEM).create(
                tx, tenant.id, secret.digest, at=now, expires_at=now + self._parts.policy.setup_lifetime
            )
            return text

        return await self._parts.database.write(work)

    async def complete_setup(
        self, secret: object, email: str, password: str, name: str = "", *, user_agent: str = "", address: str = ""
    ) -> SignedIn:
        """The first administrator exists and is signed in; the secret is used up.

        Guarantees: of concurrent calls one succeeds.

        Raises:
            NotAuthenticatedError: the secret is none, was used or replaced, is over, or there is a user already.
            InvalidInputError: the e-mail address or the password will not do; the secret is still good.
        """
        taken = read_secret(SecretKind.SET_UP, secret)
        if not await self._is_live(taken):
            raise NotAuthenticatedError
        account = normalise_email(email)
        stored = await self._parts.passwords.hash(check_password(password, email=account))
        device = Device.of(user_agent, address)

        async def work(tx: Transaction) -> Opened:
            now = self._parts.clock.now()
            is_taken = await SetUpTicketRepository(_SYSTEM).take(tx, taken.tenant_id, taken.digest, at=now)
            if not is_taken or await SignInRepository(_SYSTEM).has_any_user(tx):
                raise NotAuthenticatedError
            user = await MemberRepository(_SYSTEM, taken.tenant_id).create(
                tx, email=account, name=clean_name(name, account), role=Role.ADMIN, password_hash=stored, at=now
            )
            await AuditRepository(_SYSTEM, taken.tenant_id).append(tx, "user.added", target=str(user.id), at=now)
            return await self._parts.open_session(tx, user.tenant_id, user.id, device)

        return self._parts.signed_in(await self._parts.database.write(work))

    async def _is_live(self, secret: OpaqueSecret) -> bool:
        """Nobody without the secret makes us hash a password, or learns what would do for one."""

        async def work(tx: Transaction) -> bool:
            now = self._parts.clock.now()
            return await SetUpTicketRepository(_SYSTEM).is_live(tx, secret.tenant_id, secret.digest, at=now)

        return await self._parts.database.read(work)
