"""The journal's rows."""

from __future__ import annotations

from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.ids import RunId
from cloche.storage.database import Transaction


class StepRow(NamedTuple):
    """What the journal holds of a step; times are microseconds."""

    idx: int
    kind: str
    name: str
    state: str
    reference: str
    input_digest: bytes
    result: bytes
    epoch: int
    started_at: int
    ended_at: int | None


class StepRepository:
    """The steps of one user's runs."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def put(self, tx: Transaction, run_id: RunId, step: Step) -> None:
        """The step's row says what ``step`` says; a row of the same number is replaced."""
        await tx.execute(
            "INSERT INTO steps (tenant_id, user_id, run_id, idx, kind, name, state, reference, input_digest, result, "
            "epoch, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (tenant_id, user_id, run_id, idx) DO UPDATE SET state = excluded.state, "
            "reference = excluded.reference, result = excluded.result, epoch = excluded.epoch, "
            "started_at = excluded.started_at, ended_at = excluded.ended_at",
            self._tenant,
            self._user,
            str(run_id),
            step.index,
            str(step.kind),
            step.name,
            str(step.state),
            step.reference,
            step.input_digest,
            step.result,
            step.epoch,
            to_micros(step.started_at),
            None if step.ended_at is None else to_micros(step.ended_at),
        )

    async def list(self, tx: Transaction, run_id: RunId) -> list[Step]:
        """The run's steps, in order."""
        rows = await tx.fetch(
            StepRow,
            "SELECT idx, kind, name, state, reference, input_digest, result, epoch, started_at, ended_at FROM steps "
            "WHERE tenant_id = ? AND user_id = ? AND run_id = ? ORDER BY idx",
            self._tenant,
            self._user,
            str(run_id),
        )
        return [
            Step(
                index=row.idx,
                kind=StepKind(row.kind),
                name=row.name,
                state=StepState(row.state),
                reference=row.reference,
                input_digest=row.input_digest,
                result=row.result,
                epoch=row.epoch,
                started_at=from_micros(row.started_at),
                ended_at=None if row.ended_at is None else from_micros(row.ended_at),
            )
            for row in rows
        ]
