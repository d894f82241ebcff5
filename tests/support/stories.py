"""Stories of a run, as the checker of their order judges them: right ones, and wrong ones with the rule that each breaks."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloche.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentStarted,
    AgentThinking,
    AgentTimedOut,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    Envelope,
    EventData,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    Receipt,
    RunQueued,
    StepRestarted,
    ThreadUpdated,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
)
from cloche.domain.messages import TextPart
from cloche.domain.usage import Usage

CREATED = MessageCreated(message_id="m0", role="user", parts=(TextPart(text="hi"),), by="user_1")
QUEUED = RunQueued(position=0, reason="accepted")
RETRIED = RunQueued(position=0, reason="accepted", retry_of="run_0")
STARTED = AgentStarted(agent="a", version="1", model="none", attempt=1)
STARTED_AGAIN = AgentStarted(agent="a", version="1", model="none", attempt=2)
THINKING = AgentThinking(text="hm", step=0)
DELTA = MessageDelta(message_id="m1", text="he")
WHOLE = MessageCompleted(message_id="m1", parts=(TextPart(text="hello"),))
EXECUTING = ToolExecuting(tool_call_id="t1", tool="it", arguments={"a": 1}, effect="none")
PROGRESS = ToolProgress(tool_call_id="t1", text="half", fraction=0.5)
EXECUTED = ToolCompleted(tool_call_id="t1", tool="it", ok=True, duration_ms=1, result=1)
COMPLETED = AgentCompleted(message_id="m1", usage=Usage(), duration_ms=1)
FAILED = AgentFailed(code="agent_failed", message="", retryable=False)
TIMED_OUT = AgentTimedOut(code="deadline_exceeded", message="", retryable=True)
CANCELLED = AgentCancelled(code="run_cancelled", message="", retryable=True, receipt=Receipt())
VOID = StepRestarted(step=1, message_id="m1", tool_call_id="t1")
ASKED = ApprovalRequested(
    approval_id="a1", tool_call_id="t1", tool="it", question="?", arguments={}, schema={}, expires_at="2031"
)
GIVEN = ApprovalDelegated(approval_id="a1", by="user_1", to="user_2", to_name="Bob")
TAKEN_BACK = ApprovalDelegated(approval_id="a1", by="user_1")
ANSWERED = ApprovalResolved(approval_id="a1", decision="approve", by="user_1")
RENAMED = ThreadUpdated(title="t", status="running")


def envelope(seq: int, event: EventData, run_id: str | None = "run_1") -> Envelope:
    return Envelope(
        seq=seq,
        type=event.type,
        thread_id="thread_1",
        run_id=run_id,
        at="2031-01-01T00:00:00.000Z",
        data=msgspec.Raw(msgspec.json.encode(event)),
    )


def story(*events: EventData) -> list[Envelope]:
    return [envelope(seq, event) for seq, event in enumerate(events, 1)]


RIGHT = {
    "an answer": story(
        CREATED, QUEUED, STARTED, THINKING, EXECUTING, PROGRESS, EXECUTED, DELTA, DELTA, WHOLE, COMPLETED
    ),
    "an answer without deltas": story(CREATED, QUEUED, STARTED, WHOLE, COMPLETED),
    "cancelled before it began": story(CREATED, QUEUED, CANCELLED),
    "failed before it began": story(CREATED, QUEUED, FAILED),
    "timed out in mid-stream": story(CREATED, QUEUED, STARTED, DELTA, TIMED_OUT),
    "cancelled in mid-stream": story(CREATED, QUEUED, STARTED, DELTA, CANCELLED),
    "a second attempt": story(
        CREATED, QUEUED, STARTED, EXECUTING, DELTA, STARTED_AGAIN, VOID, EXECUTING, EXECUTED, COMPLETED
    ),
    "an approval": story(
        CREATED, QUEUED, STARTED, ASKED, ANSWERED, STARTED_AGAIN, EXECUTING, EXECUTED, WHOLE, COMPLETED
    ),
    "an approval given to another": story(
        CREATED, QUEUED, STARTED, ASKED, GIVEN, TAKEN_BACK, GIVEN, ANSWERED, STARTED_AGAIN, WHOLE, COMPLETED
    ),
    "tried again": story(RETRIED, STARTED, WHOLE, COMPLETED),
    "tried again, and cancelled before it began": story(RETRIED, CANCELLED),
    "renamed meanwhile": story(CREATED, QUEUED, RENAMED, STARTED, RENAMED, WHOLE, COMPLETED),
}


def with_seqs(events: Sequence[EventData], seqs: Sequence[int]) -> list[Envelope]:
    return [envelope(seq, event) for seq, event in zip(seqs, events, strict=True)]


def spoiled(event: EventData, seq: int, raw: bytes, kind: str | None = None) -> Envelope:
    return msgspec.structs.replace(envelope(seq, event), data=msgspec.Raw(raw), type=kind or event.type)


WRONG: dict[str, tuple[list[Envelope], str]] = {
    "given before it was asked": (story(CREATED, QUEUED, STARTED, GIVEN, ASKED, COMPLETED), "delegated_while_open"),
    "given after it was answered": (
        story(CREATED, QUEUED, STARTED, ASKED, ANSWERED, GIVEN, COMPLETED),
        "delegated_while_open",
    ),
    "numbers go back": (with_seqs([CREATED, QUEUED, STARTED, COMPLETED], [1, 3, 2, 4]), "increasing"),
    "a number twice": (with_seqs([CREATED, QUEUED, STARTED, COMPLETED], [1, 2, 2, 3]), "increasing"),
    "another run's event": (
        [*story(CREATED, QUEUED, STARTED), envelope(4, THINKING, "run_2"), envelope(5, COMPLETED, "run_2")],
        "one_run",
    ),
    "something after the end": (story(CREATED, QUEUED, STARTED, COMPLETED, THINKING), "terminal_is_last"),
    "two ends": (story(CREATED, QUEUED, STARTED, COMPLETED, FAILED), "terminal_is_last"),
    "no message": (story(QUEUED, STARTED, COMPLETED), "beginning"),
    "not queued": (story(CREATED, STARTED, COMPLETED), "beginning"),
    "queued before the message": (story(QUEUED, CREATED, STARTED, COMPLETED), "beginning"),
    "a second message": (story(CREATED, QUEUED, STARTED, CREATED, COMPLETED), "beginning"),
    "queued twice": (story(CREATED, QUEUED, QUEUED, STARTED, COMPLETED), "beginning"),
    "a retry with a message": (story(CREATED, RETRIED, STARTED, COMPLETED), "beginning"),
    "a retry that is queued twice": (story(RETRIED, RETRIED, STARTED, COMPLETED), "beginning"),
    "a message after a retry": (story(RETRIED, CREATED, STARTED, COMPLETED), "beginning"),
    "work of a retry before the start": (story(RETRIED, THINKING, STARTED, COMPLETED), "agent_started_first"),
    "work before the start": (story(CREATED, QUEUED, THINKING, STARTED, COMPLETED), "agent_started_first"),
    "completed without a start": (story(CREATED, QUEUED, COMPLETED), "agent_started_first"),
    "an attempt twice": (story(CREATED, QUEUED, STARTED, STARTED, COMPLETED), "once_per_attempt"),
    "attempts go back": (story(CREATED, QUEUED, STARTED_AGAIN, STARTED, COMPLETED), "once_per_attempt"),
    "no end": (story(CREATED, QUEUED, STARTED, WHOLE), "one_terminal"),
    "nothing at all": ([], "one_terminal"),
    "a tool without an outcome": (story(CREATED, QUEUED, STARTED, EXECUTING, COMPLETED), "tool_completed"),
    "a tool without an outcome before a failure": (
        story(CREATED, QUEUED, STARTED, EXECUTING, FAILED),
        "tool_completed",
    ),
    "an outcome without a call": (story(CREATED, QUEUED, STARTED, EXECUTED, COMPLETED), "tool_executing_first"),
    "progress without a call": (story(CREATED, QUEUED, STARTED, PROGRESS, COMPLETED), "tool_executing_first"),
    "two outcomes": (story(CREATED, QUEUED, STARTED, EXECUTING, EXECUTED, EXECUTED, COMPLETED), "tool_executing_first"),
    "progress afterwards": (
        story(CREATED, QUEUED, STARTED, EXECUTING, EXECUTED, PROGRESS, COMPLETED),
        "tool_executing_first",
    ),
    "a call twice": (story(CREATED, QUEUED, STARTED, EXECUTING, EXECUTING, EXECUTED, COMPLETED), "tool_once"),
    "a call again": (
        story(CREATED, QUEUED, STARTED, EXECUTING, EXECUTED, EXECUTING, EXECUTED, COMPLETED),
        "tool_once",
    ),
    "a delta after the whole": (story(CREATED, QUEUED, STARTED, WHOLE, DELTA, COMPLETED), "deltas_before_completion"),
    "a message whole twice": (story(CREATED, QUEUED, STARTED, WHOLE, WHOLE, COMPLETED), "deltas_before_completion"),
    "a message left half": (story(CREATED, QUEUED, STARTED, DELTA, COMPLETED), "message_completed"),
    "data of another shape": (
        [*story(CREATED, QUEUED, STARTED), spoiled(THINKING, 4, b'{"text":3,"step":0}'), envelope(5, FAILED)],
        "shape",
    ),
    "data that is no JSON": (
        [*story(CREATED, QUEUED, STARTED), spoiled(THINKING, 4, b"{"), envelope(5, FAILED)],
        "shape",
    ),
    "an unknown type": (
        [*story(CREATED, QUEUED, STARTED), spoiled(THINKING, 4, b"{}", "agent_dreaming"), envelope(5, FAILED)],
        "shape",
    ),
}
