"""The events of a thread's log: one closed union, and the rules of their order.

Every event is an envelope ``{"seq", "type", "thread_id", "run_id", "at", "data"}`` with ``execution_id``, ``agent`` and
``trace_id`` where they apply. The classes below are the shapes of ``data``; TypeScript types and the AsyncAPI document
are generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import msgspec

from cloche.domain.messages import Part
from cloche.domain.usage import Usage


class EventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one kind of event says. ``type`` is its name on the wire."""

    type: ClassVar[str] = ""


class MessageCreated(EventData, frozen=True, kw_only=True):
    """A person's message is in the thread, so that every tab and viewer shows it."""

    type: ClassVar[str] = "message_created"
    message_id: str
    role: str
    parts: tuple[Part, ...]
    by: str
    client_message_id: str | None = None


class RunQueued(EventData, frozen=True, kw_only=True):
    """A run was accepted. ``position`` counts the live runs of the thread before it; 0 starts at once.

    ``retry_of`` is the run whose message this one answers anew: then this is its first event.
    """

    type: ClassVar[str] = "run_queued"
    position: int
    reason: Literal["accepted", "thread_busy", "interrupting", "approval_pending"]
    retry_of: str | None = None


class AgentStarted(EventData, frozen=True, kw_only=True):
    """An execution began; once per attempt, before any work of it."""

    type: ClassVar[str] = "agent_started"
    agent: str
    version: str
    model: str
    attempt: int


class AgentThinking(EventData, frozen=True, kw_only=True):
    """Reasoning or progress that the agent chose to show."""

    type: ClassVar[str] = "agent_thinking"
    text: str
    step: int


class MessageDelta(EventData, frozen=True, kw_only=True):
    """The next piece of a message's text."""

    type: ClassVar[str] = "message_delta"
    message_id: str
    text: str


class MessageCompleted(EventData, frozen=True, kw_only=True):
    """A message is whole; ``parts`` is what its deltas add up to."""

    type: ClassVar[str] = "message_completed"
    message_id: str
    parts: tuple[Part, ...]
    usage: Usage | None = None


class ToolExecuting(EventData, frozen=True, kw_only=True):
    """A tool call begins; secrets in its arguments are masked. ``approval_id`` is the question that was answered for it."""

    type: ClassVar[str] = "tool_executing"
    tool_call_id: str
    tool: str
    arguments: Mapping[str, object]
    effect: Literal["none", "internal", "external"]
    approval_id: str | None = None


class ToolProgress(EventData, frozen=True, kw_only=True):
    """How far a tool call is; ``fraction`` is between 0 and 1."""

    type: ClassVar[str] = "tool_progress"
    tool_call_id: str
    text: str
    fraction: float | None = None


class ErrorShown(msgspec.Struct, frozen=True, kw_only=True):
    """A failure as a person may see it."""

    code: str
    message: str


class ToolCompleted(EventData, frozen=True, kw_only=True):
    """A tool call ended: ``ok`` with ``result``, or not with ``error``."""

    type: ClassVar[str] = "tool_completed"
    tool_call_id: str
    tool: str
    ok: bool
    duration_ms: int
    result: object = None
    error: ErrorShown | None = None


class ApprovalRequested(EventData, frozen=True, kw_only=True):
    """The run waits for a person's yes, no or edited arguments."""

    type: ClassVar[str] = "approval_requested"
    approval_id: str
    tool_call_id: str
    tool: str
    question: str
    arguments: Mapping[str, object]
    schema: Mapping[str, object]
    expires_at: str


class ApprovalDelegated(EventData, frozen=True, kw_only=True):
    """Another user may decide the approval, beside the one whose run waits; or, without ``to``, nobody else any more."""

    type: ClassVar[str] = "approval_delegated"
    approval_id: str
    by: str
    to: str | None = None
    to_name: str | None = None


class ApprovalResolved(EventData, frozen=True, kw_only=True):
    """The approval was decided, or expired."""

    type: ClassVar[str] = "approval_resolved"
    approval_id: str
    decision: Literal["approve", "deny", "expired", "cancelled"]
    by: str | None = None
    arguments: Mapping[str, object] | None = None


class SubagentStarted(EventData, frozen=True, kw_only=True):
    """A child run began."""

    type: ClassVar[str] = "subagent_started"
    agent: str
    child_run_id: str


class SubagentCompleted(EventData, frozen=True, kw_only=True):
    """A child run ended."""

    type: ClassVar[str] = "subagent_completed"
    agent: str
    child_run_id: str
    ok: bool


class StepRestarted(EventData, frozen=True, kw_only=True):
    """A step runs again: what an earlier attempt showed of it (deltas, a tool's start) is void."""

    type: ClassVar[str] = "step_restarted"
    step: int
    message_id: str | None = None
    tool_call_id: str | None = None


class AgentCompleted(EventData, frozen=True, kw_only=True):
    """The run ended well; terminal."""

    type: ClassVar[str] = "agent_completed"
    message_id: str | None
    usage: Usage
    duration_ms: int


class AgentFailed(EventData, frozen=True, kw_only=True):
    """The run failed, or its attempts were used up; terminal."""

    type: ClassVar[str] = "agent_failed"
    code: str
    message: str
    retryable: bool


class AgentTimedOut(EventData, frozen=True, kw_only=True):
    """The run's deadline passed; terminal."""

    type: ClassVar[str] = "agent_timed_out"
    code: str
    message: str
    retryable: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancel did: what was stopped, what had already been done, and what could not be stopped."""

    stopped: tuple[str, ...] = ()
    already_done: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class AgentCancelled(EventData, frozen=True, kw_only=True):
    """The run was cancelled and everything of it has stopped; terminal."""

    type: ClassVar[str] = "agent_cancelled"
    code: str
    message: str
    retryable: bool
    receipt: Receipt


class ThreadUpdated(EventData, frozen=True, kw_only=True):
    """The thread's title or status changed."""

    type: ClassVar[str] = "thread_updated"
    title: str
    status: str


EVENTS: tuple[type[EventData], ...] = (
    MessageCreated,
    RunQueued,
    AgentStarted,
    AgentThinking,
    MessageDelta,
    MessageCompleted,
    ToolExecuting,
    ToolProgress,
    ToolCompleted,
    ApprovalRequested,
    ApprovalDelegated,
    ApprovalResolved,
    SubagentStarted,
    SubagentCompleted,
    StepRestarted,
    AgentCompleted,
    AgentFailed,
    AgentTimedOut,
    AgentCancelled,
    ThreadUpdated,
)
EVENT_BY_TYPE: Mapping[str, type[EventData]] = {event.type: event for event in EVENTS}
TERMINAL_TYPES = frozenset(event.type for event in (AgentCompleted, AgentFailed, AgentTimedOut, AgentCancelled))


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as it is stored and sent. ``seq`` counts per thread, without gaps."""

    seq: int
    type: str
    thread_id: str
    run_id: str | None
    at: str
    data: msgspec.Raw
    execution_id: str | None = None
    agent: str | None = None
    trace_id: str | None = None


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of order that a run's events break, and the event that breaks it."""

    rule: str
    seq: int
    detail: str
