"""Findings: what they are called, what they say, and which of them need a person."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cloche.domain.events import TERMINAL_TYPES
from cloche.domain.findings import REMEDIES, STATE_TOLD, Finding, FindingKind, FindingRef, may_end_as_told
from cloche.domain.runs import TRANSITIONS, ExecutionState
from cloche.errors import InvalidInputError
from cloche.ids import ApprovalId, RunId, ThreadId, UserId

K = FindingKind
S = ExecutionState
# Always the same ones: they are in the names of tests, which every worker must find alike.
_SUFFIX = "01m7zmdrvee2xtbpzw5zqdc5t7"
USER, THREAD = UserId(f"user_{_SUFFIX}"), ThreadId(f"thread_{_SUFFIX}")
RUN, APPROVAL = RunId(f"run_{_SUFFIX}"), ApprovalId(f"approval_{_SUFFIX}")


def finding(kind: FindingKind, *, state: ExecutionState = S.RUNNING, event: str = "agent_completed") -> Finding:
    return Finding(
        kind=kind,
        user_id=USER,
        thread_id=THREAD,
        run_id=RUN,
        approval_id=APPROVAL,
        number=3,
        state=state,
        event=event,
        since=datetime(2031, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_finding_says_what_is_wrong_and_what_would_be_done(kind: FindingKind):
    one = finding(kind)

    assert one.what
    assert one.would
    assert "{" not in one.what + one.would
    assert "None" not in one.what


def test_every_kind_has_its_words():
    assert set(REMEDIES) == set(FindingKind)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (K.RUN_LOST, RUN),
        (K.STEP_OPEN, f"{RUN}:3"),
        (K.EXECUTION_OPEN, f"{RUN}:3"),
        (K.APPROVAL_EXPIRED, APPROVAL),
        (K.LOG_CUT_SHORT, THREAD),
    ],
)
def test_a_finding_is_called_by_its_kind_its_user_and_its_place(kind: FindingKind, target: str):
    ref = finding(kind).ref

    assert str(ref) == f"{kind}:{USER}:{target}"
    assert FindingRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run_lost",
        f"nothing:{USER}:{RUN}",
        f"run_lost:ada:{RUN}",
        f"run_lost:{USER}:x",
        f"run_lost:{USER}:{RUN}:1",
        f"step_open:{USER}:{RUN}",
        f"step_open:{USER}:{RUN}:²",
        f"step_open:{USER}:{RUN}:1:1",
        f"step_open:{USER}:{RUN}:{10**10}",
    ],
)
def test_what_names_no_finding_is_refused(text: str):
    with pytest.raises(InvalidInputError) as refused:
        FindingRef.parse(text)

    assert refused.value.details == {"place": "$.finding"}


def test_every_end_that_a_log_can_tell_is_a_state():
    assert set(STATE_TOLD) == TERMINAL_TYPES
    assert all(state.is_terminal for state in STATE_TOLD.values())


@pytest.mark.parametrize("event", sorted(STATE_TOLD))
@pytest.mark.parametrize("state", list(ExecutionState))
def test_a_run_ends_as_told_only_by_moves_of_the_table(state: ExecutionState, event: str):
    direct = STATE_TOLD[event] in TRANSITIONS[state]
    through = STATE_TOLD[event] is S.COMPLETED and S.COMPLETING in TRANSITIONS[state]

    assert may_end_as_told(state, event) is (direct or through)
    assert finding(K.RUN_OVER_IN_LOG, state=state, event=event).is_repairable is (direct or through)


def test_an_end_that_the_run_cannot_have_is_left_to_a_person():
    one = finding(K.RUN_OVER_IN_LOG, state=S.WAITING)

    assert one.would == "nothing by itself: a run that is waiting cannot end as completed"


def test_events_that_are_missing_are_left_to_a_person():
    assert [kind for kind in FindingKind if not finding(kind).is_repairable] == [K.LOG_CUT_SHORT]
