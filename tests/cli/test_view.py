from __future__ import annotations

import pytest

from cli.stories import AT, completed, created, golden_story
from cloche.cli.view import MAX_SHOWN, AnswersOnly, View, duration, printable, shortened
from cloche.domain.event_order import decoded
from cloche.domain.events import (
    EVENTS,
    AgentCancelled,
    AgentFailed,
    AgentStarted,
    AgentThinking,
    AgentTimedOut,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    ErrorShown,
    EventData,
    MessageCompleted,
    MessageDelta,
    Receipt,
    RunQueued,
    StepRestarted,
    SubagentCompleted,
    SubagentStarted,
    ThreadUpdated,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
)
from cloche.domain.messages import TextPart
from cloche.events.snapshot import Snapshot, SnapshotMessage

EXECUTING = ToolExecuting(tool_call_id="c1", tool="mail", arguments={"to": "bob"}, effect="external")


def view() -> View:
    return View(lambda sent: sent == "mine")


def shown(*events: EventData, on: View | None = None) -> str:
    screen = on or view()
    return "".join(piece.text for event in events for piece in screen.show(event))


def test_the_golden_path_reads_like_a_story() -> None:
    assert shown(*map(decoded, golden_story())).splitlines() == [
        "assistant · scripted:demo",
        "hm",
        "⚙ clock {}",
        "✓ clock 2 ms → noon",
        "It is noon.",
        "done in 1.2 s, 3 + 4 tokens, 1 tool call",
    ]


def test_every_event_can_be_shown() -> None:
    silent = {ThreadUpdated}

    for kind in EVENTS:
        assert (kind in view()._shows) is (kind not in silent)


def test_what_was_typed_here_is_not_shown_again_but_another_s_is() -> None:
    assert shown(created("mine")) == ""
    assert shown(created("another")) == "you: hello\n"
    assert shown(created(None)) == "you: hello\n"


def test_text_streams_on_its_line_and_whatever_comes_next_has_its_own() -> None:
    said = shown(
        MessageDelta(message_id="m1", text="a "),
        MessageDelta(message_id="m1", text="b"),
        EXECUTING,
        MessageDelta(message_id="m2", text="c\n"),
        AgentThinking(text="x", step=1),
        AgentThinking(text="y", step=1),
        AgentThinking(text="z", step=2),
    )

    assert said == 'a b\n⚙ mail {"to":"bob"} (changes something outside)\nc\nxy\nz'


def test_a_message_without_pieces_is_shown_when_it_is_whole() -> None:
    assert shown(MessageCompleted(message_id="m1", parts=(TextPart("a"), TextPart("b")))) == "a\n\nb\n"


def test_pieces_that_are_not_the_message_are_said_to_be_void() -> None:
    said = shown(MessageDelta(message_id="m1", text="cat"), MessageCompleted(message_id="m1", parts=(TextPart("dog"),)))

    assert said == "cat\n— the text above is void; the whole message is:\ndog\n"


def test_a_step_that_begins_again_makes_its_text_void() -> None:
    said = shown(
        MessageDelta(message_id="m1", text="half"),
        StepRestarted(step=1, message_id="m1"),
        MessageDelta(message_id="m1", text="whole"),
        MessageCompleted(message_id="m1", parts=(TextPart("whole"),)),
    )

    assert said == "half\n— the step was interrupted and begins again; the text above is void\nwhole\n"


@pytest.mark.parametrize("earlier", [EXECUTING, AgentThinking(text="x", step=3)])
def test_a_step_that_begins_again_makes_what_else_it_showed_void(earlier: EventData) -> None:
    assert "what it showed above is void" in shown(earlier, StepRestarted(step=3, tool_call_id="c1"))


