"""What runs used, by UTC day."""

from __future__ import annotations

from datetime import date, timedelta

from pydantic import BaseModel, Field

from cloche.storage.usage import DayRow

_FIRST_DAY = date(1970, 1, 1)


class UsageDay(BaseModel):
    """What one agent used of one model on one day."""

    day: date
    agent: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


class UsageDaysAnswer(BaseModel):
    """What the person's runs used, by day, agent and model; days on which nothing was used are not there."""

    since: date
    until: date = Field(description="the last day")
    items: list[UsageDay]


class UsageUser(BaseModel):
    """Who used it."""

    id: str
    email: str


class TenantUsageDay(BaseModel):
    """What was used on one day by what it was asked for: an agent, of a model, or by a user; the others are null."""

    day: date
    agent: str | None
    model: str | None
    user: UsageUser | None
    calls: int
    input_tokens: int
    output_tokens: int


class TenantUsageDaysAnswer(BaseModel):
    """What the tenant's runs used, by day; days on which nothing was used are not there."""

    since: date
    until: date = Field(description="the last day")
    items: list[TenantUsageDay]


def usage_day(row: DayRow) -> UsageDay:
    """The line as its owner sees it."""
    return UsageDay(
        day=_day(row),
        agent=row.agent or "",
        model=row.model or "",
        calls=row.calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
    )


def tenant_usage_day(row: DayRow) -> TenantUsageDay:
    """The line as an administrator sees it."""
    return TenantUsageDay(
        day=_day(row),
        agent=row.agent,
        model=row.model,
        user=None if row.user_id is None else UsageUser(id=row.user_id, email=row.email or ""),
        calls=row.calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
    )


def _day(row: DayRow) -> date:
    return _FIRST_DAY + timedelta(days=row.day)
