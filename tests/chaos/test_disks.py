"""A disk that fails at some places of several people's runs, and a real one that is filled and freed; a short version."""

from pathlib import Path

import pytest

from chaos import disks
from chaos.power_cuts import scratch

pytestmark = pytest.mark.slow


def test_a_disk_that_fails_is_told_and_every_run_ends_once_in_the_same_process() -> None:
    with scratch() as folder:
        found = disks.run(folder, places=6, together=6, lasting=4, asks=False, server=False, seed=1)

    assert found.is_clean, found.told()
    assert found.figures["cases_with_a_failure"]
    assert set(found.figures["told"]) == {"storage_full", "storage_unavailable"}  # type: ignore[call-overload]


@pytest.mark.system
def test_a_server_on_a_full_disk_says_so_and_goes_on_when_it_is_freed(tmp_path: Path) -> None:
    found = disks.run(tmp_path, places=0, together=1, lasting=1, asks=False, server=True)

    if str(found.figures["small_disk"]).startswith("not tried"):
        pytest.skip(str(found.figures["small_disk"]))
    assert found.is_clean, found.told()
