"""Users with open sessions and empty threads, written straight into a data folder that no server has yet."""

from __future__ import annotations

from pathlib import Path

from bench.generator import Person
from cloche.auth.keys import load_keys
from cloche.auth.opening import AuthParts, Device
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.revocations import Revocations
from cloche.auth.standings import Standings
from cloche.auth.tokens import AccessTokens
from cloche.clock import SystemClock
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.sqlite import DATABASE_FILE, open_sqlite, owned
from cloche.storage.tenants import TenantDirectory
from cloche.storage.threads import ThreadRepository
from cloche.storage.users import MemberRepository

_OPERATOR = SystemScope(purpose="people of the measurements")


async def make_people(data: Path, count: int, *, threads: int = 0) -> list[Person]:
    """``count`` new users of one tenant, whose access tokens are good for 15 minutes.

    One password hash serves all: it is slow to make, and nobody signs in with it.
    """
    clock, policy, passwords = SystemClock(), SignInPolicy(), Passwords()
    password_hash = await passwords.hash("correct horse battery staple")
    with owned(data):
        async with open_sqlite(data / DATABASE_FILE, clock=clock) as database:
            revocations = Revocations(clock, keep=policy.access_lifetime)
            parts = AuthParts(
                database=database,
                clock=clock,
                policy=policy,
                passwords=passwords,
                tokens=AccessTokens(load_keys(data / "keys"), clock, policy),
                revocations=revocations,
                standings=Standings(database, clock, revocations, lifetime=policy.standing_lifetime),
            )

            async def work(tx: Transaction) -> list[Person]:
                now = clock.now()
                home = await TenantDirectory(_OPERATOR).create(tx, slug="bench", name="Bench", at=now)
                members, people = MemberRepository(_OPERATOR, home.id), list[Person]()
                for number in range(count):
                    email = f"user{number}@example.org"
                    user = await members.create(
                        tx, email=email, name=email, role=Role.MEMBER, password_hash=password_hash, at=now
                    )
                    opened = await parts.open_session(tx, home.id, user.id, Device.of("bench", "127.0.0.1"))
                    own = [ThreadId.new() for _ in range(threads)]
                    repository = ThreadRepository(Scope(tenant_id=home.id, user_id=user.id))
                    for thread_id in own:
                        await repository.create(tx, thread_id, title="bench", metadata={}, at=now)
                    people.append(Person(token=parts.signed_in(opened).access_token, threads=[str(one) for one in own]))
                return people

            return await database.write(work)
