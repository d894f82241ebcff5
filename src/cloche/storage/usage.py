"""The ledger: what each model step cost."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cloche.clock import to_micros
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.ids import RunId, TransactionId
from cloche.storage.database import Transaction


class UsageRow(NamedTuple):
    """Tokens of one agent and model, added up."""

    agent: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


class UsageRepository:
    """The ledger of one user."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def record(
        self, tx: Transaction, run_id: RunId, *, agent: str, model: str, step: int, usage: Usage, at: datetime
    ) -> TransactionId:
        """An entry is in the ledger; its id."""
        entry = TransactionId.new()
        await tx.execute(
            "INSERT INTO usage_entries (tenant_id, user_id, id, run_id, agent, model, step, input_tokens, output_tokens, "
            "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            str(entry),
            str(run_id),
            agent,
            model,
            step,
            usage.input_tokens,
            usage.output_tokens,
            to_micros(at),
        )
        return entry

    async def summary(self, tx: Transaction, *, since: datetime) -> list[UsageRow]:
        """What the user's runs cost since then, by agent and model."""
        return await tx.fetch(
            UsageRow,
            "SELECT agent, model, COUNT(*), SUM(input_tokens), SUM(output_tokens) FROM usage_entries "
            "WHERE tenant_id = ? AND user_id = ? AND created_at >= ? GROUP BY agent, model ORDER BY agent, model",
            self._tenant,
            self._user,
            to_micros(since),
        )
