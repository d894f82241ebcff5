"""Runs of the tenant as its operators see them: ids, names, states, times and counts, never what was said in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from pydantic import BaseModel, Field

from cloche.api.wire.runs import UsageShape, usage_shape
from cloche.api.wire.shapes import Moment, RequestBody, seconds_between
from cloche.clock import from_micros
from cloche.domain.approvals import ApprovalState
from cloche.domain.event_metadata import shown_of
from cloche.domain.event_order import decoded
from cloche.domain.runs import ExecutionState
from cloche.domain.steps import StepKind, StepState
from cloche.events.codec import decode
from cloche.storage.run_stories import ApprovalStory, EventRow, ExecutionStory, StepStory
from cloche.storage.tenant_runs import LastEvent, MemberRun, OpenQuestion
from cloche.telemetry import LogLine


class MemberCancelBody(RequestBody):
    """Why somebody's run is cancelled, for the audit trail; the owner reads it where the run ends at once."""

    reason: str = Field(default="an administrator cancelled the run", min_length=1, max_length=200)


class OwnerAnswer(BaseModel):
    """Whose run it is."""

    id: str
    email: str
    name: str


class LastEventAnswer(BaseModel):
    """The newest event of a run that its log still has."""

    seq: int
    type: str
    at: Moment


class WaitingAnswer(BaseModel):
    """The approval that a run waits for: not its question."""

    approval_id: str
    tool: str
    expires_at: Moment


class FailureCodeAnswer(BaseModel):
    """Why a run did not complete; what an agent or a tool said about it is the owner's."""

    code: str
    retryable: bool


class MemberRunAnswer(BaseModel):
    """A run of somebody of the tenant, without its content."""

    id: str
    user_id: str
    user: OwnerAnswer
    thread_id: str
    agent: str
    agent_version: str
    model: str
    state: ExecutionState
    state_since: Moment
    age_s: float = Field(description="since it was accepted")
    attempt: int
    losses: int = Field(description="how many workers were lost while they ran it")
    worker_id: str | None = Field(description="who executes it")
    lease_until: Moment | None
    deadline_at: Moment | None
    last_event: LastEventAnswer | None
    waiting_for: WaitingAnswer | None
    failure: FailureCodeAnswer | None
    failure_code: str | None
    usage: UsageShape
    created_at: Moment
    state_times: dict[ExecutionState, Moment]


class MemberRunPage(BaseModel):
    """Runs of the tenant in the order that was asked for, and how many of all its runs are in each live state."""

    items: list[MemberRunAnswer]
    next_cursor: str | None
    live: dict[ExecutionState, int]


class ExecutionAnswer(BaseModel):
    """One attempt at a run."""

    execution_id: str
    epoch: int
    worker_id: str
    state: str
    started_at: Moment
    ended_at: Moment | None


class StepAnswer(BaseModel):
    """One journaled action, without what was asked in it and what came of it."""

    index: int
    kind: StepKind
    name: str | None = Field(description="null for a tool that there is none of: whoever called it made the name up")
    state: StepState
    reference: str = Field(description="the message or tool call that the step's events name")
    code: str | None = Field(description="why it, or the tool called in it, did not succeed")
    epoch: int
    started_at: Moment
    ended_at: Moment | None
    duration_ms: float | None


class RunApprovalAnswer(BaseModel):
    """What a run asked of a person: not its question, not its arguments."""

    approval_id: str
    tool: str
    state: ApprovalState
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None


class RunStoryAnswer(MemberRunAnswer):
    """A run with its attempts, its journal and its approvals."""

    request_id: str
    trace_id: str
    executions: list[ExecutionAnswer]
    steps: list[StepAnswer]
    approvals: list[RunApprovalAnswer]


class MemberEventAnswer(BaseModel):
    """An event of somebody's run. ``shown`` has the fields that are nobody's words; ``bytes`` is the size of it all."""

    seq: int
    type: str
    at: Moment
    execution_id: str | None
    agent: str | None
    bytes: int
    shown: dict[str, object]


class MemberEventPage(BaseModel):
    """A run's events in order, from the first one that the log still has."""

    items: list[MemberEventAnswer]
    next_after: int | None = Field(description="read on with it as `after`; null when there is no more now")
    trimmed: bool = Field(description="whether events before these are there no more")


class LogLineAnswer(BaseModel):
    """A log line of the process: its name, and keys with ids, names, codes and numbers."""

    at: Moment
    level: str
    event: str
    fields: dict[str, str | int | float | bool | None]


