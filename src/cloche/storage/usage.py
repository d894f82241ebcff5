"""The ledger: what each model step cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
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


class DayRow(NamedTuple):
    """Tokens of one UTC day (counted from 1970), added up by what is not None."""

    day: int
    agent: str | None
    model: str | None
    user_id: str | None
    email: str | None
    calls: int
    input_tokens: int
    output_tokens: int


class UsageKey(StrEnum):
    """What the usage of a tenant is added up by, beside the day."""

    AGENT = "agent"
    MODEL = "model"
    USER = "user"


_DAY = timedelta(days=1) // timedelta(microseconds=1)
_SUMS = "COUNT(*) AS calls, SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens"
_OWN_DAYS = (
    f"SELECT created_at / {_DAY} AS day, agent, model, NULL, NULL, {_SUMS} FROM usage_entries "
    "WHERE tenant_id = ? AND user_id = ? AND created_at >= ? AND created_at < ? "
    "GROUP BY day, agent, model ORDER BY day, agent, model LIMIT ?"
)


def _days_by(column: str, shown: str, joined: str = "") -> str:
    return (
        f"SELECT summed.day, {shown}, summed.calls, summed.input_tokens, summed.output_tokens FROM ("
        f"SELECT created_at / {_DAY} AS day, {column} AS own, {_SUMS} FROM usage_entries "
        f"WHERE tenant_id = ? AND created_at >= ? AND created_at < ? GROUP BY day, own ORDER BY day, own LIMIT ?"
        f") AS summed {joined}ORDER BY summed.day, summed.own"
    )


_DAYS: Mapping[UsageKey, str] = {
    UsageKey.AGENT: _days_by("agent", "summed.own, NULL, NULL, NULL"),
    UsageKey.MODEL: _days_by("model", "NULL, summed.own, NULL, NULL"),
    UsageKey.USER: _days_by(
        "user_id",
        "NULL, NULL, summed.own, users.email",
        "LEFT JOIN users ON users.tenant_id = ? AND users.id = summed.own ",
    ),
}


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

    async def days(self, tx: Transaction, *, since: datetime, until: datetime, limit: int) -> list[DayRow]:
        """What the user's runs cost from one time up to another, by day, agent and model; at most ``limit`` of these."""
        return await tx.fetch(DayRow, _OWN_DAYS, self._tenant, self._user, to_micros(since), to_micros(until), limit)


class TenantUsageRepository:
    """The ledger of the scope's tenant. The caller has checked that the scope may see it."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)

    async def days(
        self, tx: Transaction, by: UsageKey, *, since: datetime, until: datetime, limit: int
    ) -> list[DayRow]:
        """What the tenant's runs cost from one time up to another, by day and ``by``; at most ``limit`` of these."""
        joined = (self._tenant,) if by is UsageKey.USER else ()
        return await tx.fetch(DayRow, _DAYS[by], self._tenant, to_micros(since), to_micros(until), limit, *joined)
