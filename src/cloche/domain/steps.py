"""Steps: the journaled actions of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class StepKind(StrEnum):
    """What a step does."""

    MODEL = "model"
    TOOL = "tool"
    MESSAGE = "message"
    THOUGHT = "thought"
    APPROVAL = "approval"
    VALUE = "value"


class StepState(StrEnum):
    """Whether a step has an outcome. A step that was started and has none ran when its worker went away."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One journaled action: its number in the run, what was asked (by digest), and what came of it.

    ``reference`` is the id that the step's events carry: a message id or a tool call id.
    """

    index: int
    kind: StepKind
    name: str
    input_digest: bytes
    state: StepState
    result: bytes
    reference: str
    epoch: int
    started_at: datetime
    ended_at: datetime | None
