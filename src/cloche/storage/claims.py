"""Claiming runs for a worker, and finding those whose worker is gone: the one place that crosses users on purpose."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cloche.clock import to_micros
from cloche.domain.runs import LIVE_STATES, ExecutionState, Run, RunRef
from cloche.domain.scope import SystemScope
from cloche.ids import ExecutionId, RunId, TenantId, ThreadId, UserId
from cloche.storage.database import Transaction
from cloche.storage.runs import COLUMNS, RunRow, run_of

_RETURNING = f" RETURNING {COLUMNS}"


class RefRow(NamedTuple):
    """Where a run is."""

    tenant_id: str
    user_id: str
    thread_id: str
    id: str


class StateCountRow(NamedTuple):
    """How many runs are in a state."""

    state: str
    runs: int


class OwnerRow(NamedTuple):
    """A user's role and state, and whether the tenant is open."""

    role: str
    status: str
    tenant_status: str


class _GrantedOwnerRow(NamedTuple):
    role: str
    status: str
    tenant_status: str | None
    has_grants: int


class _GrantRow(NamedTuple):
    permission: str


class ClaimRepository:
    """What the claim loop and the recovery do, across tenants."""

    def __init__(self, scope: SystemScope) -> None:
        self.scope = scope

    async def claim(
        self, tx: Transaction, ref: RunRef, *, worker: str, execution_id: ExecutionId, at: datetime
    ) -> Run | None:
        """The run belongs to a new execution with the next epoch; None when somebody else has it, or it is over.

        A run without a deadline gets one: its time, counted from ``at``.

        Guarantees: one guarded UPDATE; of two claimers one gets the run.
        """
        now = to_micros(at)
        rows = await tx.fetch(
            RunRow,
            "UPDATE runs SET epoch = epoch + 1, attempt = attempt + 1, state = 'starting', starting_at = ?, worker_id = ?, "
            "deadline_at = COALESCE(deadline_at, ? + timeout_us) "
            "WHERE tenant_id = ? AND user_id = ? AND id = ? AND state = 'pending' AND admitted_at IS NOT NULL"
            + _RETURNING,
            now,
            worker,
            now,
            str(ref.tenant_id),
            str(ref.user_id),
            str(ref.run_id),
        )
        if not rows:
            return None
        run = run_of(rows[0])
        await self.add_execution(tx, run, worker=worker, execution_id=execution_id, at=at)
        return run

    async def add_execution(
        self, tx: Transaction, run: Run, *, worker: str, execution_id: ExecutionId, at: datetime
    ) -> None:
        """The run's epoch has this execution, which works since ``at``."""
        await tx.execute(
            "INSERT INTO executions (tenant_id, user_id, run_id, epoch, id, worker_id, state, started_at) "
            "VALUES (?, ?, ?, ?, ?, ?, 'running', ?)",
            str(run.ref.tenant_id),
            str(run.ref.user_id),
            str(run.id),
            run.epoch,
            str(execution_id),
            worker,
            to_micros(at),
        )

    async def owner(self, tx: Transaction, ref: RunRef) -> tuple[OwnerRow | None, frozenset[str]]:
        """The run's user as the rows say now, and what was granted to that user by name."""
        tenant, user = str(ref.tenant_id), str(ref.user_id)
        row = await tx.first(
            _GrantedOwnerRow,
            "SELECT role, status, (SELECT status FROM tenants WHERE tenants.id = users.tenant_id), "
            "EXISTS (SELECT 1 FROM grants WHERE grants.tenant_id = users.tenant_id AND subject = users.id) "
            "FROM users WHERE tenant_id = ? AND id = ?",
            tenant,
            user,
        )
        if row is None or row.tenant_status is None:
            return None, frozenset()
        owner = OwnerRow(row.role, row.status, row.tenant_status)
        if not row.has_grants:
            return owner, frozenset()
        grants = await tx.fetch(
            _GrantRow, "SELECT permission FROM grants WHERE tenant_id = ? AND subject = ?", tenant, user
        )
        return owner, frozenset(grant.permission for grant in grants)

    async def unfinished(self, tx: Transaction) -> list[Run]:
        """Every run that has not ended, oldest first."""
        rows = await tx.fetch(RunRow, f"SELECT {COLUMNS} FROM runs WHERE ended_at IS NULL ORDER BY created_at, id")
        return [run_of(row) for row in rows]

    async def offered(self, tx: Transaction) -> list[RunRef]:
        """Every pending run that may be claimed, oldest first."""
        rows = await tx.fetch(
            RefRow,
            "SELECT tenant_id, user_id, thread_id, id FROM runs WHERE ended_at IS NULL AND state = 'pending' "
            "AND admitted_at IS NOT NULL ORDER BY created_at, id",
        )
        return [_ref(row) for row in rows]

    async def count_loss(self, tx: Transaction, ref: RunRef) -> None:
        """One more execution of the run was lost with its worker."""
        await tx.execute(
            "UPDATE runs SET losses = losses + 1 WHERE tenant_id = ? AND user_id = ? AND id = ?",
            str(ref.tenant_id),
            str(ref.user_id),
            str(ref.run_id),
        )

    async def counts(self, tx: Transaction) -> dict[ExecutionState, int]:
        """How many runs are in each live state."""
        rows = await tx.fetch(
            StateCountRow, "SELECT state, COUNT(*) FROM runs WHERE ended_at IS NULL GROUP BY state ORDER BY state"
        )
        found = {ExecutionState(row.state): row.runs for row in rows}
        return {state: found.get(state, 0) for state in sorted(LIVE_STATES)}

    async def expired_approvals(self, tx: Transaction, *, at: datetime) -> list[tuple[RunRef, str]]:
        """Open approvals whose time is over, with their run."""
        rows = await tx.fetch(
            _ExpiredRow,
            "SELECT tenant_id, user_id, thread_id, run_id, id FROM approvals WHERE state = 'pending' AND expires_at <= ?",
            to_micros(at),
        )
        return [(_ref(RefRow(row.tenant_id, row.user_id, row.thread_id, row.run_id)), row.approval_id) for row in rows]


class _ExpiredRow(NamedTuple):
    tenant_id: str
    user_id: str
    thread_id: str
    run_id: str
    approval_id: str


def _ref(row: RefRow) -> RunRef:
    return RunRef(
        tenant_id=TenantId(row.tenant_id),
        user_id=UserId(row.user_id),
        thread_id=ThreadId(row.thread_id),
        run_id=RunId(row.id),
    )
