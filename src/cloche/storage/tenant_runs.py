"""The runs of a whole tenant: for its administrators, who see how runs stand and nothing of what was said."""

from __future__ import annotations

from typing import NamedTuple

from cloche.domain.runs import LIVE_STATES, ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of
from cloche.storage.runs import COLUMNS, RunRow, run_of


class _CountRow(NamedTuple):
    state: str
    runs: int


class TenantRunRepository:
    """The runs of the scope's tenant, whoever owns them. The caller has checked that the scope may see them."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def list(self, tx: Transaction, page: PageRequest) -> Page[Run]:
        """The tenant's runs, newest first."""
        number, identity = page.before or (2**62, "~")
        rows = await tx.fetch(
            RunRow,
            f"SELECT {COLUMNS} FROM runs WHERE tenant_id = ? AND (created_at, id) < (?, ?) "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            self._tenant,
            number,
            identity,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        cursor = cursor_of("runs", kept[-1].created_at, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[run_of(row) for row in kept], next_cursor=cursor)

    async def count_live(self, tx: Transaction) -> dict[ExecutionState, int]:
        """How many of the tenant's runs are in each live state."""
        rows = await tx.fetch(
            _CountRow,
            "SELECT state, COUNT(*) FROM runs WHERE tenant_id = ? AND ended_at IS NULL GROUP BY state",
            self._tenant,
        )
        found = {ExecutionState(row.state): row.runs for row in rows}
        return {state: found.get(state, 0) for state in sorted(LIVE_STATES)}
