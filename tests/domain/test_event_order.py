"""The checker of a run's story: it finds nothing in a right one, and something in every wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import (
    EVENT_BY_TYPE,
    EVENTS,
    TERMINAL_TYPES,
    AgentStarted,
    AgentThinking,
    Envelope,
    EventData,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    RunQueued,
    StepRestarted,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
)
from cloche.domain.messages import TextPart
from support.stories import (
    CANCELLED,
    COMPLETED,
    CREATED,
    EXECUTED,
    FAILED,
    QUEUED,
    RENAMED,
    RETRIED,
    RIGHT,
    STARTED,
    THINKING,
    TIMED_OUT,
    WRONG,
    envelope,
    spoiled,
    story,
    with_seqs,
)


def rules(events: Sequence[Envelope]) -> list[str]:
    return [violation.rule for violation in check_run(events)]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_story_breaks_no_rule(name: str):
    assert check_run(RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_each_broken_rule_is_found_and_nothing_else_is_complained_of(name: str):
    events, rule = WRONG[name]

    found = rules(events)

    assert rule in found
    assert set(found) <= {rule, "message_completed", "tool_completed"} | (
        {"agent_started_first"} if "not " in name else set()
    )


def test_every_rule_has_a_story_that_breaks_it():
    broken = {rule for _, rule in WRONG.values()}

    assert broken == {
        "increasing",
        "one_run",
        "terminal_is_last",
        "beginning",
        "agent_started_first",
        "once_per_attempt",
        "one_terminal",
        "tool_completed",
        "tool_executing_first",
        "tool_once",
        "deltas_before_completion",
        "message_completed",
        "delegated_while_open",
        "shape",
    }


def test_a_violation_names_the_event_that_breaks_the_rule():
    [violation] = check_run(story(CREATED, QUEUED, STARTED, EXECUTED, COMPLETED))

    assert violation.seq == 4
    assert "t1" in violation.detail


# Made-up stories


@st.composite
def right_stories(draw: st.DrawFn) -> list[EventData]:
    """A whole story of one attempt or more, of tool calls, thoughts and messages, with any end."""
    events: list[EventData] = [*draw(st.sampled_from(((CREATED, QUEUED), (RETRIED,))))]
    attempts = draw(st.integers(min_value=1, max_value=3))
    number = 0
    for attempt in range(1, attempts + 1):
        events.append(AgentStarted(agent="a", version="1", model="none", attempt=attempt))
        for kind in draw(st.lists(st.sampled_from(["think", "tool", "message", "rename"]), max_size=4)):
            number += 1
            if kind == "think":
                events.append(AgentThinking(text="t", step=number))
            elif kind == "rename":
                events.append(RENAMED)
            elif kind == "tool":
                call = f"t{number}"
                events.append(ToolExecuting(tool_call_id=call, tool="it", arguments={}, effect="none"))
                events += [ToolProgress(tool_call_id=call, text="")] * draw(st.integers(0, 2))
                events.append(ToolCompleted(tool_call_id=call, tool="it", ok=True, duration_ms=0))
            else:
                message = f"m{number}"
                events += [MessageDelta(message_id=message, text="x")] * draw(st.integers(0, 3))
                events.append(MessageCompleted(message_id=message, parts=(TextPart(text="x"),)))
        if attempt < attempts:
            number += 1
            events.append(MessageDelta(message_id=f"m{number}", text="half"))
            events.append(StepRestarted(step=number, message_id=f"m{number}"))
    events.append(draw(st.sampled_from([COMPLETED, FAILED, TIMED_OUT, CANCELLED])))
    return events


Mutation = Callable[[list[EventData], int], list[Envelope]]


def _drop(kind: type[EventData]) -> Mutation:
    def mutate(events: list[EventData], place: int) -> list[Envelope]:
        found = [index for index, event in enumerate(events) if isinstance(event, kind)]
        if not found:
            return []
        index = found[place % len(found)]
        return story(*events[:index], *events[index + 1 :])

    return mutate


def _twice(*kinds: type[EventData]) -> Mutation:
    def mutate(events: list[EventData], place: int) -> list[Envelope]:
        found = [index for index, event in enumerate(events) if isinstance(event, kinds)]
        if not found:
            return []
        index = found[place % len(found)]
        return story(*events[: index + 1], *events[index:])

    return mutate


def _swap_with_the_beginning(events: list[EventData], place: int) -> list[Envelope]:
    index = 2 + place % (len(events) - 2)
    return story(events[index], *events[1:index], events[0], *events[index + 1 :])


def _same_number(events: list[EventData], place: int) -> list[Envelope]:
    numbers = list(range(1, len(events) + 1))
    index = 1 + place % (len(numbers) - 1)
    numbers[index] = numbers[index - 1]
    return with_seqs(events, numbers)


def _end_too_early(events: list[EventData], place: int) -> list[Envelope]:
    index = 2 + place % (len(events) - 2)
    return story(*events[:index], events[-1], *events[index:-1], RENAMED)


def _of_another_run(events: list[EventData], place: int) -> list[Envelope]:
    index = 1 + place % (len(events) - 1)
    return [envelope(seq, event, "run_2" if seq == index + 1 else "run_1") for seq, event in enumerate(events, 1)]


MUTATIONS: dict[str, Mutation] = {
    "the message is missing": _drop(MessageCreated),
    "the queueing is missing": _drop(RunQueued),
    "the end is missing": lambda events, _: story(*events[:-1]),
    "a call is missing": _drop(ToolExecuting),
    "an outcome is missing": _drop(ToolCompleted),
    "something is told twice": _twice(
        MessageCreated, RunQueued, AgentStarted, ToolExecuting, ToolCompleted, MessageCompleted
    ),
    "the end is told twice": lambda events, _: story(*events, events[-1]),
    "the beginning is elsewhere": _swap_with_the_beginning,
    "a number is given twice": _same_number,
    "the end is not last": _end_too_early,
    "an event is another run's": _of_another_run,
}


@given(right_stories())
def test_every_whole_story_is_right(events: list[EventData]):
    assert check_run(story(*events)) == []


@pytest.mark.parametrize("name", MUTATIONS)
@given(events=right_stories(), place=st.integers(min_value=0, max_value=100))
def test_every_spoiled_story_is_wrong(name: str, events: list[EventData], place: int):
    spoiled = MUTATIONS[name](events, place)

    assert not spoiled or check_run(spoiled)


# Gaps, and the union


@given(st.integers(min_value=0, max_value=1000), st.integers(min_value=0, max_value=20))
def test_numbers_without_a_gap_are_right(after: int, length: int):
    assert check_gapless(range(after + 1, after + 1 + length), after=after) == []


@pytest.mark.parametrize(
    ("seqs", "after", "wrong"), [([2, 3], 0, 2), ([1, 3], 0, 3), ([1, 1], 0, 1), ([2, 1], 1, 1), ([5], 5, 5)]
)
def test_a_gap_or_a_repetition_is_found_where_it_is(seqs: list[int], after: int, wrong: int):
    [violation] = check_gapless(seqs, after=after)

    assert (violation.rule, violation.seq) == ("gapless", wrong)


def test_the_union_is_closed_and_four_events_end_a_run():
    assert len(EVENT_BY_TYPE) == len(EVENTS)
    assert "" not in EVENT_BY_TYPE
    assert sorted(TERMINAL_TYPES) == ["agent_cancelled", "agent_completed", "agent_failed", "agent_timed_out"]


def test_an_unknown_event_cannot_be_decoded():
    with pytest.raises(msgspec.ValidationError, match="agent_dreaming"):
        decoded(spoiled(THINKING, 1, b"{}", "agent_dreaming"))
