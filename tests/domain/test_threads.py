"""Threads: a status that is derived, and titles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.runs import LIVE_STATES, ExecutionState
from cloche.domain.threads import MAX_TITLE, ThreadStatus, clean_title, status_of, title_from
from cloche.errors import InvalidInputError, PayloadTooLargeError

S = ExecutionState


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ([], ThreadStatus.IDLE),
        ([S.COMPLETED, S.FAILED, S.TIMEOUT, S.DEAD, S.CANCELLED], ThreadStatus.IDLE),
        ([S.PENDING], ThreadStatus.QUEUED),
        ([S.COMPLETED, S.PENDING], ThreadStatus.QUEUED),
        ([S.STARTING], ThreadStatus.RUNNING),
        ([S.RUNNING, S.PENDING], ThreadStatus.RUNNING),
        ([S.CANCELLING], ThreadStatus.RUNNING),
        ([S.COMPLETING], ThreadStatus.RUNNING),
        ([S.WAITING], ThreadStatus.WAITING),
        ([S.PENDING, S.WAITING, S.RUNNING], ThreadStatus.WAITING),
    ],
)
def test_the_status_follows_from_the_runs(states: list[ExecutionState], status: ThreadStatus):
    assert status_of(states) is status


@given(st.lists(st.sampled_from(ExecutionState)))
def test_a_thread_is_idle_exactly_when_no_run_of_it_lives(states: list[ExecutionState]):
    assert (status_of(states) is ThreadStatus.IDLE) is not any(state in LIVE_STATES for state in states)


def test_a_title_is_taken_without_surrounding_space():
    assert clean_title("  A title\n") == "A title"


@pytest.mark.parametrize("wrong", [None, 3, ["a"], b"a"])
def test_a_title_that_is_no_text_is_refused_with_its_place(wrong: object):
    with pytest.raises(InvalidInputError) as refused:
        clean_title(wrong)

    assert refused.value.details["place"] == "$.title"


def test_a_title_has_a_greatest_length():
    assert clean_title("ä" * MAX_TITLE) == "ä" * MAX_TITLE
    with pytest.raises(PayloadTooLargeError):
        clean_title("ä" * (MAX_TITLE + 1))


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("hello", "hello"),
        ("  two\n\n lines\t here ", "two lines here"),
        ("", ""),
        ("x" * 61, "x" * 60 + "…"),
        ("word " * 20, " ".join(["word"] * 12) + "…"),
    ],
)
def test_the_first_title_is_the_beginning_of_the_message_cut_at_a_word(text: str, title: str):
    assert title_from(text) == title


@given(st.text(max_size=300))
def test_a_first_title_is_always_an_acceptable_title(text: str):
    title = title_from(text)

    assert len(title) <= 61
    assert clean_title(title) == title
    assert "\n" not in title
