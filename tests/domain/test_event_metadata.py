from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cloche.domain.event_metadata import FIELDS, shown_of
from cloche.domain.events import (
    EVENT_BY_TYPE,
    EVENTS,
    AgentCancelled,
    AgentFailed,
    ApprovalResolved,
    ErrorShown,
    EventData,
    MessageCreated,
    Receipt,
    ToolCompleted,
    ToolExecuting,
)
from cloche.domain.messages import TextPart
from cloche.domain.usage import Usage

WORD = "xylophone"
# Fields whose text nobody but the program, the agent's author or the server's own ids make.
NOBODY_S_WORDS = {
    "message_created": {"message_id", "role", "by"},
    "run_queued": {"reason", "retry_of"},
    "agent_started": {"agent", "version", "model"},
    "message_delta": {"message_id"},
    "message_completed": {"message_id"},
    "tool_executing": {"tool_call_id", "tool", "effect", "approval_id"},
    "tool_progress": {"tool_call_id"},
    "tool_completed": {"tool_call_id", "tool"},
    "approval_requested": {"approval_id", "tool_call_id", "tool", "expires_at"},
    "approval_delegated": {"approval_id", "by", "to"},
    "approval_resolved": {"approval_id", "decision", "by"},
    "subagent_started": {"agent", "child_run_id"},
    "subagent_completed": {"agent", "child_run_id"},
    "step_restarted": {"message_id", "tool_call_id"},
    "agent_completed": {"message_id"},
    "agent_failed": {"code"},
    "agent_timed_out": {"code"},
    "agent_cancelled": {"code"},
    "thread_updated": {"status"},
}


def test_every_field_of_every_event_is_shown_or_hidden_by_decision() -> None:
    declared = {event.type: set(event.__struct_fields__) for event in EVENTS}

    assert {kind: set(fields) for kind, fields in FIELDS.items()} == declared


def filled(kind: type[EventData]) -> EventData:
    """The event with a word in every text of it."""

    def value(name: str) -> Any:
        match name:
            case "parts":
                return (TextPart(text=WORD),)
            case "usage":
                return Usage(input_tokens=1)
            case "error":
                return ErrorShown(code="tool_failed", message=WORD)
            case "receipt":
                return Receipt(stopped=(WORD,), already_done=(WORD, WORD), unknown=())
            case "arguments" | "schema" | "result":
                return {WORD: WORD}
            case "ok" | "retryable":
                return True
            case "position" | "attempt" | "step" | "duration_ms":
                return 7
            case "fraction":
                return 0.5
            case _:
                return "an id" if name in NOBODY_S_WORDS.get(kind.type, set()) else WORD

    return kind(**{name: value(name) for name in kind.__struct_fields__})


@pytest.mark.parametrize("kind", sorted(EVENT_BY_TYPE))
def test_no_text_that_anybody_may_have_written_is_shown(kind: str) -> None:
    event = filled(EVENT_BY_TYPE[kind])

    shown = shown_of(event)

    assert WORD not in msgspec.json.encode(shown).decode()
    assert shown
    assert set(shown) <= set(event.__struct_fields__)


def test_counts_and_codes_stand_for_what_is_hidden() -> None:
    receipt = Receipt(stopped=("a", "b"), already_done=(), unknown=("c",))
    cancelled = AgentCancelled(code="run_cancelled", message=WORD, retryable=True, receipt=receipt)
    created = MessageCreated(message_id="m", role="user", parts=(TextPart(text=WORD),) * 2, by="u")

    assert shown_of(cancelled) == {
        "code": "run_cancelled",
        "retryable": True,
        "receipt": {"stopped": 2, "already_done": 0, "unknown": 1},
    }
    assert shown_of(created)["parts"] == 2
    assert shown_of(AgentFailed(code="a", message=WORD, retryable=False)) == {"code": "a", "retryable": False}


def test_what_has_no_value_is_left_out() -> None:
    assert shown_of(ApprovalResolved(approval_id="a", decision="expired")) == {
        "approval_id": "a",
        "decision": "expired",
    }


def test_a_name_that_a_caller_made_up_is_hidden() -> None:
    executing = ToolExecuting(tool_call_id="c", tool=WORD, arguments={}, effect="none")
    unknown = ErrorShown(code="tool_unknown", message=WORD)
    completed = ToolCompleted(tool_call_id="d", tool=WORD, ok=False, duration_ms=0, error=unknown)

    assert shown_of(executing)["tool"] == WORD
    assert "tool" not in shown_of(executing, frozenset({"c"}))
    assert "tool" not in shown_of(completed)
