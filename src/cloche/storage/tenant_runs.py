"""The runs of a whole tenant: for its administrators, who see how runs stand and nothing of what was said."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from cloche.clock import from_micros, to_micros
from cloche.domain.runs import LIVE_STATES, ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import ApprovalId, RunId, UserId
from cloche.storage.database import Param, Transaction
from cloche.storage.findings import RUN_STATE_SINCE
from cloche.storage.pages import Page, PageRequest, cursor_of
from cloche.storage.runs import COLUMNS, RunRow, run_of

NEWEST = "runs"
STUCK = "stuck_runs"
"""The kinds of the cursors of a list's two orders."""

_NOT_WELL = frozenset({ExecutionState.CANCELLED, ExecutionState.DEAD, ExecutionState.FAILED, ExecutionState.TIMEOUT})
# Word for word the condition of their own index, for the planner to know it by.
_IN_NOT_WELL = "state IN (" + ", ".join(f"'{state}'" for state in sorted(_NOT_WELL)) + ")"
# A run that waits for a person stands behind all that should move: no time reaches this number of microseconds.
_BEHIND = 10**17
# A run that nobody has claimed yet has the two events of its acceptance; one that is over ends with its last event.
_LAST_EVENT = (
    "FROM events WHERE events.tenant_id = runs.tenant_id AND events.thread_id = runs.thread_id "
    "AND events.seq >= runs.first_seq AND events.seq <= CASE WHEN runs.ended_at IS NOT NULL THEN runs.last_seq "
    f"WHEN runs.epoch = 0 THEN runs.first_seq + 1 ELSE {2**62} END "
    "AND events.user_id = runs.user_id AND events.run_id = runs.id ORDER BY events.seq DESC LIMIT 1"
)
_OPEN_APPROVAL = (
    "FROM approvals AS asked WHERE asked.tenant_id = runs.tenant_id AND asked.user_id = runs.user_id "
    "AND asked.run_id = runs.id AND asked.state = 'pending' ORDER BY asked.created_at DESC, asked.id DESC LIMIT 1"
)
_STUCK = (
    f"SELECT {COLUMNS} FROM (SELECT runs.*, "
    f"CASE WHEN state = 'waiting' THEN {_BEHIND} ELSE 0 END + CASE WHEN told_at > stood_at THEN told_at ELSE stood_at END "
    f"AS place FROM (SELECT runs.*, {RUN_STATE_SINCE} AS stood_at, "
    f"COALESCE((SELECT events.created_at {_LAST_EVENT}), 0) AS told_at FROM runs WHERE {{0}}) AS runs) AS runs "
    "WHERE (place, id) > (?, ?) ORDER BY place, id LIMIT ?"
)


class _CountRow(NamedTuple):
    state: str
    runs: int


class _TimeRow(NamedTuple):
    at: int | None


