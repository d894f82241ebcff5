"""What of each event an operator may see: ids, names, states, counts and times, never what was said.

Beside the union of events: a field that is added there is decided here, or the table is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import cast

import msgspec

from cloche.domain.events import ErrorShown, EventData, Receipt
from cloche.errors import ToolUnknownError

Shown = Callable[[object], object]
"""Makes what is shown of a field's value."""


def _whole(value: object) -> object:
    return msgspec.to_builtins(value)


def _counted(value: object) -> object:
    return len(cast("Sized", value))


def _code_alone(value: object) -> object:
    return {"code": cast("ErrorShown", value).code}


def _counts(value: object) -> object:
    receipt = cast("Receipt", value)
    return {
        "stopped": len(receipt.stopped),
        "already_done": len(receipt.already_done),
        "unknown": len(receipt.unknown),
    }


_HIDDEN = None
_FAILURE: Mapping[str, Shown | None] = {"code": _whole, "message": _HIDDEN, "retryable": _whole}

FIELDS: Mapping[str, Mapping[str, Shown | None]] = {
    "message_created": {
        "message_id": _whole,
        "role": _whole,
        "parts": _counted,
        "by": _whole,
        "client_message_id": _HIDDEN,
    },
    "run_queued": {"position": _whole, "reason": _whole, "retry_of": _whole},
    "agent_started": {"agent": _whole, "version": _whole, "model": _whole, "attempt": _whole},
    "agent_thinking": {"text": _HIDDEN, "step": _whole},
    "message_delta": {"message_id": _whole, "text": _HIDDEN},
    "message_completed": {"message_id": _whole, "parts": _counted, "usage": _whole},
    "tool_executing": {
        "tool_call_id": _whole,
        "tool": _whole,
        "arguments": _HIDDEN,
        "effect": _whole,
        "approval_id": _whole,
    },
    "tool_progress": {"tool_call_id": _whole, "text": _HIDDEN, "fraction": _whole},
    "tool_completed": {
        "tool_call_id": _whole,
        "tool": _whole,
        "ok": _whole,
        "duration_ms": _whole,
        "result": _HIDDEN,
        "error": _code_alone,
    },
    "approval_requested": {
        "approval_id": _whole,
        "tool_call_id": _whole,
        "tool": _whole,
        "question": _HIDDEN,
        "arguments": _HIDDEN,
        "schema": _HIDDEN,
        "expires_at": _whole,
    },
    "approval_delegated": {"approval_id": _whole, "by": _whole, "to": _whole, "to_name": _HIDDEN},
    "approval_resolved": {"approval_id": _whole, "decision": _whole, "by": _whole, "arguments": _HIDDEN},
    "subagent_started": {"agent": _whole, "child_run_id": _whole},
    "subagent_completed": {"agent": _whole, "child_run_id": _whole, "ok": _whole},
    "step_restarted": {"step": _whole, "message_id": _whole, "tool_call_id": _whole},
    "agent_completed": {"message_id": _whole, "usage": _whole, "duration_ms": _whole},
    "agent_failed": _FAILURE,
    "agent_timed_out": _FAILURE,
    "agent_cancelled": {**_FAILURE, "receipt": _counts},
    "thread_updated": {"title": _HIDDEN, "status": _whole},
}
"""By event and field: what makes the shown value, or None for what is the owner's alone."""


def shown_of(event: EventData, unknown_tools: frozenset[str] = frozenset()) -> dict[str, object]:
    """The fields of the event that may be shown; those without a value are left out.

    ``unknown_tools`` are the calls of tools that there are none of: whoever called one made its name up, so it is hidden.
    """
    found: dict[str, object] = {}
    for name, make in FIELDS[event.type].items():
        value: object = getattr(event, name)
        if make is not None and value is not None:
            found[name] = make(value)
    if found.get("tool_call_id") in unknown_tools or found.get("error") == {"code": ToolUnknownError.code}:
        found.pop("tool", None)
    return found
