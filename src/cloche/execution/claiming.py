"""Taking a run for execution: a pending one that was offered, or one that is accepted in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.domain.events import AgentStarted
from cloche.domain.messages import Message
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import ExecutionState, Run, RunRef
from cloche.domain.scope import Scope, SystemScope
from cloche.domain.steps import Step
from cloche.errors import ClocheError, PermissionDeniedError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.program import Programs
from cloche.ids import ExecutionId
from cloche.storage.claims import ClaimRepository
from cloche.storage.database import Transaction
from cloche.storage.events import EventDraft
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A run that this process owns, with everything an execution needs to begin."""

    run: Run
    execution_id: ExecutionId
    scope: Scope
    message: Message
    steps: Sequence[Step]
    refusal: ClocheError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A run that is running from the moment at which it is accepted, before it has its row; and what tells of it."""

    run: Run
    execution_id: ExecutionId
    scope: Scope
    started: EventDraft


class Claiming:
    """Claims runs for one worker."""

    def __init__(self, *, worker: str, log: EventLog, programs: Programs, clock: Clock) -> None:
        self.worker = worker
        self._log = log
        self._programs = programs
        self._clock = clock
        self._claims = ClaimRepository(SystemScope(purpose="claim runs for execution"))

    async def claim(self, tx: Transaction, ref: RunRef) -> Claimed | None:
        """The offered run belongs to a new execution here, and is running where this process has its agent.

        None when somebody else has it, or it is over.
        """
        execution_id, now = ExecutionId.new(), self._clock.now()
        run = await self._claims.claim(tx, ref, worker=self.worker, execution_id=execution_id, at=now)
        if run is None:
            return None
        scope, refusal = await self._scope_of(tx, ref)
        message = await MessageRepository(scope).get(tx, run.message_id)
        spec = self._programs.find(run.agent, run.agent_version)
        if refusal is None and spec is not None:
            await RunRepository(scope).move(tx, run.id, ExecutionState.RUNNING, at=now, epoch=run.epoch)
            started = _started(run, spec, execution_id, now)
            await self._log.append(tx, scope, run.thread_id, [started], at=now, moves_thread=False)
        steps = await StepRepository(scope).list(tx, run.id) if run.epoch > 1 else []
        return Claimed(run=run, execution_id=execution_id, scope=scope, message=message, steps=steps, refusal=refusal)

    async def begin(self, tx: Transaction, run: Run) -> Begun | None:
        """The run that is about to be written belongs to its first execution, here, and is running.

        None when its agent is not here, or its user may not have runs; it is offered then as any other.
        """
        spec = self._programs.find(run.agent, run.agent_version)
        if spec is None:
            return None
        scope, refusal = await self._scope_of(tx, run.ref)
        if refusal is not None:
            return None
        at, execution_id = run.created_at, ExecutionId.new()
        begun = replace(
            run,
            state=ExecutionState.RUNNING,
            epoch=1,
            attempt=1,
            deadline_at=at + run.timeout,
            state_times=dict.fromkeys((ExecutionState.PENDING, ExecutionState.STARTING, ExecutionState.RUNNING), at),
        )
        started = _started(begun, spec, execution_id, at)
        await self._claims.add_execution(tx, begun, worker=self.worker, execution_id=execution_id, at=at)
        return Begun(run=begun, execution_id=execution_id, scope=scope, started=started)

    async def _scope_of(self, tx: Transaction, ref: RunRef) -> tuple[Scope, ClocheError | None]:
        """What the run may do, as its user may now."""
        owner, grants = await self._claims.owner(tx, ref)
        is_open = owner is not None and owner.status == "active" and owner.tenant_status == "active"
        permissions = permissions_of(Role(owner.role), grants) if owner is not None and is_open else frozenset[str]()
        scope = Scope(tenant_id=ref.tenant_id, user_id=ref.user_id, permissions=permissions)
        return scope, None if is_open else PermissionDeniedError("the user or tenant of this run is disabled")


def _started(run: Run, spec: AgentSpec, execution_id: ExecutionId, at: datetime) -> EventDraft:
    return draft(
        AgentStarted(agent=spec.name, version=spec.version, model=spec.model, attempt=run.attempt),
        thread_id=run.thread_id,
        run_id=run.id,
        at=at,
        execution_id=execution_id,
        trace_id=run.trace_id,
    )
