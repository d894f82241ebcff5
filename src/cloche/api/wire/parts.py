"""The parts that the edges speak to, made in ``cloche.app`` and passed as one argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cloche.auth.keys import SigningKeys
from cloche.auth.sessions import SignIn
from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.domain.runs import ExecutionState
from cloche.events.log import EventLog
from cloche.execution.cancellation import Cancellation
from cloche.execution.decisions import Decisions
from cloche.execution.intake import Intake
from cloche.execution.repairs import Repairs
from cloche.llm.probe import ProbeResult
from cloche.storage.database import Database
from cloche.telemetry import LogMemory, Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of ``/readyz``: ``detail`` is for people and holds no secret and no address with credentials."""

    ok: bool
    detail: str
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What one process is doing now: load figures, and nothing of anybody's.

    Attributes:
        memory_bytes: what the process holds; None where the system does not tell.
    """

    name: str
    version: str
    started_at: datetime
    is_draining: bool
    runs_working: int
    runs_concurrency: int
    queue_depth: int
    storage_waiting: int
    connections_open: int
    loop_lag_s: float
    loop_lag_max_s: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """What an edge takes at most."""

    frame_bytes: int = 64 * 1024
    body_bytes: int = 1024 * 1024
    auth_timeout_s: float = 5.0
    heartbeat_s: float = 20.0
    outbox_bytes: int = 256 * 1024
    send_timeout_s: float = 10.0
    subscriptions: int = 64
    ops_per_second: int = 100
    sse_keep_alive_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeParts:
    """Everything a route or a connection may use."""

    database: Database
    log: EventLog
    bus: Bus
    intake: Intake
    cancellation: Cancellation
    decisions: Decisions
    repairs: Repairs
    sign_in: SignIn
    keys: SigningKeys
    clock: Clock
    telemetry: Telemetry
    logs: LogMemory
    limits: EdgeLimits
    origins: frozenset[str]
    agents: Callable[[], list[AgentSpec]]
    run_counts: Callable[[], Awaitable[dict[ExecutionState, int]]]
    readiness: Callable[[], Awaitable[dict[str, Check]]]
    writer_figures: Callable[[], dict[str, float]]
    nodes: Callable[[], Awaitable[list[NodeState]]]
    models: Callable[[], Awaitable[Mapping[str, ProbeResult]]]
    is_draining: Callable[[], bool]
    version: str
