"""A run that waits for a person: opening the question, and letting go of the execution."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cloche.clock import Clock
from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step
from cloche.events.log import EventLog
from cloche.execution.patience import patiently
from cloche.ids import ApprovalId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from cloche.telemetry import Telemetry

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person is asked."""

    tool: str
    question: str
    arguments: Mapping[str, object]
    schema: Mapping[str, object]


class Waiting:
    """Opens approvals for one execution of a run."""

    def __init__(
        self,
        *,
        database: Database,
        log: EventLog,
        clock: Clock,
        telemetry: Telemetry,
        scope: Scope,
        run: Run,
        on_suspended: Callable[[], None],
    ) -> None:
        self._database = database
        self._log = log
        self._clock = clock
        self._telemetry = telemetry
        self._scope = scope
        self._run = run
        self._on_suspended = on_suspended
        self._approvals = ApprovalRepository(scope)
        self._runs = RunRepository(scope)

    async def open(
        self, approval: Approval, requested: EventDraft, step: Step | None, *, since: datetime | None
    ) -> Approval | None:
        """The decided approval of this call; or None, and then the run waits and this execution is over.

        Nobody is asked on behalf of a run that is being cancelled; its execution is over, too.
        With ``since`` an approval that was asked for earlier does not count. ``step`` is written with a new question.

        Guarantees: asking, the step and the move to ``waiting`` are one transaction, in which the decision is looked for
        once more: a decision that comes at the same moment is never missed. A failing database delays it.

        Raises:
            LeaseLostError: another execution owns the run.
        """
        run = self._run

        async def work(tx: Transaction) -> Approval | None:
            state = await self._runs.fence(tx, run.id, run.epoch)
            if state is ExecutionState.CANCELLING:
                return None
            known = await self._approvals.of_call(tx, run.id, approval.tool_call_id)
            if known is not None and since is not None and known.created_at < since:
                known = None
            if known is not None and known.state is not ApprovalState.PENDING:
                return known
            now = self._clock.now()
            if known is None:
                if step is not None:
                    await StepRepository(self._scope).put(tx, run.id, step)
                await self._approvals.create(tx, approval)
                await self._log.append(tx, self._scope, run.thread_id, [requested], at=now)
            if state is ExecutionState.RUNNING:
                await self._runs.pause(tx, run.id, run.epoch, at=now)
                await self._runs.end_execution(tx, run.id, run.epoch, "suspended", at=now)
            return None

        decided = await self._patiently(lambda: self._database.write(work))
        if decided is None:
            self._on_suspended()
        return decided

    async def get(self, approval_id: ApprovalId) -> Approval:
        """The approval as it stands now.

        Raises:
            NotFoundError: there is none of that id.
        """
        return await self._patiently(lambda: self._database.read(lambda tx: self._approvals.get(tx, approval_id)))

    async def _patiently(self, attempt_it: Callable[[], Awaitable[T]]) -> T:
        return await patiently(attempt_it, run_id=self._run.id, telemetry=self._telemetry)
