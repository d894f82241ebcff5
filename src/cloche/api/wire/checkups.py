"""Check-ups on the wire: what ``cloche doctor`` found."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.storage.checkups import KeptCheck, KeptCheckup

MAX_CHECKS = 100
MAX_DETAIL = 400
MAX_CHECK_NAME = 60


class CheckupLine(RequestBody):
    """One thing that was looked at."""

    name: str = Field(min_length=1, max_length=MAX_CHECK_NAME, pattern=r"^[\w .:%-]+$")
    ok: bool
    detail: str = Field(max_length=MAX_DETAIL)
    duration_ms: Annotated[float, Field(ge=0, le=1e12)] | None = None


class CheckupBody(RequestBody):
    """What a round of the doctor found."""

    is_ok: bool
    users: int = Field(ge=0, le=10_000, description="as how many users at once; 0: as the account itself")
    checks: list[CheckupLine] = Field(min_length=1, max_length=MAX_CHECKS)


class CheckerAnswer(BaseModel):
    """Whose account the doctor used."""

    id: str
    email: str


class CheckupLineAnswer(BaseModel):
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    duration_ms: float | None


class CheckupAnswer(BaseModel):
    """What a round of the doctor found, and when it was stored."""

    checkup_id: str
    at: Moment
    by: CheckerAnswer
    is_ok: bool
    users: int
    checks: list[CheckupLineAnswer]


class CheckupPage(BaseModel):
    """The last check-ups, newest first; there are never more than one page."""

    items: list[CheckupAnswer]


def kept_check(line: CheckupLine) -> KeptCheck:
    """The line as it is kept."""
    return KeptCheck(name=line.name, ok=line.ok, detail=line.detail, duration_ms=line.duration_ms)


def checkup_answer(found: KeptCheckup) -> CheckupAnswer:
    """The check-up as the wire shows one."""
    return CheckupAnswer(
        checkup_id=found.id,
        at=found.at,
        by=CheckerAnswer(id=found.user_id, email=found.email),
        is_ok=found.is_ok,
        users=found.users,
        checks=[
            CheckupLineAnswer(name=one.name, ok=one.ok, detail=one.detail, duration_ms=one.duration_ms)
            for one in found.checks
        ],
    )
