"""What disagrees in one tenant's rows. A kind of finding is one statement, for a whole look and for a second one alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.events import TERMINAL_TYPES
from cloche.domain.findings import Finding, FindingKind, FindingRef
from cloche.domain.runs import OWNED_STATES, ExecutionState
from cloche.domain.scope import Scope
from cloche.ids import ApprovalId, RunId, ThreadId, UserId
from cloche.storage.database import Param, Transaction

PIECE = 1_000
"""How many runs, or users, one look at what is over reads at most."""

_K = FindingKind
_Place = Literal["live", "ended", "approval", "thread"]


class FindingRow(NamedTuple):
    """What every statement here selects."""

    user_id: str
    thread_id: str
    run_id: str | None
    approval_id: str | None
    number: int | None
    state: str | None
    event: str | None
    since: int


class RunMark(NamedTuple):
    """A place among the tenant's runs in the order of their making."""

    created_at: int
    id: str


class _UserMark(NamedTuple):
    id: str


class RunPiece(NamedTuple):
    """The runs after ``after`` up to ``until``."""

    after: RunMark
    until: RunMark


LAST_RUN = RunMark(2**62, "~")
LAST_USER = "~"


class _Statement(NamedTuple):
    """A statement up to what narrows it: its first parameter is the tenant, the second, if ``is_timed``, a time."""

    place: _Place
    sql: str
    is_timed: bool = False
    number: str = ""


def _listed(words: frozenset[ExecutionState] | frozenset[str]) -> str:
    return "(" + ", ".join(f"'{word}'" for word in sorted(words)) + ")"


_TERMINAL = _listed(frozenset(state for state in ExecutionState if state.is_terminal))
RUN_STATE_SINCE = (
    "COALESCE(CASE runs.state "
    + " ".join(f"WHEN '{state}' THEN runs.{state}_at" for state in ExecutionState)
    + " END, runs.created_at)"
)
_IN_LOG = (
    "events.tenant_id = runs.tenant_id AND events.thread_id = runs.thread_id AND events.seq >= runs.first_seq "
    f"AND events.run_id = runs.id AND events.type IN {_listed(TERMINAL_TYPES)}"
)
_UNTOLD = f"AND NOT EXISTS (SELECT 1 FROM events WHERE {_IN_LOG}) "
_LIVE = "WHERE runs.tenant_id = ? AND runs.ended_at IS NULL "
_ENDED = "WHERE runs.tenant_id = ? AND runs.ended_at IS NOT NULL "
_OF_RUN = "{0}.tenant_id = runs.tenant_id AND {0}.user_id = runs.user_id AND {0}.run_id = runs.id "
_EXECUTIONS = f"JOIN executions ON {_OF_RUN.format('executions')} AND executions.ended_at IS NULL "
_STEPS = f"JOIN steps ON {_OF_RUN.format('steps')} AND steps.state = 'started' "
_THREADS = (
    "JOIN threads ON threads.tenant_id = runs.tenant_id AND threads.user_id = runs.user_id "
    "AND threads.id = runs.thread_id "
)
_LAST = (
    "(SELECT MAX(events.seq) FROM events WHERE events.tenant_id = threads.tenant_id AND events.thread_id = threads.id)"
)


def _run(joined: str = "", *, number: str = "NULL", event: str = "NULL", since: str = RUN_STATE_SINCE) -> str:
    columns = f"runs.user_id, runs.thread_id, runs.id, NULL, {number}, runs.state, {event}, {since}"
    return f"SELECT {columns} FROM runs {joined}"


def _approval(since: str) -> str:
    return (
        f"SELECT approvals.user_id, approvals.thread_id, approvals.run_id, approvals.id, NULL, runs.state, NULL, {since} "
        "FROM approvals JOIN runs ON runs.tenant_id = approvals.tenant_id AND runs.user_id = approvals.user_id "
        "AND runs.id = approvals.run_id WHERE approvals.tenant_id = ? AND approvals.state = 'pending' "
    )


def _thread(number: str) -> str:
    return (
        f"SELECT threads.user_id, threads.id, NULL, NULL, {number}, NULL, NULL, threads.updated_at FROM users "
        "JOIN threads ON threads.tenant_id = users.tenant_id AND threads.user_id = users.id "
        "WHERE users.tenant_id = ? AND threads.deleted_at IS NULL "
    )


