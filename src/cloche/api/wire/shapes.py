"""What the shapes of requests and answers have in common."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from cloche.clock import to_text

Moment = Annotated[
    datetime,
    PlainSerializer(to_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time as the wire has it everywhere: RFC 3339, UTC, milliseconds."""


def _refuse_number(value: object) -> object:
    """A bare number could be seconds or milliseconds."""
    if isinstance(value, str) and "-" not in value[1:]:
        raise ValueError("a time like 2030-01-31T12:00:00Z is needed")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_refuse_number)]
"""A time that a client gives: with its offset from UTC."""


Day = Annotated[date, BeforeValidator(_refuse_number)]
"""A day in UTC that a client gives."""


def seconds_between(start: datetime, end: datetime) -> float:
    """The seconds from one time to another, to the millisecond; 0 when a clock was set back between them."""
    return max(round((end - start).total_seconds(), 3), 0.0)


class RequestBody(BaseModel):
    """A body that a client sends; a field that is not known is refused, and its place is named."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ErrorFacts(BaseModel):
    """What went wrong. ``code`` is stable; the message is for people."""

    code: str = Field(examples=["not_found"])
    message: str
    retryable: bool = Field(description="the same request may succeed later without a change")
    details: dict[str, object] = Field(description="the place, the limit, or what is in the way")
    request_id: str


class ErrorAnswer(BaseModel):
    """Every error has this shape, on every route."""

    error: ErrorFacts
