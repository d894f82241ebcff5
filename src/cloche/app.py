"""Every part wired, in order. What is opened here is closed here, in reverse."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from starlette.routing import Route
from starlette.types import ASGIApp

from cloche import __version__
from cloche.agents.model_agents import ModelAgents
from cloche.agents.registry import AgentRegistry
from cloche.api.rest.application import rest_app
from cloche.api.sse.routes import sse_routes
from cloche.api.wire.access import Public, requires
from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import Check, EdgeLimits, EdgeParts, NodeState
from cloche.api.ws.routes import websocket_routes
from cloche.auth.attempts import LoginLimiter
from cloche.auth.keys import SigningKeys, load_keys
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.sessions import SignIn
from cloche.auth.tokens import AccessTokens
from cloche.bus.local import LocalBus
from cloche.catalogue import make_agents, make_tools, model_config
from cloche.clock import Clock
from cloche.errors import StorageError
from cloche.events.hub import Hub
from cloche.events.log import EventLog
from cloche.events.retention import Retention
from cloche.execution.cancellation import Cancellation
from cloche.execution.decisions import Decisions
from cloche.execution.executor import Executor
from cloche.execution.intake import Intake
from cloche.execution.recovery import Recovery
from cloche.execution.repairs import MOMENT, Dispatch, Repairs
from cloche.execution.worker import Worker
from cloche.llm.config import ModelConfig
from cloche.llm.probe import ModelProbe
from cloche.observability import make_telemetry, memory_bytes
from cloche.settings import Settings
from cloche.storage.events import Keep
from cloche.storage.sqlite import DATABASE_FILE, SqliteDatabase, open_sqlite, owned
from cloche.telemetry import LogEvent, LogMemory, Telemetry
from cloche.tools.builtin import builtin_tools
from cloche.web.pages import BuiltPages

_LAG_EVERY_S = 0.5
_LAG_TOLD_S = 0.25
# A revocation by another process, as by `cloche users disable`, reaches open streams within a second.
_REVOCATIONS_EVERY_S = 0.5


Sweep = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class DrainState:
    """Whether the process is going away."""

    draining: bool = False


@dataclass(slots=True, kw_only=True)
class App:
    """A built server: the ASGI application, and the work beside it."""

    asgi: ASGIApp
    services: EdgeParts
    settings: Settings
    database: SqliteDatabase
    telemetry: Telemetry
    clock: Clock
    worker: Worker
    recovery: Recovery
    retention: Retention
    connections: Connections
    intake: Intake
    sign_in: SignIn
    model: ModelConfig
    setup_secret: str | None
    state: DrainState
    warm_up: Callable[[], Coroutine[None, None, None]]
    recovered: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        """What a former process left is recovered; then runs are executed and forgotten things swept, until cancelled."""
        await self.recovery.recover_all()
        self.recovered.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.warm_up())
            group.create_task(self.worker.run())
            group.create_task(self._every(self.settings.runs.sweep_s, self.recovery.sweep))
            group.create_task(self._every(self.settings.retention.every_s, self._retain))
            group.create_task(self._every(_REVOCATIONS_EVERY_S, self.sign_in.catch_up))
            group.create_task(self._watch_loop())

    async def drain(self, grace: timedelta) -> None:
        """Nothing new is taken, runs have ended or are released, and every connection was told and closed."""
        self.state.draining = True
        self.intake.close()
        await self.worker.drain(grace)
        await self.connections.drain()

    async def _retain(self) -> None:
        trimmed, purged = await self.retention.sweep()
        await self.sign_in.remove_expired()
        if trimmed or purged:
            self.telemetry.info(LogEvent.RETENTION_SWEPT, events=trimmed, threads=purged)

    async def _every(self, seconds: float, sweep: Sweep) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await sweep()
            except StorageError as error:
                self.telemetry.warning(LogEvent.SWEEP_FAILED, code=error.code)

    async def _watch_loop(self) -> None:
        figures = self.telemetry.figures
        while True:
            before = self.clock.monotonic()
            await asyncio.sleep(_LAG_EVERY_S)
            lag = max(self.clock.monotonic() - before - _LAG_EVERY_S, 0.0)
            figures.loop_lag_s = lag
            figures.loop_lag_max_s = max(figures.loop_lag_max_s, lag)
            if lag > _LAG_TOLD_S:
                self.telemetry.warning(LogEvent.LOOP_LAGGED, lag_s=round(lag, 3))


@dataclass(slots=True, kw_only=True)
class _Ground:
    """The lower floors, opened."""

    database: SqliteDatabase
    log: EventLog
    bus: LocalBus
    clock: Clock
    telemetry: Telemetry
    logs: LogMemory
    models: ModelAgents
    registry: AgentRegistry


@dataclass(slots=True, kw_only=True)
class _Execution:
    """The durable running of agents."""

    cancellation: Cancellation
    decisions: Decisions
    recovery: Recovery
    repairs: Repairs
    intake: Intake
    worker: Worker


@dataclass(slots=True, kw_only=True)
class _Node:
    """This process among those of the installation: with the embedded default the only one."""

    core: _Ground
    worker: Worker
    settings: Settings
    state: DrainState
    started_at: datetime

    async def list(self) -> list[NodeState]:
        figures = self.core.telemetry.figures
        return [
            NodeState(
                name=_worker_name(),
                version=__version__,
                started_at=self.started_at,
                is_draining=self.state.draining,
                runs_working=self.worker.working,
                runs_concurrency=self.settings.runs.concurrency,
                queue_depth=self.core.bus.depth,
                storage_waiting=self.core.database.waiting,
                connections_open=figures.connections_open,
                loop_lag_s=figures.loop_lag_s,
                loop_lag_max_s=figures.loop_lag_max_s,
                memory_bytes=await asyncio.to_thread(memory_bytes),
            )
        ]


@asynccontextmanager
async def build(
    settings: Settings, *, clock: Clock, base_url: str | None = None, folder: Path | None = None
) -> AsyncGenerator[App]:
    """The server of these settings, owning its data folder; closed, in reverse, at the end of the block.

    ``base_url`` is where pages of the server itself come from; ``folder`` is where the settings' modules are looked for.

    Raises:
        ConfigurationError: an agent, a tool, the model or a key file cannot be used.
        StorageError: the data folder or database cannot be used.
    """
    async with AsyncExitStack() as stack:
        core = await _open_ground(settings, clock, folder or Path.cwd(), stack)
        execution = _execution(core, settings)
        keys = await asyncio.to_thread(load_keys, settings.data / "keys")
        sign_in = _sign_in(core, keys)
        await sign_in.catch_up()
        setup_secret = await sign_in.setup.ensure_setup()
        model = model_config(settings.model)
        probe = await core.models.probe(model)
        state = DrainState()
        node = _Node(core=core, worker=execution.worker, settings=settings, state=state, started_at=clock.now())
        services = EdgeParts(
            database=core.database,
            log=core.log,
            bus=core.bus,
            intake=execution.intake,
            cancellation=execution.cancellation,
            decisions=execution.decisions,
            repairs=execution.repairs,
            sign_in=sign_in,
            keys=keys,
            clock=clock,
            telemetry=core.telemetry,
            logs=core.logs,
            limits=EdgeLimits(ops_per_second=settings.limits.operations_per_s),
            origins=frozenset({*settings.origins, *_own_origins(base_url)}),
            agents=core.registry.list,
            run_counts=execution.recovery.counts,
            readiness=lambda: _readiness(core, probe, model),
            writer_figures=lambda: _writer_figures(core, execution.worker),
            nodes=node.list,
            models=core.models.check,
            is_draining=lambda: state.draining,
            version=__version__,
        )
        connections = Connections(sign_in, clock)
        pages = await asyncio.to_thread(BuiltPages)
        live = [*websocket_routes(services, connections), *sse_routes(services, connections)]
        yield App(
            asgi=rest_app(services, extra_routes=live, last_routes=_page_routes(pages)),
            services=services,
            settings=settings,
            database=core.database,
            telemetry=core.telemetry,
            clock=clock,
            worker=execution.worker,
            recovery=execution.recovery,
            retention=Retention(core.database, clock, _keep(settings)),
            connections=connections,
            intake=execution.intake,
            sign_in=sign_in,
            model=model,
            setup_secret=setup_secret,
            state=state,
            warm_up=lambda: core.registry.prepare(settings.default_agent),
        )


async def _open_ground(settings: Settings, clock: Clock, folder: Path, stack: AsyncExitStack) -> _Ground:
    logs = LogMemory(clock.now)
    telemetry, flush = make_telemetry(settings.telemetry, __version__, logs)
    stack.callback(flush)
    stack.enter_context(owned(settings.data))
    database = await stack.enter_async_context(open_sqlite(settings.data / DATABASE_FILE, clock=clock))
    models = ModelAgents(stack, clock)
    tools = make_tools(settings, builtin_tools(database, clock), folder)
    registry = AgentRegistry(
        make_agents(settings, models, folder),
        default=settings.default_agent,
        tools=tools,
        clock=clock,
        telemetry=telemetry,
    )
    return _Ground(
        database=database,
        log=EventLog(database, Hub()),
        bus=LocalBus(),
        clock=clock,
        telemetry=telemetry,
        logs=logs,
        models=models,
        registry=registry,
    )


def _execution(core: _Ground, settings: Settings) -> _Execution:
    database, log, bus, clock, telemetry = core.database, core.log, core.bus, core.clock, core.telemetry
    cancellation = Cancellation(database=database, log=log, bus=bus, clock=clock)
    executor = Executor(
        database=database,
        log=log,
        bus=bus,
        clock=clock,
        telemetry=telemetry,
        programs=core.registry,
        grace=timedelta(seconds=settings.runs.grace_s),
    )
    worker = Worker(
        name=_worker_name(),
        database=database,
        log=log,
        programs=core.registry,
        bus=bus,
        clock=clock,
        telemetry=telemetry,
        executor=executor,
        concurrency=settings.runs.concurrency,
    )
    recovery = Recovery(database=database, log=log, bus=bus, clock=clock, telemetry=telemetry)
    return _Execution(
        cancellation=cancellation,
        decisions=Decisions(database=database, log=log, bus=bus, clock=clock),
        recovery=recovery,
        repairs=Repairs(
            database=database,
            log=log,
            bus=bus,
            clock=clock,
            telemetry=telemetry,
            recovery=recovery,
            cancellation=cancellation,
            dispatch=Dispatch(is_held=worker.active.__contains__, is_offered=bus.is_offered),
            moment=max(MOMENT, timedelta(seconds=3 * settings.runs.sweep_s)),
        ),
        intake=Intake(
            database=database,
            log=log,
            bus=bus,
            clock=clock,
            telemetry=telemetry,
            programs=core.registry,
            cancellation=cancellation,
            worker=worker,
        ),
        worker=worker,
    )


def _worker_name() -> str:
    """How this process is called where it executes a run."""
    return f"worker-{os.getpid()}"


def _sign_in(core: _Ground, keys: SigningKeys) -> SignIn:
    policy = SignInPolicy()
    return SignIn(
        database=core.database,
        clock=core.clock,
        tokens=AccessTokens(keys, core.clock, policy),
        passwords=Passwords(),
        limiter=LoginLimiter(core.clock),
        policy=policy,
    )


async def _readiness(core: _Ground, probe: ModelProbe, model: ModelConfig) -> dict[str, Check]:
    try:
        seconds = await core.database.ping()
        written = Check(ok=True, detail="a row was written", latency_ms=round(seconds * 1000, 2))
    except StorageError as error:
        written = Check(ok=False, detail=error.message)
    found = await probe.check()
    return {
        "database": written,
        "bus": Check(ok=True, detail=f"in process, {core.bus.depth} offers wait"),
        "model": Check(ok=found.ok is not False, detail=f"{model.name}: {found.detail}", latency_ms=found.latency_ms),
    }


def _page_routes(pages: BuiltPages) -> list[Route]:
    public = requires(Public("the page is the same for everybody, and holds nothing of anybody"))(pages)
    return [Route(path, public, methods=["GET"], include_in_schema=False) for path in pages.paths]


def _own_origins(base_url: str | None) -> set[str]:
    """How browsers name the server's own pages: on the loopback interface, by its name as well as by its address."""
    if base_url is None:
        return set()
    port = urlsplit(base_url).port
    loopback = {f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")}
    return {base_url} | (loopback if base_url in loopback else set())


def _keep(settings: Settings) -> Keep:
    return Keep(age=timedelta(days=settings.retention.days), events=settings.retention.events)


def _writer_figures(core: _Ground, worker: Worker) -> dict[str, float]:
    figures = core.database.figures
    return {
        "storage_commits_total": figures.commits,
        "storage_transactions_total": figures.transactions,
        "storage_failures_total": figures.failures,
        "storage_largest_batch": figures.largest_batch,
        "storage_waiting": core.database.waiting,
        "dispatch_queue_depth": core.bus.depth,
        "runs_working": worker.working,
    }