class _FactsRow(NamedTuple):
    email: str | None
    name: str | None
    worker_id: str | None
    lease_until: int | None
    seq: int | None
    type: str | None
    told_at: int | None
    approval_id: str | None
    tool: str | None
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The newest event of a run that its log still has."""

    seq: int
    type: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuestion:
    """The approval that a run waits for."""

    approval_id: ApprovalId
    tool: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRun:
    """A run of somebody of the tenant, and what an operator asks about it."""

    run: Run
    email: str = field(repr=False)
    name: str = field(repr=False)
    worker_id: str | None
    lease_until: datetime | None
    last_event: LastEvent | None
    waiting_for: OpenQuestion | None

    @property
    def state_since(self) -> datetime:
        """When the run came into its state."""
        return self.run.state_times.get(self.run.state, self.run.created_at)

    @property
    def stuck_place(self) -> int:
        """Where the run stands among the live ones: the longer nothing happened to it, the sooner."""
        told_at = self.state_since if self.last_event is None else self.last_event.at
        behind = _BEHIND if self.run.state is ExecutionState.WAITING else 0
        return behind + to_micros(max(told_at, self.state_since))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChoice:
    """Which runs are wanted: those that fit all of it. ``states`` empty is any state, None is any at all."""

    states: frozenset[ExecutionState] = frozenset()
    is_live: bool | None = None
    agent: str | None = None
    user_id: UserId | None = None


EVERY_RUN = RunChoice()


class TenantRunRepository:
    """The runs of the scope's tenant, whoever owns them. The caller has checked that the scope may see them."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def list(
        self, tx: Transaction, page: PageRequest, choice: RunChoice = EVERY_RUN, *, stuck_first: bool = False
    ) -> Page[MemberRun]:
        """The tenant's runs that fit the choice, newest first.

        With ``stuck_first`` those that are live, by how long nothing happened to them, longest first, and those that wait
        for a person behind all others. A run to which something happens between two pages may come again.
        """
        if stuck_first:
            return await self._stuck(tx, page, choice)
        conditions, params = self._chosen(choice)
        number, identity = page.before or (2**62, "~")
        if choice.user_id is None:
            conditions, order = f"{conditions} AND (created_at, id) < (?, ?)", "created_at DESC, id DESC"
            params += (number, identity)
        else:
            # An id is made when its run is, and ids increase; so the primary key has one user's runs in their order.
            conditions, order = f"{conditions} AND id < ?", "id DESC"
            params += (identity,)
        rows = await tx.fetch(
            RunRow, f"SELECT {COLUMNS} FROM runs WHERE {conditions} ORDER BY {order} LIMIT ?", *params, page.limit + 1
        )
        kept = [await self._with_facts(tx, run_of(row)) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        return Page(
            items=kept,
            next_cursor=cursor_of(NEWEST, to_micros(kept[-1].run.created_at), kept[-1].run.id) if more else None,
        )

    async def get(self, tx: Transaction, run_id: RunId) -> MemberRun:
        """The run, whoever of the tenant owns it.

        Raises:
            NotFoundError: the tenant has none of that id.
        """
        row = await tx.first(
            RunRow, f"SELECT {COLUMNS} FROM runs WHERE tenant_id = ? AND id = ?", self._tenant, str(run_id)
        )
        if row is None:
            raise NotFoundError("there is no such run")
        return await self._with_facts(tx, run_of(row))

    async def count_live(self, tx: Transaction) -> dict[ExecutionState, int]:
        """How many of the tenant's runs are in each live state."""
        rows = await tx.fetch(
            _CountRow,
            "SELECT state, COUNT(*) FROM runs WHERE tenant_id = ? AND ended_at IS NULL GROUP BY state",
            self._tenant,
        )
        found = {ExecutionState(row.state): row.runs for row in rows}
        return {state: found.get(state, 0) for state in sorted(LIVE_STATES)}

    async def oldest_pending_at(self, tx: Transaction) -> datetime | None:
        """Since when the tenant's run that waits longest for a worker is pending; None when none is."""
        row = await tx.first(
            _TimeRow,
            "SELECT MIN(pending_at) FROM runs WHERE tenant_id = ? AND ended_at IS NULL AND state = 'pending'",
            self._tenant,
        )
        return None if row is None or row.at is None else from_micros(row.at)

    async def _stuck(self, tx: Transaction, page: PageRequest, choice: RunChoice) -> Page[MemberRun]:
        conditions, params = self._chosen(choice)
        place, identity = page.before or (0, "")
        rows = await tx.fetch(
            RunRow,
            _STUCK.format(f"{conditions} AND ended_at IS NULL"),
            *params,
            place,
            identity,
            page.limit + 1,
        )
        kept = [await self._with_facts(tx, run_of(row)) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        return Page(items=kept, next_cursor=cursor_of(STUCK, kept[-1].stuck_place, kept[-1].run.id) if more else None)

    def _chosen(self, choice: RunChoice) -> tuple[str, tuple[Param, ...]]:
        """The conditions of the choice, and what is bound in them. Each index is named by what it holds."""
        conditions, params = ["tenant_id = ?"], [self._tenant]
        if choice.user_id is not None:
            conditions.append("user_id = ?")
            params.append(str(choice.user_id))
        if choice.agent is not None:
            conditions.append("agent = ?")
            params.append(choice.agent)
        if choice.states:
            conditions.append(f"state IN ({', '.join('?' for _ in choice.states)})")
            params += sorted(choice.states)
            if choice.states <= _NOT_WELL:
                conditions.append(_IN_NOT_WELL)
        if choice.is_live is not None or (choice.states and choice.states <= LIVE_STATES):
            conditions.append("ended_at IS NOT NULL" if choice.is_live is False else "ended_at IS NULL")
        return " AND ".join(conditions), tuple(params)

    async def _with_facts(self, tx: Transaction, run: Run) -> MemberRun:
        row = await tx.first(
            _FactsRow,
            "SELECT users.email, users.name, runs.worker_id, runs.lease_until, events.seq, events.type, "
            "events.created_at, approvals.id, approvals.tool, approvals.expires_at FROM runs "
            "LEFT JOIN users ON users.tenant_id = runs.tenant_id AND users.id = runs.user_id "
            "LEFT JOIN events ON events.tenant_id = runs.tenant_id AND events.thread_id = runs.thread_id "
            f"AND events.seq = (SELECT events.seq {_LAST_EVENT}) "
            "LEFT JOIN approvals ON approvals.tenant_id = runs.tenant_id AND approvals.user_id = runs.user_id "
            f"AND runs.state = 'waiting' AND approvals.id = (SELECT asked.id {_OPEN_APPROVAL}) "
            "WHERE runs.tenant_id = ? AND runs.user_id = ? AND runs.id = ?",
            self._tenant,
            str(run.ref.user_id),
            str(run.id),
        )
        assert row is not None, "the run was read in this transaction"
        return _member_run(run, row)


def _member_run(run: Run, row: _FactsRow) -> MemberRun:
    last, question = None, None
    if row.seq is not None and row.type is not None and row.told_at is not None:
        last = LastEvent(seq=row.seq, type=row.type, at=from_micros(row.told_at))
    if row.approval_id is not None and row.tool is not None and row.expires_at is not None:
        question = OpenQuestion(
            approval_id=ApprovalId(row.approval_id), tool=row.tool, expires_at=from_micros(row.expires_at)
        )
    return MemberRun(
        run=run,
        email=row.email or "",
        name=row.name or "",
        worker_id=row.worker_id,
        lease_until=None if row.lease_until is None else from_micros(row.lease_until),
        last_event=last,
        waiting_for=question,
    )
