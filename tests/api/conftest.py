"""The edges' own fixtures: services over a whole world, people who are signed in, and an HTTP client for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from argon2 import PasswordHasher

from cloche.api.wire.parts import Check, EdgeLimits, EdgeParts, NodeState
from cloche.auth.attempts import LoginLimiter
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.opening import SignedIn
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.sessions import SignIn
from cloche.auth.tokens import AccessTokens
from cloche.domain.scope import Principal, Scope
from cloche.llm.probe import ProbeResult
from support.world import World

PASSWORD = "correct horse battery staple"


@dataclass
class Switches:
    """What a test changes about the server while it runs. ``granted`` stands for what the rows grant."""

    granted: frozenset[str] | None = None
    is_draining: bool = False
    checks: dict[str, Check] = field(
        default_factory=lambda: {"database": Check(ok=True, detail="writes", latency_ms=0.4)}
    )


class SwitchedSignIn(SignIn):
    """The real floor, whose scopes grant what a test says: no role lacks single permissions."""

    switches: Switches

    async def scope_of(self, principal: Principal) -> Scope:
        scope = await super().scope_of(principal)
        granted = self.switches.granted
        return scope if granted is None else replace(scope, permissions=granted)


@pytest.fixture
def switches() -> Switches:
    return Switches()


@pytest.fixture
async def services(idle_world: World, switches: Switches) -> EdgeParts:
    """The services of ``idle_world``; a test that also takes ``world`` has its worker at work."""
    policy, keys = SignInPolicy(), SigningKeys([make_key()])
    sign_in = SwitchedSignIn(
        database=idle_world.database,
        clock=idle_world.clock,
        tokens=AccessTokens(keys, idle_world.clock, policy),
        passwords=Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)),
        limiter=LoginLimiter(idle_world.clock),
        policy=policy,
    )
    sign_in.switches = switches

    async def readiness() -> dict[str, Check]:
        return switches.checks

    started_at = idle_world.clock.now()

    async def nodes() -> list[NodeState]:
        return [
            NodeState(
                name="worker",
                version="1.2.3",
                started_at=started_at,
                is_draining=switches.is_draining,
                runs_working=idle_world.worker.working,
                runs_concurrency=50,
                queue_depth=idle_world.bus.depth,
                storage_waiting=idle_world.database.waiting,
                connections_open=0,
                loop_lag_s=0.001,
                loop_lag_max_s=0.25,
                memory_bytes=None,
            )
        ]

    async def models() -> dict[str, ProbeResult]:
        return {"scripted:demo": ProbeResult(ok=True, detail="scripted", latency_ms=0.0, checked_at=started_at)}

    return EdgeParts(
        database=idle_world.database,
        log=idle_world.log,
        bus=idle_world.bus,
        intake=idle_world.intake,
        cancellation=idle_world.cancellation,
        decisions=idle_world.decisions,
        repairs=idle_world.repairs,
        sign_in=sign_in,
        keys=keys,
        clock=idle_world.clock,
        telemetry=idle_world.telemetry,
        logs=idle_world.log_memory,
        limits=EdgeLimits(),
        origins=frozenset({"http://testserver"}),
        agents=lambda: [idle_world.programs.spec(None)],
        run_counts=idle_world.recovery.counts,
        readiness=readiness,
        writer_figures=lambda: {"storage_commits_total": 3, "storage_waiting": 0},
        nodes=nodes,
        models=models,
        is_draining=lambda: switches.is_draining,
        version="1.2.3",
    )


@pytest.fixture
def enter(services: EdgeParts) -> Callable[..., Awaitable[SignedIn]]:
    """Add a user and sign in: ``await enter("ada")``, ``await enter("bob", tenant="other", role="admin")``."""

    async def enter(name: str, *, tenant: str = "acme", role: str = "member", address: str = "") -> SignedIn:
        email = f"{name}@example.org"
        await services.sign_in.users.add_user(email, PASSWORD, role, tenant, create_tenant=True)
        return await services.sign_in.login(email, PASSWORD, tenant=tenant, address=address)

    return enter
