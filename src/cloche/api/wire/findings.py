"""Findings on the wire: ids, states and times, never the content of anybody's conversation."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody, seconds_between
from cloche.domain.findings import Finding, FindingKind
from cloche.domain.runs import ExecutionState


class FindingAnswer(BaseModel):
    """Rows that disagree about what happened, and what would be done about it."""

    id: str = Field(description="names it in a repair")
    kind: FindingKind
    user_id: str
    thread_id: str
    run_id: str | None
    approval_id: str | None
    number: int | None = Field(description="of an execution, a step or an event")
    state: ExecutionState | None = Field(description="of the run")
    since: Moment = Field(description="when the rows came to be so, as far as they tell")
    age_s: float
    what: str = Field(description="what is wrong")
    would: str = Field(description="what a repair does")
    repairable: bool = Field(description="whether it can be done without a person")


class FindingPage(BaseModel):
    """What disagrees in the tenant, oldest first. With ``more`` there are others, which show once these are repaired."""

    items: list[FindingAnswer]
    more: bool
    looked_back_to: Moment = Field(description="runs that are over, and threads, were looked at from this time on")


class RepairBody(RequestBody):
    """Which finding shall be repaired."""

    finding: str = Field(max_length=200, description="its `id` in the list")


def finding_answer(finding: Finding, now: datetime) -> FindingAnswer:
    """The finding as an administrator sees it."""
    return FindingAnswer(
        id=str(finding.ref),
        kind=finding.kind,
        user_id=finding.user_id,
        thread_id=finding.thread_id,
        run_id=finding.run_id,
        approval_id=finding.approval_id,
        number=finding.number,
        state=finding.state,
        since=finding.since,
        age_s=seconds_between(finding.since, now),
        what=finding.what,
        would=finding.would,
        repairable=finding.is_repairable,
    )
