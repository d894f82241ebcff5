"""Runs on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.messages import MAX_CLIENT_MESSAGE_ID
from cloche.domain.runs import ExecutionState, OnBusy, OnPendingApproval, Run


class CancelBody(RequestBody):
    """Why a run is cancelled, for those who read its story."""

    reason: str = Field(default="the run was cancelled", min_length=1, max_length=200)


class RetryBody(RequestBody):
    """How a run is tried again."""

    client_message_id: str | None = Field(
        default=None,
        description=f"1 to {MAX_CLIENT_MESSAGE_ID} characters: a retry of the same run under the same id is one retry",
    )
    on_busy: OnBusy = OnBusy.ENQUEUE
    on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT


class UsageShape(BaseModel):
    """Tokens and calls, added up."""

    input_tokens: int
    output_tokens: int
    model_calls: int
    tool_calls: int


class FailureAnswer(BaseModel):
    """Why a run did not complete."""

    code: str
    message: str
    retryable: bool


class RunAnswer(BaseModel):
    """What a person asked for, and how it stands. ``state_times`` says when each state was entered last."""

    id: str
    thread_id: str
    message_id: str
    agent: str
    agent_version: str
    model: str
    state: ExecutionState
    attempt: int
    failure: FailureAnswer | None
    usage: UsageShape
    first_seq: int
    last_seq: int
    deadline_at: Moment | None
    created_at: Moment
    state_times: dict[ExecutionState, Moment]
    trace_id: str
    retry_of: str | None = Field(description="the ended run whose message this one answers anew")


class RunPage(BaseModel):
    """Runs, newest first."""

    items: list[RunAnswer]
    next_cursor: str | None


class CancelledAnswer(BaseModel):
    """Where the run stands after the wish to cancel it: ``cancelling`` until everything of it has stopped."""

    run_id: str
    state: ExecutionState


def usage_shape(run: Run) -> UsageShape:
    """What the run used so far."""
    return UsageShape(
        input_tokens=run.usage.input_tokens,
        output_tokens=run.usage.output_tokens,
        model_calls=run.usage.model_calls,
        tool_calls=run.usage.tool_calls,
    )


def run_answer(run: Run) -> RunAnswer:
    """The run as its owner sees it."""
    failure = run.failure
    return RunAnswer(
        id=run.id,
        thread_id=run.thread_id,
        message_id=run.message_id,
        agent=run.agent,
        agent_version=run.agent_version,
        model=run.model,
        state=run.state,
        attempt=run.attempt,
        failure=failure and FailureAnswer(code=failure.code, message=failure.message, retryable=failure.retryable),
        usage=usage_shape(run),
        first_seq=run.first_seq,
        last_seq=run.last_seq,
        deadline_at=run.deadline_at,
        created_at=run.created_at,
        state_times=dict(run.state_times),
        trace_id=run.trace_id,
        retry_of=run.retry_of,
    )
