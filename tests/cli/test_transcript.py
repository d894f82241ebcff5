from __future__ import annotations

import msgspec
import pytest

from cli.stories import AT, completed, created, envelope, golden_story
from cloche.api.wire.frames import StreamOpened
from cloche.cli.transcript import GapError, Resumption, Transcript, with_acceptance, with_event, with_opening
from cloche.domain.events import (
    AgentFailed,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    Envelope,
    MessageDelta,
)
from cloche.domain.messages import TextPart
from cloche.events.snapshot import Snapshot, SnapshotMessage, SnapshotRun

START = Transcript(thread_id="thread_1")
ASKED = ApprovalRequested(
    approval_id="approval_1", tool_call_id="c1", tool="ask", question="?", arguments={}, schema={}, expires_at=AT
)


def after(transcript: Transcript, *events: Envelope) -> Transcript:
    for event in events:
        transcript, _ = with_event(transcript, event)
    return transcript


def opening(from_seq: int, *, snapshot: Snapshot | None = None, epoch: int = 1) -> StreamOpened:
    return StreamOpened(
        thread_id="thread_1",
        recovered=snapshot is None,
        from_seq=from_seq,
        head_seq=9,
        epoch=epoch,
        snapshot=snapshot,
    )


def snapshot(*, answered: str | None = None, live: str | None = None) -> Snapshot:
    message = SnapshotMessage(message_id="m1", role="assistant", parts=(TextPart("x"),), run_id=answered, seq=5, at=AT)
    run = SnapshotRun(run_id=live or "", agent="a", state="running", first_seq=8)
    return Snapshot(
        seq=7,
        title="",
        status="idle",
        messages=(message,) if answered else (),
        messages_cut=False,
        runs=(run,) if live else (),
    )


def test_a_run_is_followed_from_its_message_to_its_end() -> None:
    story = golden_story()

    amid, at_end = after(START, *story[:-1]), after(START, *story)

    assert (amid.live, amid.is_ended("mine")) == (("run_1",), False)
    assert (at_end.live, at_end.is_ended("mine"), at_end.has_ended_well("mine")) == ((), True, True)
    assert at_end.position == len(story)


def test_a_failed_run_has_ended_and_not_well() -> None:
    failed = AgentFailed(code="agent_failed", message="no", retryable=False)

    found = after(START, envelope(1, created()), envelope(2, failed))

    assert found.is_ended("mine")
    assert not found.has_ended_well("mine")


def test_what_was_not_sent_has_not_ended() -> None:
    assert not START.is_ended("mine")
    assert not START.has_ended_well("mine")


def test_an_event_that_comes_twice_counts_once() -> None:
    known = after(START, envelope(1, created()))

    again, event = with_event(known, envelope(1, created()))

    assert again is known
    assert event is None


def test_a_missing_event_is_noticed() -> None:
    with pytest.raises(GapError, match="event 3 came after 1"):
        after(START, envelope(1, created()), envelope(3, completed()))


def test_an_event_of_a_later_version_moves_the_position_only() -> None:
    later = msgspec.structs.replace(envelope(1, created()), type="agent_danced")

    moved, event = with_event(START, later)

    assert (moved.position, event) == (1, None)


def test_an_approval_is_open_until_it_is_resolved_or_its_run_ends() -> None:
    asked = after(START, envelope(1, created()), envelope(2, ASKED))
    resolved = ApprovalResolved(approval_id="approval_1", decision="deny")
    given = ApprovalDelegated(approval_id="approval_1", by="user_1", to="user_2", to_name="Bob")

    assert list(asked.approvals) == ["approval_1"]
    assert list(after(asked, envelope(3, given)).approvals) == ["approval_1"]
    assert not after(asked, envelope(3, resolved)).approvals
    assert not after(asked, envelope(3, completed())).approvals
    assert after(asked, envelope(3, completed(), run_id="run_2")).approvals


def test_the_first_stream_is_no_return() -> None:
    assert with_opening(START, opening(1))[1] is Resumption.FIRST


def test_a_recovered_stream_goes_on_where_it_was() -> None:
    known = after(with_opening(START, opening(1))[0], envelope(1, created()), envelope(2, completed()))

    again, how = with_opening(known, opening(3))

    assert how is Resumption.NOTHING_MISSED
    assert again == known


def test_a_stream_that_begins_earlier_repeats_nothing() -> None:
    known = after(with_opening(START, opening(1))[0], envelope(1, created()))

    again, _ = with_opening(known, opening(1))

    assert with_event(again, envelope(1, created()))[1] is None


@pytest.mark.parametrize(
    ("state", "ended", "well"),
    [
        (snapshot(answered="run_1"), True, True),
        (snapshot(), True, False),
        (snapshot(live="run_1"), False, False),
    ],
)
def test_after_a_trim_the_snapshot_tells_what_became_of_a_run(state: Snapshot, ended: bool, well: bool) -> None:
    known = with_acceptance(START, "mine", "run_1")

    found, how = with_opening(known, opening(8, snapshot=state, epoch=2))

    assert how is Resumption.TRIMMED
    assert (found.position, found.epoch) == (7, 2)
    assert (found.is_ended("mine"), found.has_ended_well("mine")) == (ended, well)


def test_a_live_run_of_a_snapshot_is_not_counted_twice() -> None:
    found, _ = with_opening(START, opening(8, snapshot=snapshot(live="run_1")))

    assert after(found, envelope(8, created())).live == ("run_1",)


def test_another_message_of_ours_needs_no_event_to_be_known() -> None:
    known = with_acceptance(START, "mine", "run_1")

    assert known.run_of == {"mine": "run_1"}


def test_text_changes_nothing_but_the_position() -> None:
    found = after(START, envelope(1, MessageDelta(message_id="m1", text="x")))

    assert found == Transcript(thread_id="thread_1", position=1)
