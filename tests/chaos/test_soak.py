"""Nothing is left of runs and connections that have ended."""

from pathlib import Path

import pytest

from chaos import soak

pytestmark = [pytest.mark.slow, pytest.mark.system]


def test_nothing_is_left_of_many_runs_and_connections(tmp_path: Path) -> None:
    found = soak.run(tmp_path, runs=200, users=8)

    # A short soak is all warm-up: what it can tell is whether anything stays open.
    assert not [violation for violation in found.violations if "left over" in violation], found.told()
    assert found.figures["runs"] == found.figures["connections"] == 200
