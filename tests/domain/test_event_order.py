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


def rules(events: Sequence[Envelope]) -> list[str]:
    return [violation.rule for violation in check_run(events)]


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


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_story_breaks_no_rule(name: str):
    assert check_run(RIGHT[name]) == []


def _with_seqs(events: Sequence[EventData], seqs: Sequence[int]) -> list[Envelope]:
    return [envelope(seq, event) for seq, event in zip(seqs, events, strict=True)]


def _spoiled(event: EventData, seq: int, raw: bytes, kind: str | None = None) -> Envelope:
    return msgspec.structs.replace(envelope(seq, event), data=msgspec.Raw(raw), type=kind or event.type)


WRONG: dict[str, tuple[list[Envelope], str]] = {
    "given before it was asked": (story(CREATED, QUEUED, STARTED, GIVEN, ASKED, COMPLETED), "delegated_while_open"),
    "given after it was answered": (
        story(CREATED, QUEUED, STARTED, ASKED, ANSWERED, GIVEN, COMPLETED),
        "delegated_while_open",
    ),
    "numbers go back": (_with_seqs([CREATED, QUEUED, STARTED, COMPLETED], [1, 3, 2, 4]), "increasing"),
    "a number twice": (_with_seqs([CREATED, QUEUED, STARTED, COMPLETED], [1, 2, 2, 3]), "increasing"),
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
        [*story(CREATED, QUEUED, STARTED), _spoiled(THINKING, 4, b'{"text":3,"step":0}'), envelope(5, FAILED)],
        "shape",
    ),
    "data that is no JSON": (
        [*story(CREATED, QUEUED, STARTED), _spoiled(THINKING, 4, b"{"), envelope(5, FAILED)],
        "shape",
    ),
    "an unknown type": (
        [*story(CREATED, QUEUED, STARTED), _spoiled(THINKING, 4, b"{}", "agent_dreaming"), envelope(5, FAILED)],
        "shape",
    ),
}


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
    return _with_seqs(events, numbers)


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
        decoded(_spoiled(THINKING, 1, b"{}", "agent_dreaming"))
