"""The repair view: rows that disagree about what happened, and the way back, finding by finding.

What ends, recovers, admits or cancels a run elsewhere does it here too; this module finds what to do, and does it once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cloche.bus.local import Bus
from cloche.clock import Clock, to_micros
from cloche.domain.events import ThreadUpdated
from cloche.domain.findings import Finding, FindingKind, FindingRef
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState, Run, RunRef
from cloche.domain.scope import Scope
from cloche.domain.threads import status_of
from cloche.errors import NotFoundError, NotRepairableError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.cancellation import Cancellation
from cloche.execution.endings import RunEndings
from cloche.execution.recovery import Recovery
from cloche.ids import ApprovalId, RunId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventRepository
from cloche.storage.findings import LAST_RUN, LAST_USER, FindingRepository, RunMark, RunPiece
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository
from cloche.telemetry import LogEvent, Telemetry

MAX_FINDINGS = 100
LOOK_BACK = timedelta(hours=24)
MOMENT = timedelta(seconds=10)
"""How long a thing may be on its way before it counts as forgotten: several sweeps."""

_K = FindingKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What this process knows of runs and the rows do not say: whether a worker holds one, and whether one is offered."""

    is_held: Callable[[RunId], bool]
    is_offered: Callable[[RunId], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look found. ``more``: there are others, which a later look shows."""

    findings: tuple[Finding, ...]
    since: datetime
    more: bool


class Repairs:
    """Finds what disagrees in a tenant, and repairs it; every call needs a scope with the permission that it names.

    Args:
        moment: how long a run may be on its way to a worker, or an approval beyond its time, before it is a finding.
    """

    def __init__(
        self,
        *,
        database: Database,
        log: EventLog,
        bus: Bus,
        clock: Clock,
        telemetry: Telemetry,
        recovery: Recovery,
        cancellation: Cancellation,
        dispatch: Dispatch,
        moment: timedelta = MOMENT,
    ) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._recovery = recovery
        self._cancellation = cancellation
        self._dispatch = dispatch
        self._moment = moment
        self._endings = RunEndings(log, clock)

    async def look(self, scope: Scope, *, since: datetime | None = None) -> Look:
        """What disagrees in the scope's tenant, oldest first, at most ``MAX_FINDINGS`` of it.

        Runs that are not over and open approvals are all looked at; runs that are over when they were made ``since``, and
        threads when they were last changed since then (else: within ``LOOK_BACK``).

        Guarantees: two looks, one after the other, agree on each finding; nothing is held while it looks.

        Raises:
            PermissionDeniedError: the scope lacks ``admin:runs``.
        """
        scope.require(Permission.ADMIN_RUNS)
        back = self._clock.now() - LOOK_BACK if since is None else since
        repository = FindingRepository(scope)
        candidates = await self._database.read(
            lambda tx: repository.of_live(tx, before=self._before(), limit=MAX_FINDINGS + 1)
        )
        candidates += await self._among_ended(repository, back)
        candidates += await self._among_threads(repository, back)
        found: dict[str, Finding] = {}
        for candidate in sorted(candidates, key=lambda one: one.since):
            if len(found) > MAX_FINDINGS:
                break
            if str(candidate.ref) not in found and self._is_forgotten(candidate):
                finding = await self._database.read(lambda tx, one=candidate: self._again(tx, repository, one.ref))
                if finding is not None:
                    found[str(finding.ref)] = finding
        kept = tuple(found.values())
        return Look(findings=kept[:MAX_FINDINGS], since=back, more=len(kept) > MAX_FINDINGS)

    async def repair(self, scope: Scope, ref: FindingRef) -> Finding:
        """What is said there to be done is done; the finding as it was.

        Guarantees: one transaction, in which the finding is looked for once more. Of two repairs one finds it; an
        execution that works on the run after all has lost it, and writes nothing more.

        Raises:
            PermissionDeniedError: the scope lacks ``admin:repairs``.
            NotFoundError: there is no such finding in the scope's tenant, or no more.
            NotRepairableError: nothing is done about it without a person.
        """
        scope.require(Permission.ADMIN_REPAIRS)
        repository = FindingRepository(scope)

        async def work(tx: Transaction) -> Finding:
            finding = await self._again(tx, repository, ref)
            if finding is None:
                raise NotFoundError("there is no such finding; what was found may have mended meanwhile")
            if not finding.is_repairable:
                raise NotRepairableError(f"{finding.what}; {finding.would}", details={"kind": str(finding.kind)})
            owner = Scope(tenant_id=scope.tenant_id, user_id=finding.user_id)
            offer = await self._mend(tx, owner, finding)
            await AuditRepository(scope).append(
                tx,
                "finding.repaired",
                target=ref.target,
                at=self._clock.now(),
                detail={
                    "kind": str(ref.kind),
                    "user_id": str(ref.user_id),
                    "number": ref.number,
                    "done": finding.would,
                },
            )
            tx.after_commit(lambda: self._after(finding, offer))
            return finding

        return await self._database.write(work)

    def _before(self) -> datetime:
        return self._clock.now() - self._moment

    def _is_forgotten(self, finding: Finding) -> bool:
        """Whether nobody in this process is about to see to it."""
        run_id = finding.run_id
        if run_id is None or finding.kind not in (_K.RUN_LOST, _K.RUN_NOT_OFFERED):
            return True
        if self._dispatch.is_held(run_id):
            return False
        return finding.kind is _K.RUN_LOST or not self._dispatch.is_offered(run_id)

    async def _again(self, tx: Transaction, repository: FindingRepository, ref: FindingRef) -> Finding | None:
        finding = await repository.find(tx, ref, before=self._before())
        return finding if finding is not None and self._is_forgotten(finding) else None

    async def _among_ended(self, repository: FindingRepository, since: datetime) -> list[Finding]:
        found: list[Finding] = []
        after = RunMark(to_micros(since), "")
        while after != LAST_RUN and len(found) <= MAX_FINDINGS:

            async def work(tx: Transaction, after: RunMark = after) -> tuple[RunMark, list[Finding]]:
                until = await repository.next_run(tx, after)
                return until, await repository.of_ended(tx, RunPiece(after, until), limit=MAX_FINDINGS + 1)

            after, more = await self._database.read(work)
            found += more
        return found

    async def _among_threads(self, repository: FindingRepository, since: datetime) -> list[Finding]:
        found: list[Finding] = []
        after = ""
        while after != LAST_USER and len(found) <= MAX_FINDINGS:

            async def work(tx: Transaction, after: str = after) -> tuple[str, list[Finding]]:
                until = await repository.next_user(tx, after)
                return until, await repository.of_threads(tx, after, until, since=since, limit=MAX_FINDINGS + 1)

            after, more = await self._database.read(work)
            found += more
        return found

    async def _mend(self, tx: Transaction, owner: Scope, finding: Finding) -> RunRef | None:
        """It is done; whom to offer after the commit."""
        if finding.kind in (_K.LOG_BEYOND_HEAD, _K.LOG_CUT_SHORT):
            return await self._mend_head(tx, owner, finding)
        assert finding.run_id is not None, "every other kind is one of a run"
        run = await RunRepository(owner).get(tx, finding.run_id)
        if finding.kind in (_K.APPROVAL_OF_ENDED_RUN, _K.APPROVAL_EXPIRED):
            return await self._mend_approval(tx, owner, finding, run)
        if finding.kind in (_K.EXECUTION_OPEN, _K.STEP_OPEN):
            return await self._mend_journal(tx, owner, finding, run)
        return await self._mend_run(tx, owner, finding, run)

    async def _mend_run(self, tx: Transaction, owner: Scope, finding: Finding, run: Run) -> RunRef | None:
        match finding.kind:
            case _K.RUN_LOST:
                return await self._recovery.recover(tx, run)
            case _K.RUN_NOT_OFFERED:
                return run.ref
            case _K.RUN_NOT_ADMITTED:
                return await self._endings.admit_next(tx, owner, run)
            case _K.RUN_WAITS_FOR_NOTHING:
                await RunRepository(owner).move(tx, run.id, ExecutionState.PENDING, at=self._clock.now(), epoch=None)
                return run.ref
            case _K.RUN_OVER_IN_LOG:
                return (await self._endings.end_as_told(tx, owner, run)).following
            case _K.RUN_OF_DELETED_THREAD:
                cancelled = await self._cancellation.cancel_in(tx, owner, run, reason="the thread was deleted")
                if cancelled.signal:
                    tx.after_commit(lambda: self._bus.signal_cancel(run.ref))
                return cancelled.following
            case _:
                return (await self._endings.complete_end(tx, owner, run)).following

    async def _mend_approval(self, tx: Transaction, owner: Scope, finding: Finding, run: Run) -> RunRef | None:
        approval_id = ApprovalId(str(finding.approval_id))
        if finding.kind is _K.APPROVAL_EXPIRED:
            await self._recovery.expire(tx, run.ref, approval_id)
            return run.ref
        await self._endings.withdraw(tx, owner, await ApprovalRepository(owner).get(tx, approval_id))
        return None

    async def _mend_journal(self, tx: Transaction, owner: Scope, finding: Finding, run: Run) -> None:
        if finding.kind is _K.STEP_OPEN:
            await self._endings.close_steps(tx, owner, run)
            return
        assert finding.number is not None, "an execution has its epoch"
        await self._endings.close_execution(tx, owner, run, finding.number)

    async def _mend_head(self, tx: Transaction, owner: Scope, finding: Finding) -> None:
        thread = await ThreadRepository(owner).get(tx, finding.thread_id)
        await EventRepository(owner).mend_head(tx, thread.id)
        live = await RunRepository(owner).live(tx, thread.id)
        # Followers stand at the old number; a next event makes them read on from there.
        event = ThreadUpdated(title=thread.title, status=status_of(run.state for run in live))
        now = self._clock.now()
        drafted = draft(event, thread_id=thread.id, run_id=None, at=now)
        await self._log.append(tx, owner, thread.id, [drafted], at=now, moves_thread=False)

    def _after(self, finding: Finding, offer: RunRef | None) -> None:
        self._telemetry.info(LogEvent.FINDING_REPAIRED, kind=finding.kind, target=finding.ref.target)
        if offer is not None:
            self._bus.offer(offer)
