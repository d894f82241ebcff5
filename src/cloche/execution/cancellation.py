"""Cancelling a run: recorded first, then everything of it is stopped, then it ends with a receipt."""

from __future__ import annotations

from dataclasses import dataclass

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.events import Receipt
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState, Run, RunRef
from cloche.domain.scope import Scope
from cloche.events.log import EventLog
from cloche.execution.endings import RunEndings
from cloche.ids import RunId, ThreadId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.tenant_runs import TenantRunRepository

_AT_WORK = frozenset({ExecutionState.STARTING, ExecutionState.RUNNING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """What a cancel found: the run's state afterwards, whether its worker must be told, and whom to offer."""

    state: ExecutionState
    signal: bool
    following: RunRef | None


class Cancellation:
    """Cancels runs in any state."""

    def __init__(self, *, database: Database, log: EventLog, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._endings = RunEndings(log, clock)

    async def cancel(self, scope: Scope, run_id: RunId, *, reason: str = "the run was cancelled") -> ExecutionState:
        """The wish is durable and the run's worker knows; the run's state now.

        A run that nobody works on is cancelled at once; a working one is ``cancelling`` until all of it has stopped,
        which its ``agent_cancelled`` event tells. A run that is over stays as it is.

        Cancellation: the wish is either wholly recorded, and the worker told, or wholly not.

        Raises:
            NotFoundError: this user has no such run.
        """

        async def work(tx: Transaction) -> ExecutionState:
            run = await RunRepository(scope).get(tx, run_id)
            cancelled = await self.cancel_in(tx, scope, run, reason=reason)
            tx.after_commit(lambda: self._after(run, cancelled))
            return cancelled.state

        return await self._database.write(work)

    async def cancel_for_owner(self, scope: Scope, run_id: RunId, *, reason: str) -> ExecutionState:
        """Like ``cancel``, of the run of anybody in the scope's tenant; who did it, and why, is in the audit trail.

        A run that is over stays as it is, and nothing is in the trail.

        Raises:
            PermissionDeniedError: the scope lacks ``admin:runs_cancel``.
            NotFoundError: the tenant has no such run.
        """
        scope.require(Permission.ADMIN_RUNS_CANCEL)

        async def work(tx: Transaction) -> ExecutionState:
            run = (await TenantRunRepository(scope).get(tx, run_id)).run
            owner = Scope(tenant_id=scope.tenant_id, user_id=run.ref.user_id)
            cancelled = await self.cancel_in(tx, owner, run, reason=reason)
            if not run.state.is_terminal:
                await AuditRepository(scope).append(
                    tx,
                    "run.cancelled",
                    target=str(run_id),
                    at=self._clock.now(),
                    detail={"user_id": str(run.ref.user_id), "state": str(run.state), "reason": reason},
                )
            tx.after_commit(lambda: self._after(run, cancelled))
            return cancelled.state

        return await self._database.write(work)

    async def cancel_thread(self, tx: Transaction, scope: Scope, thread_id: ThreadId, *, reason: str) -> list[RunRef]:
        """Every live run of the thread is cancelled or cancelling; those whose worker must be told after the commit."""
        live = reversed(await RunRepository(scope).live(tx, thread_id))
        return [run.ref for run in live if (await self.cancel_in(tx, scope, run, reason=reason)).signal]

    async def cancel_in(self, tx: Transaction, scope: Scope, run: Run, *, reason: str) -> Cancelled:
        """Like ``cancel``, in the caller's transaction; the caller signals and offers after its commit."""
        if run.state.is_terminal:
            return Cancelled(state=run.state, signal=False, following=None)
        runs, now = RunRepository(scope), self._clock.now()
        await runs.request_cancel(tx, run.id, reason=reason, at=now)
        if run.state in _AT_WORK:
            await runs.move(tx, run.id, ExecutionState.CANCELLING, at=now, epoch=None)
            return Cancelled(state=ExecutionState.CANCELLING, signal=True, following=None)
        if run.state is ExecutionState.CANCELLING:
            return Cancelled(state=run.state, signal=True, following=None)
        receipt = await self._endings.receipt_of(tx, scope, run) if run.epoch else Receipt()
        ended = await self._endings.cancel(tx, scope, run, receipt, reason=reason, usage=run.usage)
        return Cancelled(state=ended.state, signal=False, following=ended.following)

    def _after(self, run: Run, cancelled: Cancelled) -> None:
        if cancelled.signal:
            self._bus.signal_cancel(run.ref)
        if cancelled.following is not None:
            self._bus.offer(cancelled.following)
