"""A sign-in floor on a real database, with cheap passwords and a clock that stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from argon2 import PasswordHasher

from cloche.auth.attempts import LoginLimiter
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.opening import SignedIn
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.sessions import SignIn
from cloche.auth.tokens import AccessTokens
from cloche.domain.scope import Principal, SystemScope
from cloche.ids import IDType, SessionId, TenantId, generate_id
from cloche.storage.audit import AuditLine, AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.pages import PageRequest
from cloche.storage.users import User
from cloche.testing.clock import ManualClock

PASSWORD = "correct horse battery staple"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass(kw_only=True)
class House:
    """One tenant of its own, and the parts of the floor; ``another()`` is a second process on the same database."""

    database: Database
    clock: ManualClock
    keys: SigningKeys
    policy: SignInPolicy
    tokens: AccessTokens = field(init=False)
    sign_in: SignIn = field(init=False)
    hasher: PasswordHasher = CHEAP
    suffix: str = field(default_factory=lambda: generate_id(IDType.TENANT)[-12:])
    revoked: list[SessionId] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = AccessTokens(self.keys, self.clock, self.policy)
        self.sign_in = SignIn(
            database=self.database,
            clock=self.clock,
            tokens=self.tokens,
            passwords=Passwords(hasher=self.hasher),
            limiter=LoginLimiter(self.clock),
            policy=self.policy,
        )
        self.sign_in.on_revoked(self.revoked.append)

    @property
    def tenant(self) -> str:
        return f"tenant-{self.suffix}"

    def email(self, name: str = "ada") -> str:
        return f"{name}-{self.suffix}@example.org"

    def another(self, *, hasher: PasswordHasher = CHEAP) -> House:
        return House(
            database=self.database,
            clock=self.clock,
            keys=self.keys,
            policy=self.policy,
            hasher=hasher,
            suffix=self.suffix,
        )

    async def add(
        self, name: str = "ada", *, role: str = "member", tenant: str | None = None, password: str = PASSWORD
    ) -> User:
        return await self.sign_in.users.add_user(
            self.email(name), password, role, tenant or self.tenant, create_tenant=True
        )

    async def login(self, name: str = "ada", *, password: str = PASSWORD, tenant: str | None = None) -> SignedIn:
        return await self.sign_in.login(
            self.email(name), password, tenant=tenant, user_agent="Firefox", address="192.0.2.7"
        )

    async def enter(self, name: str = "ada", *, role: str = "member") -> SignedIn:
        await self.add(name, role=role)
        return await self.login(name)

    async def trail(self, tenant_id: TenantId) -> Sequence[AuditLine]:
        async def work(tx: Transaction) -> Sequence[AuditLine]:
            return (
                await AuditRepository(SystemScope(purpose="test"), tenant_id).list(tx, PageRequest(limit=100))
            ).items

        return await self.database.read(work)

    async def count(self, principal: Principal, action: str) -> int:
        return sum(1 for line in await self.trail(principal.tenant_id) if line.action == action)


@pytest.fixture
def house(database: Database) -> House:
    clock = ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
    return House(database=database, clock=clock, keys=SigningKeys([make_key()]), policy=SignInPolicy())
