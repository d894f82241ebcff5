"""The life of a run: its states, the one table of moves, and what a run is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cloche.domain.usage import Usage
from cloche.errors import IllegalTransitionError
from cloche.ids import MessageId, RequestId, RunId, TenantId, ThreadId, TraceId, UserId


class ExecutionState(StrEnum):
    """Where a run, or one execution of it, stands."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETING = "completing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    DEAD = "dead"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Nothing moves a run out of this state."""
        return not TRANSITIONS[self]


_S = ExecutionState
_ENDS = frozenset({_S.FAILED, _S.TIMEOUT, _S.DEAD})

# A move back to PENDING offers the run again: its worker went away, or the person it waited for has decided.
TRANSITIONS: Mapping[ExecutionState, frozenset[ExecutionState]] = {
    _S.PENDING: frozenset({_S.STARTING, _S.CANCELLED}) | _ENDS,
    _S.STARTING: frozenset({_S.RUNNING, _S.PENDING, _S.CANCELLING}) | _ENDS,
    _S.RUNNING: frozenset({_S.WAITING, _S.COMPLETING, _S.PENDING, _S.CANCELLING}) | _ENDS,
    _S.WAITING: frozenset({_S.PENDING, _S.CANCELLED}) | _ENDS,
    _S.COMPLETING: frozenset({_S.COMPLETED, _S.PENDING}) | _ENDS,
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.TIMEOUT: frozenset(),
    _S.DEAD: frozenset(),
    _S.CANCELLED: frozenset(),
}

LIVE_STATES = frozenset(state for state in ExecutionState if TRANSITIONS[state])
UNDONE_STATES = frozenset({_S.FAILED, _S.TIMEOUT, _S.DEAD, _S.CANCELLED})
"""The ends after which the same message may be tried again."""

OWNED_STATES = frozenset({_S.STARTING, _S.RUNNING, _S.COMPLETING, _S.CANCELLING})


class OnBusy(StrEnum):
    """What a new message does on a thread that has a live run."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


class OnPendingApproval(StrEnum):
    """What a new message does on a thread whose run waits for an approval."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    CANCEL_APPROVAL = "cancel_approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRef:
    """Where a run is: everything a worker needs to claim it."""

    tenant_id: TenantId
    user_id: UserId
    thread_id: ThreadId
    run_id: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a run did not complete."""

    code: str
    message: str
    retryable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a person asked for, and how it stands. ``retry_of`` is the ended run whose message it answers anew."""

    ref: RunRef
    message_id: MessageId
    agent: str
    agent_version: str
    model: str
    state: ExecutionState
    epoch: int
    attempt: int
    losses: int
    timeout: timedelta
    deadline_at: datetime | None
    request_id: RequestId
    trace_id: TraceId
    failure: Failure | None
    usage: Usage
    first_seq: int
    last_seq: int
    created_at: datetime
    state_times: Mapping[ExecutionState, datetime]
    retry_of: RunId | None = None

    @property
    def id(self) -> RunId:
        """The run's id."""
        return self.ref.run_id

    @property
    def thread_id(self) -> ThreadId:
        """The thread that the run answers on."""
        return self.ref.thread_id


def check_state(state: object) -> ExecutionState:
    """The state itself.

    Raises:
        TypeError: it is something else (a word, a dict); the text lists the valid ones.
    """
    if isinstance(state, ExecutionState):
        return state
    valid = ", ".join(f"ExecutionState.{member.name}" for member in ExecutionState)
    raise TypeError(f"expected an ExecutionState, got {type(state).__name__}; the valid ones are {valid}")


def sources(to: ExecutionState) -> frozenset[ExecutionState]:
    """The states from which a run may move to ``to``: what the guarded UPDATE names."""
    check_state(to)
    return frozenset(state for state, targets in TRANSITIONS.items() if to in targets)


def check_transition(state: ExecutionState, to: ExecutionState) -> None:
    """Return when the move is in the table.

    Raises:
        IllegalTransitionError: it is not.
        TypeError: one of the two is not an ExecutionState.
    """
    if check_state(to) not in TRANSITIONS[check_state(state)]:
        raise IllegalTransitionError(
            f"a run cannot move from {state} to {to}", details={"state": str(state), "to": str(to)}
        )


def transition(run: Run, to: ExecutionState, at: datetime) -> Run:
    """The run in its new state, with the time of the move.

    Raises:
        IllegalTransitionError: the move is not in the table.
    """
    check_transition(run.state, to)
    return replace(run, state=to, state_times={**run.state_times, to: at})
