"""After a process went away: what it left unfinished is ended, or offered again."""

from __future__ import annotations

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.approvals import ApprovalState
from cloche.domain.events import ApprovalResolved, Receipt
from cloche.domain.runs import ExecutionState, Run, RunRef
from cloche.domain.scope import Scope, SystemScope
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.endings import RunEndings
from cloche.ids import ApprovalId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.claims import ClaimRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository
from cloche.telemetry import LogEvent, Telemetry, count

MAX_LOSSES = 3
_LOST = frozenset({ExecutionState.STARTING, ExecutionState.RUNNING, ExecutionState.COMPLETING})


class Recovery:
    """Looks at runs across users; each is then handled under its own user's scope."""

    def __init__(self, *, database: Database, log: EventLog, bus: Bus, clock: Clock, telemetry: Telemetry) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._claims = ClaimRepository(SystemScope(purpose="recover runs whose worker is gone"))
        self._endings = RunEndings(log, clock)

    async def recover_all(self) -> int:
        """Every run that a former process left is ended or offered again; how many were found.

        Called once, while no worker of this database lives.
        """
        runs = await self._database.read(self._claims.unfinished)
        for run in runs:
            offer = await self._database.write(lambda tx, run=run: self.recover(tx, run))
            if offer is not None:
                self._bus.offer(offer)
        return len(runs)

    async def sweep(self) -> None:
        """Pending runs are offered once more, and approvals whose time is over are resolved as expired."""
        now = self._clock.now()
        for ref in await self._database.read(self._claims.offered):
            self._bus.offer(ref)
        for ref, approval_id in await self._database.read(lambda tx: self._claims.expired_approvals(tx, at=now)):
            await self._database.write(lambda tx, ref=ref, found=approval_id: self.expire(tx, ref, ApprovalId(found)))
            self._bus.offer(ref)

    async def counts(self) -> dict[ExecutionState, int]:
        """How many runs are in each live state."""
        return await self._database.read(self._claims.counts)

    async def recover(self, tx: Transaction, run: Run) -> RunRef | None:
        """The run, which nobody works on, is ended or may be claimed again; whom to offer after the commit.

        A run that has ended, or went on with another execution, since it was looked at stays as it is.
        """
        scope = Scope(tenant_id=run.ref.tenant_id, user_id=run.ref.user_id)
        runs, now = RunRepository(scope), self._clock.now()
        found = await runs.find(tx, run.id)
        if found is None or found.state.is_terminal or found.epoch != run.epoch:
            return None
        run = found
        if run.state is ExecutionState.CANCELLING:
            known = await self._endings.receipt_of(tx, scope, run)
            receipt = Receipt(already_done=known.already_done, unknown=(*known.unknown, "agent"))
            reason = "the run was cancelled; its worker was lost before it could say what was stopped"
            ended = await self._endings.cancel(tx, scope, run, receipt, reason=reason, usage=run.usage)
            self._told(run, "cancelled")
            return ended.following
        if run.state in _LOST:
            if run.losses + 1 >= MAX_LOSSES:
                ended = await self._endings.give_up(tx, scope, run)
                count(self._telemetry.figures.runs_ended, ended.state)
                self._told(run, "dead")
                return ended.following
            await runs.end_execution(tx, run.id, run.epoch, "lost", at=now)
            await runs.move(tx, run.id, ExecutionState.PENDING, at=now, epoch=None)
            await self._claims.count_loss(tx, run.ref)
            self._told(run, "offered")
            return run.ref
        if run.state is ExecutionState.PENDING:
            following = await self._endings.admit_next(tx, scope, run)
            return following or run.ref
        return None

    async def expire(self, tx: Transaction, ref: RunRef, approval_id: ApprovalId) -> None:
        """The approval has expired, unless it was resolved before; its run goes on when it is offered."""
        scope = Scope(tenant_id=ref.tenant_id, user_id=ref.user_id)
        now = self._clock.now()
        if not await ApprovalRepository(scope).resolve(
            tx, approval_id, ApprovalState.EXPIRED, by=None, edited=None, at=now
        ):
            return
        expired = await ApprovalRepository(scope).get(tx, approval_id)
        self._log.note_approvals(tx, scope.tenant_id, expired.delegate_id)
        event = ApprovalResolved(approval_id=approval_id, decision="expired")
        drafted = draft(event, thread_id=ref.thread_id, run_id=ref.run_id, at=now)
        await self._log.append(tx, scope, ref.thread_id, [drafted], at=now)
        runs = RunRepository(scope)
        run = await runs.get(tx, ref.run_id)
        if run.state is ExecutionState.WAITING:
            await runs.move(tx, ref.run_id, ExecutionState.PENDING, at=now, epoch=None)

    def _told(self, run: Run, outcome: str) -> None:
        self._telemetry.info(
            LogEvent.RUN_RECOVERED, run=run.id, outcome=outcome, losses=run.losses, attempt=run.attempt
        )
