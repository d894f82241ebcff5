"""The handle by which an execution is told to stop: the strongest reason counts, and only the right one is told."""

from __future__ import annotations

import pytest

from cloche.execution.control import ActiveRuns, RunControl, StopReason
from cloche.ids import RunId


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ([StopReason.DRAINED, StopReason.CANCELLED], StopReason.CANCELLED),
        ([StopReason.CANCELLED, StopReason.DRAINED], StopReason.CANCELLED),
        ([StopReason.DEADLINE, StopReason.SUSPENDED, StopReason.DRAINED], StopReason.SUSPENDED),
        ([StopReason.CANCELLED, StopReason.LEASE_LOST], StopReason.LEASE_LOST),
    ],
)
def test_the_strongest_reason_to_stop_is_the_one_that_counts(given: list[StopReason], counts: StopReason):
    control = RunControl()
    stopped: list[StopReason | None] = []
    control.bind(lambda: stopped.append(control.reason))

    for reason in given:
        control.stop(reason)

    assert control.reason is counts
    assert len(stopped) == len(given)


def test_an_execution_that_was_told_to_stop_before_it_began_is_stopped_when_it_begins():
    control = RunControl()
    control.stop(StopReason.CANCELLED)
    stopped: list[bool] = []

    control.bind(lambda: stopped.append(True))

    assert stopped == [True]


def test_only_the_execution_that_was_added_is_told_and_removed():
    active, first, second = ActiveRuns(), RunControl(), RunControl()
    run_id = RunId.new()

    active.add(run_id, first)
    active.remove(run_id, second)
    told = active.stop(run_id, StopReason.CANCELLED)
    active.remove(run_id, first)

    assert told
    assert first.reason is StopReason.CANCELLED
    assert second.reason is None
    assert not active.stop(run_id, StopReason.CANCELLED)
    assert len(active) == 0


def test_every_execution_is_told_of_a_drain_even_when_one_leaves_at_once():
    active, controls = ActiveRuns(), [RunControl() for _ in range(3)]
    runs = [RunId.new() for _ in controls]
    for run_id, control in zip(runs, controls, strict=True):
        active.add(run_id, control)
        control.bind(lambda run_id=run_id, control=control: active.remove(run_id, control))

    active.stop_all(StopReason.DRAINED)

    assert [control.reason for control in controls] == [StopReason.DRAINED] * 3
    assert not [run_id for run_id in runs if run_id in active]


def test_an_execution_that_is_not_here_is_not_told():
    active, control = ActiveRuns(), RunControl()
    active.add(RunId.new(), control)

    assert not active.stop(RunId.new(), StopReason.CANCELLED)
    assert control.reason is None
