"""What runs used, by UTC day: one's own, and the tenant's for its administrators."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import Admitted, Endpoint
from cloche.api.wire.access import requires
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import Day
from cloche.api.wire.usage import TenantUsageDaysAnswer, UsageDaysAnswer, tenant_usage_day, usage_day
from cloche.domain.permissions import Permission
from cloche.errors import InvalidInputError
from cloche.storage.usage import DayRow, TenantUsageRepository, UsageKey, UsageRepository

MAX_DAYS = 366
MAX_LINES = 10_000

_DAY = timedelta(days=1)
SinceQuery = Annotated[
    Day | None, Query(description="the first day, like 2026-11-21; else 29 days before the last one")
]
UntilQuery = Annotated[Day | None, Query(description="the last day; else today")]


class UsageRoutes:
    """The ledger, added up."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/usage/days", run=self.list_usage_days, answer=UsageDaysAnswer),
            Endpoint(
                method="GET",
                path="/v1/admin/usage/days",
                run=self.list_tenant_usage_days,
                answer=TenantUsageDaysAnswer,
            ),
        ]

    @requires(Permission.USAGE_READ)
    async def list_usage_days(
        self, caller: Admitted, since: SinceQuery = None, until: UntilQuery = None
    ) -> UsageDaysAnswer:
        """List what the caller's runs used by UTC day, agent and model; at most 366 days and 10,000 lines."""
        first, last = self._days(since, until)
        start, end, usage = _begin(first), _begin(last) + _DAY, UsageRepository(caller.scope)
        rows = await self._database.read(lambda tx: usage.days(tx, since=start, until=end, limit=MAX_LINES + 1))
        return UsageDaysAnswer(since=first, until=last, items=[usage_day(row) for row in _checked(rows)])

    @requires(Permission.ADMIN_TENANT)
    async def list_tenant_usage_days(
        self,
        caller: Admitted,
        since: SinceQuery = None,
        until: UntilQuery = None,
        by: Annotated[UsageKey, Query(description="what a day is split by")] = UsageKey.AGENT,
    ) -> TenantUsageDaysAnswer:
        """List what the tenant's runs used by UTC day, and by agent, model or user; at most 366 days and 10,000 lines."""
        first, last = self._days(since, until)
        start, end, usage = _begin(first), _begin(last) + _DAY, TenantUsageRepository(caller.scope)
        rows = await self._database.read(lambda tx: usage.days(tx, by, since=start, until=end, limit=MAX_LINES + 1))
        return TenantUsageDaysAnswer(since=first, until=last, items=[tenant_usage_day(row) for row in _checked(rows)])

    def _days(self, since: date | None, until: date | None) -> tuple[date, date]:
        """The first and the last day; what is to come is not looked for."""
        today = self._clock.now().date()
        last = today if until is None else min(until, today)
        first = last - timedelta(days=min(29, (last - date.min).days)) if since is None else since
        if last < first:
            raise InvalidInputError(
                f"since must not be after the last day, {last.isoformat()}", details={"place": "query.since"}
            )
        if (last - first).days >= MAX_DAYS:
            raise InvalidInputError(
                f"at most {MAX_DAYS} days are given", details={"place": "query.since", "limit": MAX_DAYS}
            )
        return first, last


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _checked(rows: list[DayRow]) -> list[DayRow]:
    if len(rows) > MAX_LINES:
        raise InvalidInputError(
            f"more than {MAX_LINES} lines are in these days; ask for fewer",
            details={"place": "query.since", "limit": MAX_LINES},
        )
    return rows
