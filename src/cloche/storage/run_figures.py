"""How many runs a tenant has had, how long they took, and why some did not end well: counted from their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.ids import RunId
from cloche.storage.database import Param, Transaction

MAX_COUNTED = 100_000
"""How many runs one question reads at most; the index on their time gives no others."""

_MICROSECOND = timedelta(microseconds=1)
# A run that waited for a person, or lost a worker, has several executions; the first one is when it was taken up.
_FIRST_EXECUTION = (
    "LEFT JOIN executions ON executions.tenant_id = runs.tenant_id AND executions.user_id = runs.user_id "
    "AND executions.run_id = runs.id AND executions.epoch = 1"
)
_ACCEPTED = (
    "SELECT (runs.created_at - ?) / ? AS place, executions.started_at - runs.created_at AS took "
    f"FROM runs {_FIRST_EXECUTION} WHERE runs.tenant_id = ? AND runs.created_at >= ? AND runs.created_at < ? LIMIT ?"
)
_ENDED = (
    "SELECT (runs.ended_at - ?) / ? AS place, runs.state AS state, runs.ended_at - executions.started_at AS took "
    f"FROM runs {_FIRST_EXECUTION} WHERE runs.tenant_id = ? AND runs.ended_at >= ? AND runs.ended_at < ? LIMIT ?"
)


def _percentiles(rows: str) -> str:
    """The time that 50 and 95 of 100 do not exceed, by nearest rank, for each place."""
    return (
        "SELECT place, MIN(CASE WHEN rank * 100 >= whole * 50 THEN took END), "
        "MIN(CASE WHEN rank * 100 >= whole * 95 THEN took END) FROM ("
        "SELECT place, took, ROW_NUMBER() OVER (PARTITION BY place ORDER BY took) AS rank, "
        f"COUNT(*) OVER (PARTITION BY place) AS whole FROM ({rows}) AS timed WHERE took IS NOT NULL) AS ranked "
        "GROUP BY place"
    )


class _CountRow(NamedTuple):
    place: int
    runs: int


class _StateRow(NamedTuple):
    place: int
    state: str
    runs: int


class _TimesRow(NamedTuple):
    place: int
    p50: int
    p95: int


class _FailureRow(NamedTuple):
    code: str
    agent: str
    state: str
    runs: int
    retryable: int
    last_at: int
    last_run_id: str
    total: int


class _TokensRow(NamedTuple):
    place: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What half of the runs, and 95 of 100 of them, did not exceed (nearest rank)."""

    p50: timedelta
    p95: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of model calls, added up."""

    input: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Runs that ended in the same way for the same reason. ``is_retryable``: of any of them the same may succeed later."""

    code: str
    agent: str
    state: ExecutionState
    runs: int
    is_retryable: bool
    last_at: datetime
    last_run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time cut into equal pieces, which are numbered from 0: from ``since`` up to, but not with, ``until``."""

    since: datetime
    until: datetime
    piece: timedelta


class RunFigureRepository:
    """Figures of the scope's tenant, whoever's runs they count. The caller has checked that the scope may see them.

    Of a span with more than ``MAX_COUNTED`` runs only so many are read, so ``accepted`` and ``ended`` tell of one that is
    too long by counting more than that.
    """

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def accepted(self, tx: Transaction, span: Span) -> Mapping[int, int]:
        """How many runs were accepted in each piece."""
        sql = f"SELECT place, COUNT(*) FROM ({_ACCEPTED}) AS timed GROUP BY place"
        return {row.place: row.runs for row in await tx.fetch(_CountRow, sql, *self._limits(span))}

    async def waits(self, tx: Transaction, span: Span) -> Mapping[int, Times]:
        """How long the runs that were accepted in each piece waited for a worker; without those that still do."""
        return _times(await tx.fetch(_TimesRow, _percentiles(_ACCEPTED), *self._limits(span)))

    async def ended(self, tx: Transaction, span: Span) -> Mapping[int, Mapping[ExecutionState, int]]:
        """How many runs ended in each piece, by their last state."""
        sql = f"SELECT place, state, COUNT(*) FROM ({_ENDED}) AS timed GROUP BY place, state ORDER BY place, state"
        found: defaultdict[int, dict[ExecutionState, int]] = defaultdict(dict)
        for row in await tx.fetch(_StateRow, sql, *self._limits(span)):
            found[row.place][ExecutionState(row.state)] = row.runs
        return found

    async def durations(self, tx: Transaction, span: Span) -> Mapping[int, Times]:
        """How long the runs that ended in each piece took from their first start on, waiting for people included."""
        return _times(await tx.fetch(_TimesRow, _percentiles(_ENDED), *self._limits(span)))

    async def tokens(self, tx: Transaction, span: Span) -> Mapping[int, Tokens]:
        """What the model calls that were done in each piece used, also those of runs that are not over."""
        rows = await tx.fetch(
            _TokensRow,
            "SELECT (created_at - ?) / ? AS place, SUM(input_tokens), SUM(output_tokens) FROM usage_entries "
            "WHERE tenant_id = ? AND created_at >= ? AND created_at < ? GROUP BY place",
            *self._limits(span)[:-1],
        )
        return {row.place: Tokens(input=row.input_tokens, output=row.output_tokens) for row in rows}

    async def failures(self, tx: Transaction, *, since: datetime, limit: int) -> tuple[list[FailureGroup], int]:
        """Why runs ended in failure, in a timeout or dead since then, the most frequent first; and how many did in all.

        At most ``limit`` groups, of the first ``MAX_COUNTED`` such runs.
        """
        rows = await tx.fetch(
            _FailureRow,
            "SELECT code, agent, state, runs, retryable, last_at, id, total FROM (SELECT code, agent, state, id, "
            "COUNT(*) OVER (PARTITION BY code, agent, state) AS runs, "
            "MAX(retryable) OVER (PARTITION BY code, agent, state) AS retryable, ended_at AS last_at, "
            "COUNT(*) OVER () AS total, "
            "ROW_NUMBER() OVER (PARTITION BY code, agent, state ORDER BY ended_at DESC, id DESC) AS rank "
            "FROM (SELECT COALESCE(failure_code, state) AS code, agent, state, id, ended_at, "
            "COALESCE(failure_retryable, 0) AS retryable FROM runs WHERE tenant_id = ? AND ended_at >= ? "
            "AND state IN ('dead', 'failed', 'timeout') LIMIT ?) AS bad) AS grouped "
            "WHERE rank = 1 ORDER BY runs DESC, last_at DESC, id LIMIT ?",
            self._tenant,
            to_micros(since),
            MAX_COUNTED,
            limit,
        )
        return [_failure(row) for row in rows], rows[0].total if rows else 0

    def _limits(self, span: Span) -> tuple[Param, ...]:
        since, until = to_micros(span.since), to_micros(span.until)
        return since, span.piece // _MICROSECOND, self._tenant, since, until, MAX_COUNTED + 1


def _times(rows: list[_TimesRow]) -> Mapping[int, Times]:
    return {row.place: Times(p50=row.p50 * _MICROSECOND, p95=row.p95 * _MICROSECOND) for row in rows}


def _failure(row: _FailureRow) -> FailureGroup:
    return FailureGroup(
        code=row.code,
        agent=row.agent,
        state=ExecutionState(row.state),
        runs=row.runs,
        is_retryable=bool(row.retryable),
        last_at=from_micros(row.last_at),
        last_run_id=RunId(row.last_run_id),
    )
