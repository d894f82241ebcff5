"""Takes offered runs, claims them, and executes as many at once as the process may."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.events import AgentStarted
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import ExecutionState, Run, RunRef
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import ClocheError, PermissionDeniedError, StorageError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.control import ActiveRuns, RunControl, StopReason
from cloche.execution.executor import Claimed, Executor
from cloche.execution.program import Programs
from cloche.ids import ExecutionId, RunId
from cloche.storage.claims import ClaimRepository, OwnerRow
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from cloche.telemetry import LogEvent, Telemetry


class Worker:
    """The executions of this process.

    Guarantees: a run is executed here at most once at a time; a cancel signal reaches its execution; a drain stops what
    has not ended within its grace and leaves it to the next process.
    """

    def __init__(
        self,
        *,
        name: str,
        database: Database,
        log: EventLog,
        programs: Programs,
        bus: Bus,
        clock: Clock,
        telemetry: Telemetry,
        executor: Executor,
        concurrency: int,
    ) -> None:
        self._name = name
        self._database = database
        self._log = log
        self._programs = programs
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._executor = executor
        self._slots = asyncio.Semaphore(concurrency)
        self._claims = ClaimRepository(SystemScope(purpose="claim runs for execution"))
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._working = 0
        self._offered_again: dict[RunId, RunRef] = {}
        self.active = ActiveRuns()
        bus.on_cancel(self._cancel)

    @property
    def working(self) -> int:
        """How many runs are being executed here."""
        return self._working

    async def run(self) -> None:
        """Take and execute offered runs until cancelled.

        Cancellation: every execution is stopped; its run is recovered by the next process.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                ref = await self._bus.take()
                if self._draining:
                    self._slots.release()
                    continue
                self._working += 1
                self._idle.clear()
                group.create_task(self._work(ref))

    async def drain(self, grace: timedelta) -> None:
        """Nothing is executed here any more: what ended within ``grace`` has ended, the rest is released."""
        self._draining = True
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            self.active.stop_all(StopReason.DRAINED)
            await self._idle.wait()

    def _cancel(self, ref: RunRef) -> None:
        self.active.stop(ref.run_id, StopReason.CANCELLED)

    async def _work(self, ref: RunRef) -> None:
        control = RunControl()
        try:
            claimed = await self._claim(ref, control)
            if claimed is not None:
                await self._executor.execute(claimed, control)
        except StorageError as error:
            # Not claimed: the sweep offers the run again when the database answers.
            self._telemetry.warning(LogEvent.RUN_WRITE_RETRIED, run=ref.run_id, attempt=0, code=error.code, delay_s=0.0)
        except Exception as error:
            self._telemetry.error(LogEvent.RUN_ABANDONED, error, run=ref.run_id)
        finally:
            self.active.remove(ref.run_id, control)
            self._offer_again(ref.run_id)
            self._slots.release()
            self._working -= 1
            if not self._working:
                self._idle.set()

    def _offer_again(self, run_id: RunId) -> None:
        if run_id not in self.active and run_id in self._offered_again:
            self._bus.offer(self._offered_again.pop(run_id))

    async def _claim(self, ref: RunRef, control: RunControl) -> Claimed | None:
        if ref.run_id in self.active:
            # An approval was decided, say, while the execution that asked for it still winds down.
            self._offered_again[ref.run_id] = ref
            return None
        self.active.add(ref.run_id, control)
        execution_id = ExecutionId.new()

        async def work(tx: Transaction) -> Claimed | None:
            now = self._clock.now()
            run = await self._claims.claim(tx, ref, worker=self._name, execution_id=execution_id, at=now)
            if run is None:
                return None
            owner, grants = await self._claims.owner(tx, ref)
            scope, refusal = _scope_of(run, owner, grants)
            message = await MessageRepository(scope).get(tx, run.message_id)
            if refusal is None:
                await self._start(tx, scope, run, execution_id)
            steps = await StepRepository(scope).list(tx, run.id) if run.epoch > 1 else []
            return Claimed(
                run=run,
                execution_id=execution_id,
                scope=scope,
                message=message,
                steps=steps,
                refusal=refusal,
            )

        claimed = await self._database.write(work)
        if claimed is not None:
            if claimed.run.attempt == 1:
                waited = self._clock.now() - claimed.run.created_at
                self._telemetry.figures.first_event.observe(waited.total_seconds())
            self._telemetry.info(
                LogEvent.RUN_CLAIMED, run=ref.run_id, thread=ref.thread_id, attempt=claimed.run.attempt
            )
        return claimed

    async def _start(self, tx: Transaction, scope: Scope, run: Run, execution_id: ExecutionId) -> None:
        """The run is running, and says so, where this process has its agent."""
        spec = self._programs.find(run.agent, run.agent_version)
        if spec is None:
            return
        now = self._clock.now()
        await RunRepository(scope).move(tx, run.id, ExecutionState.RUNNING, at=now, epoch=run.epoch)
        started = draft(
            AgentStarted(agent=spec.name, version=spec.version, model=spec.model, attempt=run.attempt),
            thread_id=run.thread_id,
            run_id=run.id,
            at=now,
            execution_id=execution_id,
            trace_id=run.trace_id,
        )
        await self._log.append(tx, scope, run.thread_id, [started], at=now, moves_thread=False)


def _scope_of(run: Run, owner: OwnerRow | None, grants: frozenset[str]) -> tuple[Scope, ClocheError | None]:
    assert run.state is ExecutionState.STARTING
    open_owner = owner is not None and owner.status == "active" and owner.tenant_status == "active"
    permissions = permissions_of(Role(owner.role), grants) if owner is not None and open_owner else frozenset[str]()
    scope = Scope(tenant_id=run.ref.tenant_id, user_id=run.ref.user_id, permissions=permissions)
    return scope, None if open_owner else PermissionDeniedError("the user or tenant of this run is disabled")
