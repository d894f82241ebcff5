"""Findings: rows that disagree about what happened, each with what would be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from cloche.domain.events import AgentCancelled, AgentCompleted, AgentFailed, AgentTimedOut
from cloche.domain.runs import ExecutionState, sources
from cloche.errors import InvalidInputError
from cloche.ids import ApprovalId, RunId, ThreadId, UserId, is_valid_id_format


class FindingKind(StrEnum):
    """What disagrees with what."""

    RUN_LOST = "run_lost"
    RUN_NOT_OFFERED = "run_not_offered"
    RUN_NOT_ADMITTED = "run_not_admitted"
    RUN_WAITS_FOR_NOTHING = "run_waits_for_nothing"
    RUN_OVER_IN_LOG = "run_over_in_log"
    RUN_WITHOUT_END = "run_without_end"
    RUN_HALF_ENDED = "run_half_ended"
    RUN_OF_DELETED_THREAD = "run_of_deleted_thread"
    APPROVAL_OF_ENDED_RUN = "approval_of_ended_run"
    APPROVAL_EXPIRED = "approval_expired"
    EXECUTION_OPEN = "execution_open"
    STEP_OPEN = "step_open"
    LOG_BEYOND_HEAD = "log_beyond_head"
    LOG_CUT_SHORT = "log_cut_short"


class Remedy(NamedTuple):
    """What is wrong, and what would be done, for people."""

    what: str
    would: str


_K = FindingKind
_LEFT = "nothing by itself"
REMEDIES: Mapping[FindingKind, Remedy] = {
    _K.RUN_LOST: Remedy(
        "the run is {state}, and no worker holds it",
        "offer it to a worker again, or end it: as cancelled when that was wished, as dead when its attempts are used up",
    ),
    _K.RUN_NOT_OFFERED: Remedy("the run is pending, and no worker was told of it", "offer it to a worker"),
    _K.RUN_NOT_ADMITTED: Remedy(
        "the run waits for its turn on a thread on which no run is before it", "admit it and offer it to a worker"
    ),
    _K.RUN_WAITS_FOR_NOTHING: Remedy(
        "the run waits for an approval, and none of its approvals is open", "let it go on: offer it to a worker"
    ),
    _K.RUN_OVER_IN_LOG: Remedy(
        "the log tells with {event} that the run is over, and the run is {state}",
        "end the run as its log tells, and admit the thread's next one",
    ),
    _K.RUN_WITHOUT_END: Remedy(
        "the run is {state}, and the log does not tell so where it should", "write the missing event, or point to it"
    ),
    _K.RUN_HALF_ENDED: Remedy(
        "the run is {state}, and counts as one that is not over", "close it, and admit the thread's next one"
    ),
    _K.RUN_OF_DELETED_THREAD: Remedy("the run is {state} on a thread that was deleted", "cancel it"),
    _K.APPROVAL_OF_ENDED_RUN: Remedy(
        "the approval is open, and its run is {state}", "resolve it as cancelled, and tell so in the log"
    ),
    _K.APPROVAL_EXPIRED: Remedy(
        "the approval is open, and its time is over", "resolve it as expired, tell so in the log, and let its run go on"
    ),
    _K.EXECUTION_OPEN: Remedy("execution {number} of the run has no end, and the run is {state}", "close its row"),
    _K.STEP_OPEN: Remedy("step {number} of the run has no outcome, and the run is {state}", "close it as failed"),
    _K.LOG_BEYOND_HEAD: Remedy(
        "the thread's log goes on to event {number}, beyond the thread's last number: nothing can be written to it",
        "set the last number to the log's, and tell followers",
    ),
    _K.LOG_CUT_SHORT: Remedy(
        "the thread's log ends with event {number}, before the thread's last number: events are missing",
        f"{_LEFT}: numbers that clients have seen are not given again; look for the events in a backup",
    ),
}

STATE_TOLD: Mapping[str, ExecutionState] = {
    AgentCompleted.type: ExecutionState.COMPLETED,
    AgentFailed.type: ExecutionState.FAILED,
    AgentTimedOut.type: ExecutionState.TIMEOUT,
    AgentCancelled.type: ExecutionState.CANCELLED,
}
"""How a run ended whose log tells of its end with this event."""

_OF_APPROVAL = frozenset({_K.APPROVAL_OF_ENDED_RUN, _K.APPROVAL_EXPIRED})
_OF_THREAD = frozenset({_K.LOG_BEYOND_HEAD, _K.LOG_CUT_SHORT})
_NUMBERED = frozenset({_K.EXECUTION_OPEN, _K.STEP_OPEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRef:
    """Where a finding is: whose, and which run, approval or thread; ``number`` is an execution's epoch or a step's."""

    kind: FindingKind
    user_id: UserId
    target: str
    number: int | None = None

    def __str__(self) -> str:
        parts = [self.kind, self.user_id, self.target]
        return ":".join(parts if self.number is None else [*parts, str(self.number)])

    @classmethod
    def parse(cls, text: str) -> FindingRef:
        """The place that such a text names.

        Raises:
            InvalidInputError: it names none.
        """
        kind, _, rest = text.partition(":")
        user, _, rest = rest.partition(":")
        target, _, number = rest.partition(":")
        known = next((one for one in FindingKind if one == kind), None)
        if (
            known is None
            or not is_valid_id_format(user)
            or not is_valid_id_format(target)
            or (known in _NUMBERED) != (number.isascii() and number.isdigit() and len(number) < 10)
        ):
            raise InvalidInputError("this names no finding; take the id from the list", details={"place": "$.finding"})
        return cls(kind=known, user_id=UserId(user), target=target, number=int(number) if number else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement. Ids, states and times only: never what anybody said.

    Attributes:
        number: an execution's epoch, a step's number, or that of an event.
        state: of the run, where there is one.
        event: the type of the event that the log has.
        since: when the rows came to be as they are, as far as they tell.
    """

    kind: FindingKind
    user_id: UserId
    thread_id: ThreadId
    run_id: RunId | None
    approval_id: ApprovalId | None
    number: int | None
    state: ExecutionState | None
    event: str | None
    since: datetime

    @property
    def ref(self) -> FindingRef:
        """Where it is."""
        target: str | None = self.run_id
        if self.kind in _OF_APPROVAL:
            target = self.approval_id
        if self.kind in _OF_THREAD:
            target = self.thread_id
        assert target is not None, "the statement of this kind selects it"
        number = self.number if self.kind in _NUMBERED else None
        return FindingRef(kind=self.kind, user_id=self.user_id, target=target, number=number)

    @property
    def what(self) -> str:
        """What is wrong, as a sentence."""
        return REMEDIES[self.kind].what.format(state=self.state, event=self.event, number=self.number)

    @property
    def would(self) -> str:
        """What would be done, as a sentence."""
        if self.kind is FindingKind.RUN_OVER_IN_LOG and not self.is_repairable:
            return f"{_LEFT}: a run that is {self.state} cannot end as {STATE_TOLD[self.event or '']}"
        return REMEDIES[self.kind].would

    @property
    def is_repairable(self) -> bool:
        """Whether it can be done without a person."""
        if self.kind is FindingKind.RUN_OVER_IN_LOG:
            return may_end_as_told(self.state, self.event)
        return self.kind is not FindingKind.LOG_CUT_SHORT


def may_end_as_told(state: ExecutionState | None, event: str | None) -> bool:
    """Whether a run in this state may end as an event of this type tells. What completes was completing before."""
    told = STATE_TOLD[event or ""]
    allowed = sources(told)
    return state in (allowed | sources(ExecutionState.COMPLETING) if told is ExecutionState.COMPLETED else allowed)
