"""A few schedules of the simulated core, and the races that they must find; the full harness plays 100,000."""

from __future__ import annotations

import pytest

from chaos import schedules
from chaos.schedule_plants import PLANTS
from chaos.simulated_schedule import play
from chaos.simulated_store import SimulatedDisk

pytestmark = pytest.mark.slow


def test_no_promise_is_broken_whatever_comes_first() -> None:
    found = schedules.run(seed=1, schedules=60)

    assert found.is_clean, found.told()
    assert found.figures["distinct"] == 60
    assert found.figures["processes killed or frozen"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_planted_race_is_found(plant: str) -> None:
    found = schedules.run(schedules=3000, plant=plant, until_found=True)

    assert not found.is_clean


def test_a_seed_plays_the_same_schedule_again() -> None:
    disk = SimulatedDisk()

    first, other, again = play(7, disk), play(8, disk), play(7, disk)

    assert (first.order, first.steps, first.events) == (again.order, again.steps, again.events)
    assert first.order != other.order
