"""A small whole server without its edges: real storage, log, bus, worker; agents that a test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cloche.agents.function import AgentRun, FunctionProgram
from cloche.bus.local import LocalBus
from cloche.clock import Clock, SystemClock, to_micros
from cloche.domain.agents import AgentLimits, AgentSpec
from cloche.domain.events import TERMINAL_TYPES, Envelope
from cloche.domain.messages import user_parts
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import ExecutionState, OnBusy, OnPendingApproval, Run
from cloche.domain.scope import Scope
from cloche.errors import AgentUnavailableError, NotFoundError
from cloche.events.codec import decode
from cloche.events.hub import Hub
from cloche.events.log import EventLog
from cloche.execution.cancellation import Cancellation
from cloche.execution.decisions import Decisions
from cloche.execution.executor import Executor
from cloche.execution.intake import Accepted, Intake, Sending
from cloche.execution.program import Program
from cloche.execution.recovery import Recovery
from cloche.execution.repairs import Dispatch, Repairs
from cloche.execution.worker import Worker
from cloche.ids import RequestId, RunId, SessionId, TenantId, ThreadId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.sqlite import SqliteDatabase, open_sqlite
from cloche.telemetry import LogMemory, Telemetry
from cloche.tools.dispatcher import ToolDispatcher
from cloche.tools.tool import Tool

AgentFunction = Callable[[AgentRun], Awaitable[object]]
SHORT = timedelta(milliseconds=300)


@dataclass
class LogBook:
    """The log lines of a world."""

    lines: list[tuple[str, str, Mapping[str, object]]] = field(default_factory=list)

    def __call__(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        self.lines.append((level, event, fields))


class TestPrograms:
    """Agents by name, from functions or whole programs."""

    __test__ = False

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._specs: dict[str, AgentSpec] = {}
        self._makers: dict[str, Callable[[], Program]] = {}

    def add(
        self,
        name: str,
        function: AgentFunction,
        *,
        tools: Mapping[str, Tool] | None = None,
        limits: AgentLimits | None = None,
        version: str = "1",
        takes_over: bool = True,
    ) -> None:
        own = dict(tools or {})
        spec = AgentSpec(
            name=name,
            version=version,
            description="",
            model="none",
            tools=tuple(own),
            limits=limits or AgentLimits(),
            takes_over=takes_over,
        )

        def make() -> Program:
            dispatcher = ToolDispatcher(
                own, frozenset(own), clock=self._clock, telemetry=self._telemetry, grace=timedelta(milliseconds=200)
            )
            return FunctionProgram(function, dispatcher)

        self.add_program(spec, make)

    def add_program(self, spec: AgentSpec, make: Callable[[], Program]) -> None:
        self._specs[spec.name] = spec
        self._makers[spec.name] = make

    def spec(self, agent: str | None) -> AgentSpec:
        name = agent or next(iter(self._specs), "none")
        if name not in self._specs:
            raise NotFoundError("there is no such agent")
        return self._specs[name]

    def find(self, agent: str, version: str) -> AgentSpec | None:
        spec = self._specs.get(agent)
        return spec if spec is not None and spec.continues(version) else None

    async def prepare(self, agent: str) -> None:
        return

    def make(self, agent: str, version: str) -> tuple[AgentSpec, Program]:
        spec = self._specs.get(agent)
        if spec is None or not spec.continues(version):
            raise AgentUnavailableError(f"this server has no agent {agent}@{version}")
        return spec, self._makers[agent]()


async def add_person(database: Database, clock: Clock, *, role: Role = Role.MEMBER) -> Scope:
    """A user in a tenant of their own, and the scope of their calls."""
    tenant, user = TenantId.new(), UserId.new()
    now = to_micros(clock.now())

    async def work(tx: Transaction) -> None:
        await tx.execute(
            "INSERT INTO tenants (id, slug, name, status, created_at, retention_us, retention_events) "
            "VALUES (?, ?, ?, 'active', ?, ?, ?)",
            str(tenant),
            str(tenant),
            "A tenant",
            now,
            30 * 24 * 3600 * 1_000_000,
            100_000,
        )
        await tx.execute(
            "INSERT INTO users (tenant_id, id, email, name, role, status, created_at, updated_at) "
            "VALUES (?, ?, ?, 'A person', ?, 'active', ?, ?)",
            str(tenant),
            str(user),
            f"{user}@example.org",
            str(role),
            now,
            now,
        )

    await database.write(work)
    return Scope(tenant_id=tenant, user_id=user, session_id=SessionId.new(), permissions=permissions_of(role))


class World:
    """One process's worth of parts over a database."""

    def __init__(
        self, database: SqliteDatabase, clock: Clock, *, concurrency: int = 50, grace: timedelta = SHORT
    ) -> None:
        self.log_book = LogBook()
        self.database = database
        self.clock = clock
        self.log_memory = LogMemory(clock.now)
        self.telemetry = Telemetry(self.log_memory.beside(self.log_book))
        self.hub = Hub()
        self.log = EventLog(database, self.hub)
        self.bus = LocalBus()
        self.programs = TestPrograms(clock, self.telemetry)
        parts = {"database": database, "log": self.log, "bus": self.bus, "clock": clock}
        self.cancellation = Cancellation(**parts)
        self.decisions = Decisions(**parts)
        self.recovery = Recovery(**parts, telemetry=self.telemetry)
        executor = Executor(**parts, telemetry=self.telemetry, programs=self.programs, grace=grace)
        self.worker = Worker(
            name="worker",
            database=database,
            log=self.log,
            programs=self.programs,
            bus=self.bus,
            clock=clock,
            telemetry=self.telemetry,
            executor=executor,
            concurrency=concurrency,
        )
        self.intake = Intake(
            **parts,
            telemetry=self.telemetry,
            programs=self.programs,
            cancellation=self.cancellation,
            worker=self.worker,
        )
        self.repairs = Repairs(
            **parts,
            telemetry=self.telemetry,
            recovery=self.recovery,
            cancellation=self.cancellation,
            dispatch=Dispatch(is_held=self.worker.active.__contains__, is_offered=self.bus.is_offered),
        )

    async def person(self, *, role: Role = Role.MEMBER) -> Scope:
        return await add_person(self.database, self.clock, role=role)

    async def send(
        self,
        scope: Scope,
        text: str = "hello",
        *,
        thread_id: ThreadId | str | None = None,
        agent: str | None = None,
        client_message_id: str | None = None,
        on_busy: OnBusy = OnBusy.ENQUEUE,
        on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT,
    ) -> Accepted:
        return await self.intake.accept(
            scope,
            Sending(
                parts=user_parts(text=text),
                client_message_id=client_message_id or str(RequestId.new()),
                thread_id=None if thread_id is None else ThreadId(thread_id),
                agent=agent,
                on_busy=on_busy,
                on_pending_approval=on_pending_approval,
            ),
            request_id=RequestId.new(),
        )

    async def run(self, scope: Scope, run_id: RunId | str) -> Run:
        return await self.database.read(lambda tx: RunRepository(scope).get(tx, RunId(run_id)))

    async def state(self, scope: Scope, run_id: RunId | str) -> ExecutionState:
        return (await self.run(scope, run_id)).state

    async def events(self, scope: Scope, run_id: RunId | str) -> list[Envelope]:
        """The run's events so far."""
        found, after = [], 0
        while True:
            events, _ = await self.log.read_run(scope, RunId(run_id), after=after)
            if not events:
                return [decode(event.body) for event in found]
            found += events
            after = events[-1].seq

    async def until(self, scope: Scope, accepted: Accepted, *types: str, count: int = 1) -> list[Envelope]:
        """The run's events up to its ``count``-th one of these types (default: a terminal one), as they are followed."""
        wanted = set(types) or set(TERMINAL_TYPES)
        found: list[Envelope] = []
        async with asyncio.timeout(15):
            async for batch in self.log.follow(scope, ThreadId(accepted.thread_id), after=accepted.seq - 1):
                for event in batch:
                    envelope = decode(event.body)
                    if envelope.run_id != accepted.run_id:
                        continue
                    found.append(envelope)
                    if envelope.type in wanted:
                        count -= 1
                        if not count:
                            return found
        raise AssertionError("the log ended")


@asynccontextmanager
async def working(world: World) -> AsyncGenerator[World]:
    """The world's worker runs inside the block, and is gone (as by a crash) at its end."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.worker.run())
        try:
            yield world
        finally:
            task.cancel()


@asynccontextmanager
async def opened_world(path: Path, clock: Clock | None = None, *, concurrency: int = 50) -> AsyncGenerator[World]:
    """A world over the database file at ``path``, without a worker."""
    used = clock or SystemClock()
    async with open_sqlite(path, clock=used) as database:
        yield World(database, used, concurrency=concurrency)