class RunLogAnswer(BaseModel):
    """What this process has logged about a run, the newest line last."""

    items: list[LogLineAnswer]
    since: Moment = Field(description="how far back the process remembers; it forgets when it ends")
    complete: bool = Field(description="whether the run is younger than that, so that nothing is missing")


def run_log_answer(lines: Sequence[LogLine], since: datetime, accepted_at: datetime) -> RunLogAnswer:
    """The lines as the wire shows them, and whether the memory reaches back to the run's acceptance."""
    return RunLogAnswer(
        items=[
            LogLineAnswer(at=line.at, level=line.level, event=line.event, fields=dict(line.fields)) for line in lines
        ],
        since=since,
        complete=since <= accepted_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """What was read of a run for an operator."""

    found: MemberRun
    executions: Sequence[ExecutionStory]
    steps: Sequence[StepStory]
    approvals: Sequence[ApprovalStory]


def run_story_answer(story: RunStory, now: datetime) -> RunStoryAnswer:
    """The run's story as an operator sees it at that moment."""
    return RunStoryAnswer(
        **dict(member_run_answer(story.found, now)),
        request_id=story.found.run.request_id,
        trace_id=story.found.run.trace_id,
        executions=[_execution(one) for one in story.executions],
        steps=[_step(one) for one in story.steps],
        approvals=[_approval(one) for one in story.approvals],
    )


def member_event_answer(row: EventRow, unknown_tools: frozenset[str]) -> MemberEventAnswer:
    """The event as an operator sees it; of one that this program does not know, only that it is there."""
    shown: dict[str, object] = {}
    execution_id, agent = None, None
    try:
        envelope = decode(row.body)
        execution_id, agent = envelope.execution_id, envelope.agent
        shown = shown_of(decoded(envelope), unknown_tools)
    except msgspec.DecodeError:
        pass  # written by another version, or damaged: the doctor tells
    return MemberEventAnswer(
        seq=row.seq,
        type=row.type,
        at=from_micros(row.created_at),
        execution_id=execution_id,
        agent=agent,
        bytes=len(row.body),
        shown=shown,
    )


def member_run_answer(found: MemberRun, now: datetime) -> MemberRunAnswer:
    """The run as an operator sees it at that moment."""
    run, failure = found.run, found.run.failure
    return MemberRunAnswer(
        id=run.id,
        user_id=run.ref.user_id,
        user=OwnerAnswer(id=run.ref.user_id, email=found.email, name=found.name),
        thread_id=run.thread_id,
        agent=run.agent,
        agent_version=run.agent_version,
        model=run.model,
        state=run.state,
        state_since=found.state_since,
        age_s=seconds_between(run.created_at, now),
        attempt=run.attempt,
        losses=run.losses,
        worker_id=found.worker_id,
        lease_until=found.lease_until,
        deadline_at=run.deadline_at,
        last_event=found.last_event and _last_event(found.last_event),
        waiting_for=found.waiting_for and _waiting(found.waiting_for),
        failure=failure and FailureCodeAnswer(code=failure.code, retryable=failure.retryable),
        failure_code=failure and failure.code,
        usage=usage_shape(run),
        created_at=run.created_at,
        state_times=dict(run.state_times),
    )


def _last_event(event: LastEvent) -> LastEventAnswer:
    return LastEventAnswer(seq=event.seq, type=event.type, at=event.at)


def _waiting(question: OpenQuestion) -> WaitingAnswer:
    return WaitingAnswer(approval_id=question.approval_id, tool=question.tool, expires_at=question.expires_at)


def _execution(story: ExecutionStory) -> ExecutionAnswer:
    return ExecutionAnswer(
        execution_id=story.id,
        epoch=story.epoch,
        worker_id=story.worker_id,
        state=story.state,
        started_at=story.started_at,
        ended_at=story.ended_at,
    )


def _step(story: StepStory) -> StepAnswer:
    took = None if story.ended_at is None else (story.ended_at - story.started_at) / timedelta(milliseconds=1)
    return StepAnswer(
        index=story.index,
        kind=story.kind,
        name=story.name,
        state=story.state,
        reference=story.reference,
        code=story.code,
        epoch=story.epoch,
        started_at=story.started_at,
        ended_at=story.ended_at,
        duration_ms=took,
    )


def _approval(story: ApprovalStory) -> RunApprovalAnswer:
    return RunApprovalAnswer(
        approval_id=story.id,
        tool=story.tool,
        state=story.state,
        created_at=story.created_at,
        expires_at=story.expires_at,
        decided_at=story.decided_at,
    )