_STATEMENTS: Mapping[FindingKind, tuple[_Statement, ...]] = {
    _K.RUN_LOST: (
        _Statement(
            "live",
            f"{_run()}{_LIVE}AND runs.state IN {_listed(OWNED_STATES)} AND {RUN_STATE_SINCE} <= ? {_UNTOLD}",
            is_timed=True,
        ),
    ),
    _K.RUN_NOT_OFFERED: (
        _Statement(
            "live",
            f"{_run()}{_LIVE}AND runs.state = 'pending' AND runs.admitted_at IS NOT NULL AND runs.pending_at <= ? "
            f"AND runs.admitted_at <= ? {_UNTOLD}",
            is_timed=True,
        ),
    ),
    _K.RUN_NOT_ADMITTED: (
        _Statement(
            "live",
            f"{_run()}{_LIVE}AND runs.state = 'pending' AND runs.admitted_at IS NULL {_UNTOLD}"
            "AND NOT EXISTS (SELECT 1 FROM runs AS other WHERE other.tenant_id = runs.tenant_id "
            "AND other.user_id = runs.user_id AND other.thread_id = runs.thread_id AND other.ended_at IS NULL "
            "AND (other.admitted_at IS NOT NULL OR other.first_seq < runs.first_seq)) ",
        ),
    ),
    _K.RUN_WAITS_FOR_NOTHING: (
        _Statement(
            "live",
            f"{_run()}{_LIVE}AND runs.state = 'waiting' {_UNTOLD}"
            f"AND NOT EXISTS (SELECT 1 FROM approvals WHERE {_OF_RUN.format('approvals')} "
            "AND approvals.state = 'pending') ",
        ),
    ),
    _K.RUN_OVER_IN_LOG: (
        _Statement(
            "live",
            f"{_run(f'JOIN events ON {_IN_LOG} ', number='events.seq', event='events.type', since='events.created_at')}"
            f"{_LIVE}AND runs.state NOT IN {_TERMINAL} ",
        ),
    ),
    _K.RUN_HALF_ENDED: (_Statement("live", f"{_run()}{_LIVE}AND runs.state IN {_TERMINAL} "),),
    _K.RUN_OF_DELETED_THREAD: (
        _Statement(
            "live",
            f"{_run(f'{_THREADS} AND threads.deleted_at IS NOT NULL ', since='threads.deleted_at')}{_LIVE}"
            f"AND runs.state NOT IN {_TERMINAL} AND runs.cancel_requested_at IS NULL ",
        ),
    ),
    _K.EXECUTION_OPEN: (
        _Statement(
            "live",
            f"{_run(_EXECUTIONS, number='executions.epoch', since='executions.started_at')}{_LIVE}"
            "AND (executions.epoch <> runs.epoch OR runs.state IN ('pending', 'waiting')) ",
            number="executions.epoch",
        ),
        _Statement(
            "ended",
            f"{_run(_EXECUTIONS, number='executions.epoch', since='runs.ended_at')}{_ENDED}",
            number="executions.epoch",
        ),
    ),
    _K.STEP_OPEN: (
        _Statement("ended", f"{_run(_STEPS, number='steps.idx', since='runs.ended_at')}{_ENDED}", number="steps.idx"),
    ),
    _K.RUN_WITHOUT_END: (
        _Statement(
            "ended",
            f"{_run(_THREADS, number='runs.last_seq', since='runs.ended_at')}{_ENDED}"
            # A log that begins later than the run is over says nothing any more.
            "AND (runs.last_seq >= threads.first_seq OR runs.first_seq >= threads.first_seq) "
            f"AND NOT EXISTS (SELECT 1 FROM events WHERE {_IN_LOG} AND events.seq = runs.last_seq) ",
        ),
    ),
    _K.APPROVAL_OF_ENDED_RUN: (_Statement("approval", f"{_approval('runs.ended_at')}AND runs.ended_at IS NOT NULL "),),
    _K.APPROVAL_EXPIRED: (
        _Statement(
            "approval",
            f"{_approval('approvals.expires_at')}AND approvals.expires_at <= ? AND runs.ended_at IS NULL ",
            is_timed=True,
        ),
    ),
    _K.LOG_BEYOND_HEAD: (_Statement("thread", f"{_thread(_LAST)}AND {_LAST} > threads.head_seq "),),
    _K.LOG_CUT_SHORT: (
        _Statement(
            "thread",
            f"{_thread(f'COALESCE({_LAST}, threads.first_seq - 1)')}"
            f"AND COALESCE({_LAST}, threads.first_seq - 1) < threads.head_seq ",
        ),
    ),
}
_ONE: Mapping[_Place, str] = {
    "live": "AND runs.user_id = ? AND runs.id = ? ",
    "ended": "AND runs.user_id = ? AND runs.id = ? ",
    "approval": "AND approvals.user_id = ? AND approvals.id = ? ",
    "thread": "AND threads.user_id = ? AND threads.id = ? ",
}


