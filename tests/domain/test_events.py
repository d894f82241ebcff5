"""The closed union of events: every kind once, told apart by its name."""

from __future__ import annotations

import msgspec
import pytest

from cloche.domain import events as events_module
from cloche.domain.events import EVENT_BY_TYPE, EVENTS, TERMINAL_TYPES, AgentThinking, EventData, ToolCompleted


def test_every_kind_of_event_is_in_the_union_once():
    defined = {
        kind
        for kind in vars(events_module).values()
        if isinstance(kind, type) and issubclass(kind, EventData) and kind is not EventData
    }

    assert set(EVENTS) == defined
    assert len(EVENTS) == len(EVENT_BY_TYPE) == len(defined)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_s_name_on_the_wire_is_its_class_s(kind: type[EventData]):
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)

    assert kind.type == words.removeprefix("_")
    assert EVENT_BY_TYPE[kind.type] is kind


def test_a_run_ends_in_four_ways():
    assert {"agent_completed", "agent_failed", "agent_timed_out", "agent_cancelled"} == TERMINAL_TYPES


def test_an_event_does_not_change():
    thought = AgentThinking(text="hm", step=0)

    with pytest.raises(AttributeError):
        thought.text = "other"  # type: ignore[misc]


def test_what_does_not_apply_is_not_on_the_wire():
    completed = ToolCompleted(tool_call_id="t", tool="it", ok=True, duration_ms=1)

    assert msgspec.json.decode(msgspec.json.encode(completed)) == {
        "tool_call_id": "t",
        "tool": "it",
        "ok": True,
        "duration_ms": 1,
    }
