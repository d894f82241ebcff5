"""The one table of moves: what may happen to a run, and that nothing happens after its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloche.domain.runs import (
    LIVE_STATES,
    OWNED_STATES,
    TRANSITIONS,
    ExecutionState,
    Run,
    RunRef,
    check_state,
    check_transition,
    sources,
    transition,
)
from cloche.domain.usage import Usage
from cloche.errors import IllegalTransitionError
from cloche.ids import MessageId, RequestId, RunId, TenantId, ThreadId, TraceId, UserId

START = datetime(2031, 1, 1, tzinfo=UTC)
TERMINAL = frozenset(state for state in ExecutionState if state.is_terminal)
states = st.sampled_from(ExecutionState)


def a_run(state: ExecutionState = ExecutionState.PENDING) -> Run:
    return Run(
        ref=RunRef(tenant_id=TenantId.new(), user_id=UserId.new(), thread_id=ThreadId.new(), run_id=RunId.new("walk")),
        message_id=MessageId.new(),
        agent="agent",
        agent_version="1",
        model="none",
        state=state,
        epoch=1,
        attempt=1,
        losses=0,
        timeout=timedelta(minutes=1),
        deadline_at=None,
        request_id=RequestId.new(),
        trace_id=TraceId.new(),
        failure=None,
        usage=Usage(),
        first_seq=1,
        last_seq=0,
        created_at=START,
        state_times={state: START},
    )


@given(st.lists(states, max_size=40))
def test_a_walk_of_any_wishes_makes_only_moves_of_the_table_and_stops_at_the_first_end(wishes: list[ExecutionState]):
    run = a_run()
    ended: Run | None = None

    for step, wish in enumerate(wishes, 1):
        at = START + timedelta(seconds=step)
        if wish in TRANSITIONS[run.state]:
            moved = transition(run, wish, at)
            assert moved.state is wish
            assert moved.state_times == {**run.state_times, wish: at}
            assert moved.ref == run.ref
            run = moved
        else:
            with pytest.raises(IllegalTransitionError) as refused:
                transition(run, wish, at)
            assert refused.value.details == {"state": str(run.state), "to": str(wish)}
        if ended is not None:
            assert run is ended
        ended = run if run.state.is_terminal else None


def test_a_move_leaves_the_former_run_as_it_was():
    before = a_run()

    transition(before, ExecutionState.STARTING, START + timedelta(seconds=1))

    assert before.state is ExecutionState.PENDING
    assert before.state_times == {ExecutionState.PENDING: START}


@given(states, states)
def test_the_sources_of_a_state_are_those_that_the_table_lets_go_there(state: ExecutionState, to: ExecutionState):
    assert (state in sources(to)) is (to in TRANSITIONS[state])


def test_terminal_states_are_five_and_nothing_leaves_them():
    assert {str(state) for state in TERMINAL} == {"completed", "failed", "timeout", "dead", "cancelled"}
    for state in TERMINAL:
        assert TRANSITIONS[state] == frozenset()
        for to in ExecutionState:
            with pytest.raises(IllegalTransitionError):
                check_transition(state, to)


def test_from_every_live_state_an_end_can_be_reached():
    for state in LIVE_STATES:
        reached, waiting = {state}, [state]
        while waiting:
            waiting += (following := TRANSITIONS[waiting.pop()] - reached)
            reached |= following
        assert reached & TERMINAL, state


def test_a_run_that_is_being_cancelled_ends_in_no_other_way():
    assert TRANSITIONS[ExecutionState.CANCELLING] == {ExecutionState.CANCELLED}


def test_no_state_moves_to_itself_and_the_table_names_each():
    assert set(TRANSITIONS) == set(ExecutionState)
    assert not [state for state, targets in TRANSITIONS.items() if state in targets]


def test_live_and_owned_states_fit_the_table():
    assert set(ExecutionState) - TERMINAL == LIVE_STATES
    assert OWNED_STATES < LIVE_STATES


@pytest.mark.parametrize("wrong", ["running", {"state": "running"}, None, 3, ["running"], object()])
def test_what_is_no_state_is_a_type_error_that_lists_the_valid_ones(wrong: object):
    with pytest.raises(TypeError) as refused:
        check_state(wrong)

    text = str(refused.value)
    assert type(wrong).__name__ in text
    for state in ExecutionState:
        assert f"ExecutionState.{state.name}" in text


@pytest.mark.parametrize("wrong", ["running", {"state": "running"}])
def test_every_way_to_move_refuses_what_is_no_state(wrong: object):
    with pytest.raises(TypeError):
        transition(a_run(), wrong, START)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        check_transition(wrong, ExecutionState.RUNNING)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        sources(wrong)  # type: ignore[arg-type]


def test_a_run_knows_its_own_and_its_thread_s_id():
    run = a_run()

    assert run.id == run.ref.run_id
    assert run.thread_id == run.ref.thread_id


def test_usage_adds_up():
    total = Usage(input_tokens=1, output_tokens=2, model_calls=3, tool_calls=4) + Usage(input_tokens=10, tool_calls=1)

    assert total == Usage(input_tokens=11, output_tokens=2, model_calls=3, tool_calls=5)