def test_a_step_that_showed_nothing_begins_again_in_silence() -> None:
    done = ToolCompleted(tool_call_id="c1", tool="mail", ok=True, duration_ms=1)
    screen = view()
    shown(EXECUTING, done, on=screen)

    assert shown(StepRestarted(step=1), StepRestarted(step=2, tool_call_id="c1"), on=screen) == ""


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (RunQueued(position=0, reason="accepted"), ""),
        (RunQueued(position=1, reason="thread_busy"), "waits for 1 run before it\n"),
        (RunQueued(position=2, reason="thread_busy"), "waits for 2 runs before it\n"),
        (AgentStarted(agent="a", version="1", model="m", attempt=2), "a · m, attempt 2\n"),
        (ToolProgress(tool_call_id="c", text="half way", fraction=0.5), "  half way 50%\n"),
        (ToolProgress(tool_call_id="c", text="on"), "  on\n"),
        (
            ToolCompleted(
                tool_call_id="c", tool="t", ok=False, duration_ms=5, error=ErrorShown(code="tool_failed", message="no")
            ),
            "✗ t 5 ms: no (tool_failed)\n",
        ),
        (ToolCompleted(tool_call_id="c", tool="t", ok=False, duration_ms=5), "✗ t 5 ms\n"),
        (
            ApprovalRequested(
                approval_id="a",
                tool_call_id="c",
                tool="rm",
                question="Sure?",
                arguments={"n": 1},
                schema={},
                expires_at=AT,
            ),
            '? Sure?\n  rm {"n":1}\n',
        ),
        (ApprovalResolved(approval_id="a", decision="approve", arguments={}), "  approved, with other arguments\n"),
        (ApprovalResolved(approval_id="a", decision="deny"), "  denied\n"),
        (ApprovalDelegated(approval_id="a", by="u1", to="u2", to_name="B\x1bob"), "  B\ufffdob may answer, too\n"),
        (ApprovalDelegated(approval_id="a", by="u1"), "  nobody else may answer any more\n"),
        (ApprovalResolved(approval_id="a", decision="expired"), "  expired\n"),
        (SubagentStarted(agent="b", child_run_id="r"), "↳ b begins\n"),
        (SubagentCompleted(agent="b", child_run_id="r", ok=True), "↳ b is done\n"),
        (SubagentCompleted(agent="b", child_run_id="r", ok=False), "↳ b failed\n"),
        (
            AgentFailed(code="model_unavailable", message="no", retryable=True),
            "failed: no (model_unavailable); it may be tried again\n",
        ),
        (
            AgentTimedOut(code="deadline_exceeded", message="late", retryable=False),
            "timed out: late (deadline_exceeded)\n",
        ),
        (
            AgentCancelled(
                code="c", message="stop", retryable=False, receipt=Receipt(stopped=("x", "y"), unknown=("z",))
            ),
            "cancelled: stop\n  stopped: x, y\n  unknown: z\n",
        ),
        (ThreadUpdated(title="t", status="idle"), ""),
    ],
)
def test_each_event_has_its_line(event: EventData, text: str) -> None:
    assert shown(event) == text


def test_nothing_that_a_terminal_would_obey_is_written() -> None:
    said = shown(MessageDelta(message_id="m1", text="a\x1b]0;owned\x07b\r\nc\td\x9b2J\u202e"))

    assert said == "a\ufffd]0;owned\ufffdb\nc\td\ufffd2J\ufffd"


def test_plain_text_is_left_alone() -> None:
    assert printable("Grüße, 世界 – “ok”") == "Grüße, 世界 – “ok”"


def test_long_values_are_cut_to_a_line() -> None:
    assert shortened({"a": [1, "b\n"]}) == '{"a":[1,"b\\n"]}'
    assert shortened("a\n  b") == "a b"
    assert len(shortened("x" * 10_000)) == MAX_SHOWN


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(ms) for ms in (0, 999, 1000, 61_250)] == ["0 ms", "999 ms", "1.0 s", "61.2 s"]


def test_notes_and_prompts_begin_on_a_line_of_their_own() -> None:
    screen = view()
    shown(MessageDelta(message_id="m1", text="a"), on=screen)

    assert "".join(piece.text for piece in screen.begin_prompt()) == "\n"
    assert "".join(piece.text for piece in screen.begin_prompt()) == ""
    assert "".join(piece.text for piece in screen.note("back\x1b")) == "back\ufffd\n"


def test_a_snapshot_stands_for_what_is_gone() -> None:
    messages = tuple(
        SnapshotMessage(message_id=role, role=role, parts=(TextPart(f"by {role}"),), run_id=None, seq=1, at=AT)
        for role in ("user", "assistant")
    )
    snapshot = Snapshot(seq=2, title="", status="idle", messages=messages, messages_cut=True, runs=())

    said = "".join(piece.text for piece in view().show_snapshot(snapshot))

    assert said == "… older messages are not shown\nyou: by user\nby assistant\n"


def test_for_programs_there_are_whole_answers_of_their_own_runs_only() -> None:
    answers = AnswersOnly(lambda run_id: run_id == "run_1")
    answer = MessageCompleted(message_id="m1", parts=(TextPart("an\x1banswer"),))

    assert [piece.text for piece in answers.show(answer, "run_1")] == ["an\x1banswer\n"]
    assert answers.show(answer, "run_2") == []
    assert answers.show(completed(), "run_1") == []


def test_for_programs_a_failure_is_a_complaint() -> None:
    answers = AnswersOnly(lambda run_id: run_id == "run_1")
    failed = AgentFailed(code="agent_failed", message="no", retryable=False)

    assert answers.complaint(failed, "run_1") == "no (agent_failed)"
    assert answers.complaint(failed, "run_2") is None
    assert answers.complaint(completed(), "run_1") is None
