"""Power cuts at random places of a recorded workload, a short version; and that the harness sees what it is for."""

from collections.abc import Generator
from pathlib import Path

import pytest

from chaos import power_cuts

pytestmark = pytest.mark.slow


@pytest.fixture
def memory() -> Generator[Path]:
    with power_cuts.scratch() as folder:
        yield folder


def test_what_was_told_survives_a_power_cut_at_any_place(memory: Path) -> None:
    found = power_cuts.run(memory, cuts=400, users=2, recover=50, seed=1)

    assert found.is_clean, found.told()
    assert found.figures["recovered_by_a_server"] == 8
    assert found.figures["cuts_in_a_recovery"] == 40
    assert found.figures["told_events"]


@pytest.mark.parametrize("plant", ["normal", "early"])
def test_a_commit_that_was_told_before_it_was_on_the_disk_is_found_missing(memory: Path, plant: str) -> None:
    found = power_cuts.run(memory, cuts=150, users=2, recover=1000, seed=1, plant=plant)

    assert any("delivered and are not there" in violation for violation in found.violations), found.told()
