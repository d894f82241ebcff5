"""kill -9 at points of a run that are chosen anew by their names; and the harness notices what it is there for."""

from __future__ import annotations

import pytest

from chaos import kills

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(60)]


def test_a_run_that_is_killed_anywhere_goes_on_and_breaks_no_promise() -> None:
    found = kills.run(kills=12, recoveries=4, stops=0)

    assert found.violations == []
    assert int(str(found.figures["points in a run"])) >= 40
    assert int(str(found.figures["kills"])) >= 18


def test_a_worker_that_was_thought_dead_and_wakes_changes_nothing() -> None:
    found = kills.run(kills=0, recoveries=0, stops=8)

    assert found.violations == []
    assert int(str(found.figures["stopped, and woken after the run"])) >= 5


def test_a_missing_fence_is_noticed() -> None:
    assert kills.run(kills=0, recoveries=0, stops=60, plant="fence").violations


def test_an_event_outside_its_state_s_transaction_is_noticed() -> None:
    assert kills.run(
        kills=10, recoveries=0, stops=0, plant="outside", at="UPDATE runs in write Executor._settle"
    ).violations
