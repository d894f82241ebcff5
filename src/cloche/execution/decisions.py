"""Deciding an approval: once, and then the run goes on."""

from __future__ import annotations

from collections.abc import Mapping

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.approvals import Approval, ApprovalDecision, ApprovalState
from cloche.domain.events import ApprovalResolved
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.errors import AlreadyDecidedError, InvalidInputError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.ids import ApprovalId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository

_STATES = {ApprovalDecision.APPROVE: ApprovalState.APPROVED, ApprovalDecision.DENY: ApprovalState.DENIED}


class Decisions:
    """The decisions of persons."""

    def __init__(self, *, database: Database, log: EventLog, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock

    async def decide(
        self,
        scope: Scope,
        approval_id: ApprovalId,
        decision: ApprovalDecision,
        *,
        arguments: Mapping[str, object] | None = None,
    ) -> Approval:
        """The approval has this outcome, and its run is offered to a worker again.

        Guarantees: of several deciders the first one counts; decision, event and the run's move are one transaction.

        Raises:
            PermissionDeniedError: this principal may not decide.
            NotFoundError: this user has no such approval.
            AlreadyDecidedError: it was decided before; ``details`` holds that decision.
            InvalidInputError: arguments were edited together with a no.
        """
        scope.require(Permission.APPROVALS_DECIDE)
        if arguments is not None and decision is ApprovalDecision.DENY:
            raise InvalidInputError("a denied call has no arguments", details={"place": "$.arguments"})

        async def work(tx: Transaction) -> Approval:
            approvals, runs, now = ApprovalRepository(scope), RunRepository(scope), self._clock.now()
            approval = await approvals.get(tx, approval_id)
            won = approval.expires_at > now and await approvals.resolve(
                tx, approval_id, _STATES[decision], by=scope.user_id, edited=arguments, at=now
            )
            if not won:
                raise _already(approval)
            event = ApprovalResolved(
                approval_id=approval_id, decision=decision.value, by=scope.user_id, arguments=arguments
            )
            drafted = draft(event, thread_id=approval.thread_id, run_id=approval.run_id, at=now)
            await self._log.append(tx, scope, approval.thread_id, [drafted], at=now)
            run = await runs.get(tx, approval.run_id)
            if run.state is ExecutionState.WAITING:
                await runs.move(tx, run.id, ExecutionState.PENDING, at=now, epoch=None)
            tx.after_commit(lambda: self._bus.offer(run.ref))
            return await approvals.get(tx, approval_id)

        return await self._database.write(work)


def _already(approval: Approval) -> AlreadyDecidedError:
    return AlreadyDecidedError(
        f"the approval is {approval.state}" if approval.state is not ApprovalState.PENDING else "the approval expired",
        details={"state": str(approval.state), "decided_by": approval.decided_by and str(approval.decided_by)},
    )
