"""The story of one run of a tenant without what was said in it: executions, steps, approvals and events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros
from cloche.domain.approvals import ApprovalState
from cloche.domain.runs import RunRef
from cloche.domain.scope import Scope
from cloche.domain.steps import StepKind, StepState
from cloche.errors import ToolUnknownError
from cloche.ids import ApprovalId
from cloche.storage.database import Transaction

# The outcome of a call of a tool that there is none of is shorter.
_SHORT_BYTES = 16 * 1024
_OF_RUN = "tenant_id = ? AND user_id = ? AND run_id = ?"


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """What of a step's result may be told: the code of a failure, or ``value``, which holds that of a tool."""

    code: str = ""
    value: bytes = b""


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What of a tool's outcome may be told."""

    code: str = ""


_RESULT = msgspec.json.Decoder(_Result)
_OUTCOME = msgspec.json.Decoder(_Outcome)


class _ExecutionRow(NamedTuple):
    id: str
    epoch: int
    worker_id: str
    state: str
    started_at: int
    ended_at: int | None


class _StepRow(NamedTuple):
    idx: int
    kind: str
    name: str
    state: str
    reference: str
    result: bytes | None
    epoch: int
    started_at: int
    ended_at: int | None


class _ReferenceRow(NamedTuple):
    reference: str
    result: bytes


class _ApprovalRow(NamedTuple):
    id: str
    tool: str
    state: str
    created_at: int
    expires_at: int
    decided_at: int | None


class _FirstRow(NamedTuple):
    first_seq: int


class EventRow(NamedTuple):
    """An event of the log; ``body`` is what its owner gets, and nobody else."""

    seq: int
    type: str
    created_at: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStory:
    """One attempt at a run."""

    id: str
    epoch: int
    worker_id: str
    state: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStory:
    """One step without what was asked in it and what came of it.

    ``name`` is None for a call of a tool that there is none of: whoever called it made the name up. ``code`` says why it
    did not succeed.
    """

    index: int
    kind: StepKind
    name: str | None
    state: StepState
    reference: str
    code: str | None
    epoch: int
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStory:
    """One approval without its question and its arguments."""

    id: ApprovalId
    tool: str
    state: ApprovalState
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None


class RunStoryRepository:
    """What happened in the runs of the scope's tenant. The caller has checked that the scope may see them.

    Of a ``RunRef`` the tenant does not count: it is the scope's.
    """

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def executions(self, tx: Transaction, ref: RunRef) -> list[ExecutionStory]:
        """The attempts at the run, in order."""
        rows = await tx.fetch(
            _ExecutionRow,
            f"SELECT id, epoch, worker_id, state, started_at, ended_at FROM executions WHERE {_OF_RUN} ORDER BY epoch",
            *self._place(ref),
        )
        return [
            ExecutionStory(
                id=row.id,
                epoch=row.epoch,
                worker_id=row.worker_id,
                state=row.state,
                started_at=from_micros(row.started_at),
                ended_at=_time(row.ended_at),
            )
            for row in rows
        ]

    async def steps(self, tx: Transaction, ref: RunRef) -> list[StepStory]:
        """The run's journal, in order."""
        rows = await tx.fetch(
            _StepRow,
            "SELECT idx, kind, name, state, reference, "
            f"CASE WHEN (kind = 'tool' OR state = 'failed') AND LENGTH(result) <= {_SHORT_BYTES} THEN result END, "
            f"epoch, started_at, ended_at FROM steps WHERE {_OF_RUN} ORDER BY idx",
            *self._place(ref),
        )
        return [_step(row) for row in rows]

    async def unknown_tools(self, tx: Transaction, ref: RunRef) -> frozenset[str]:
        """The references of the run's calls of tools that there are none of."""
        rows = await tx.fetch(
            _ReferenceRow,
            f"SELECT reference, result FROM steps WHERE {_OF_RUN} AND kind = 'tool' AND LENGTH(result) <= {_SHORT_BYTES}",
            *self._place(ref),
        )
        return frozenset(row.reference for row in rows if _code(row.result) == ToolUnknownError.code)

    async def approvals(self, tx: Transaction, ref: RunRef) -> list[ApprovalStory]:
        """What the run asked of people, in order."""
        rows = await tx.fetch(
            _ApprovalRow,
            f"SELECT id, tool, state, created_at, expires_at, decided_at FROM approvals WHERE {_OF_RUN} "
            "ORDER BY created_at, id",
            *self._place(ref),
        )
        return [
            ApprovalStory(
                id=ApprovalId(row.id),
                tool=row.tool,
                state=ApprovalState(row.state),
                created_at=from_micros(row.created_at),
                expires_at=from_micros(row.expires_at),
                decided_at=_time(row.decided_at),
            )
            for row in rows
        ]

    async def events(self, tx: Transaction, ref: RunRef, *, after: int, until: int, limit: int) -> list[EventRow]:
        """Up to ``limit`` events of the run between two numbers (the first exclusive), in order."""
        return await tx.fetch(
            EventRow,
            "SELECT seq, type, created_at, body FROM events WHERE tenant_id = ? AND thread_id = ? AND seq > ? "
            "AND seq <= ? AND user_id = ? AND run_id = ? ORDER BY seq LIMIT ?",
            self._tenant,
            str(ref.thread_id),
            after,
            until,
            str(ref.user_id),
            str(ref.run_id),
            limit,
        )

    async def log_begins_at(self, tx: Transaction, ref: RunRef) -> int | None:
        """The first number that the log of the run's thread still has; None when there is no such thread."""
        row = await tx.first(
            _FirstRow,
            "SELECT first_seq FROM threads WHERE tenant_id = ? AND user_id = ? AND id = ?",
            self._tenant,
            str(ref.user_id),
            str(ref.thread_id),
        )
        return None if row is None else row.first_seq

    def _place(self, ref: RunRef) -> tuple[str, str, str]:
        return self._tenant, str(ref.user_id), str(ref.run_id)


def _step(row: _StepRow) -> StepStory:
    code = None if row.result is None else _code(row.result)
    return StepStory(
        index=row.idx,
        kind=StepKind(row.kind),
        name=None if code == ToolUnknownError.code else row.name,
        state=StepState(row.state),
        reference=row.reference,
        code=code,
        epoch=row.epoch,
        started_at=from_micros(row.started_at),
        ended_at=_time(row.ended_at),
    )


def _code(result: bytes) -> str | None:
    """Why the step, or the call in it, did not succeed; None when it did, or has no outcome."""
    try:
        found = _RESULT.decode(result) if result else None
        if found is None or found.code:
            return None if found is None else found.code
        return (_OUTCOME.decode(found.value).code or None) if found.value else None
    except msgspec.DecodeError:
        return None


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