class FindingRepository:
    """The findings of the scope's tenant, whoever's rows they are. The caller has checked that the scope may see them.

    ``before`` is the time by which something must have come to be as it is where it may be so for a moment.
    """

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def of_live(self, tx: Transaction, *, before: datetime, limit: int) -> list[Finding]:
        """What is wrong with runs that are not over, and with open approvals; at most ``limit`` of each kind."""
        found: list[Finding] = []
        for kind, statement in _those("live", "approval"):
            found += await self._found(tx, kind, statement, "", (), before=before, limit=limit)
        return found

    async def of_ended(self, tx: Transaction, piece: RunPiece, *, limit: int) -> list[Finding]:
        """What is wrong with the runs of this piece that are over; at most ``limit`` of each kind."""
        found: list[Finding] = []
        for kind, statement in _those("ended"):
            found += await self._found(
                tx,
                kind,
                statement,
                "AND (runs.created_at, runs.id) > (?, ?) AND (runs.created_at, runs.id) <= (?, ?) ",
                (*piece.after, *piece.until),
                limit=limit,
            )
        return found

    async def of_threads(
        self, tx: Transaction, after: str, until: str, *, since: datetime, limit: int
    ) -> list[Finding]:
        """What is wrong with the threads, changed ``since``, of the users after one id up to another."""
        found: list[Finding] = []
        for kind, statement in _those("thread"):
            found += await self._found(
                tx,
                kind,
                statement,
                "AND users.id > ? AND users.id <= ? AND threads.updated_at >= ? ",
                (after, until, to_micros(since)),
                limit=limit,
            )
        return found

    async def find(self, tx: Transaction, ref: FindingRef, *, before: datetime) -> Finding | None:
        """The finding as the rows are now; None when there is none there."""
        for statement in _STATEMENTS[ref.kind]:
            narrow, params = _ONE[statement.place], (str(ref.user_id), ref.target)
            if statement.number:
                narrow, params = f"{narrow}AND {statement.number} = ? ", (*params, ref.number)
            found = await self._found(tx, ref.kind, statement, narrow, params, before=before, limit=1)
            if found:
                return found[0]
        return None

    async def next_run(self, tx: Transaction, after: RunMark) -> RunMark:
        """Where a piece that begins after that place ends."""
        found = await tx.first(
            RunMark,
            "SELECT created_at, id FROM runs WHERE tenant_id = ? AND (created_at, id) > (?, ?) "
            "ORDER BY created_at, id LIMIT 1 OFFSET ?",
            self._tenant,
            *after,
            PIECE - 1,
        )
        return found or LAST_RUN

    async def next_user(self, tx: Transaction, after: str) -> str:
        """The user with whom a piece that begins after that one ends."""
        found = await tx.first(
            _UserMark,
            "SELECT id FROM users WHERE tenant_id = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?",
            self._tenant,
            after,
            PIECE - 1,
        )
        return LAST_USER if found is None else found.id

    async def _found(
        self,
        tx: Transaction,
        kind: FindingKind,
        statement: _Statement,
        narrow: str,
        params: tuple[Param, ...],
        *,
        limit: int,
        before: datetime | None = None,
    ) -> list[Finding]:
        times: tuple[Param, ...] = ()
        if statement.is_timed:
            assert before is not None, "what may be so for a moment is looked at with a time"
            times = (to_micros(before),) * (statement.sql.count("?") - 1)
        rows = await tx.fetch(FindingRow, f"{statement.sql}{narrow}LIMIT ?", self._tenant, *times, *params, limit)
        return [_finding(kind, row) for row in rows]


def _those(*places: _Place) -> list[tuple[FindingKind, _Statement]]:
    return [
        (kind, statement)
        for kind, statements in _STATEMENTS.items()
        for statement in statements
        if statement.place in places
    ]


def _finding(kind: FindingKind, row: FindingRow) -> Finding:
    return Finding(
        kind=kind,
        user_id=UserId(row.user_id),
        thread_id=ThreadId(row.thread_id),
        run_id=None if row.run_id is None else RunId(row.run_id),
        approval_id=None if row.approval_id is None else ApprovalId(row.approval_id),
        number=row.number,
        state=None if row.state is None else ExecutionState(row.state),
        event=row.event,
        since=from_micros(row.since),
    )
