"""Clients that never read are given up, and nobody else notices."""

from pathlib import Path

import pytest

from chaos import slow_readers

pytestmark = [pytest.mark.slow, pytest.mark.system]


def test_a_client_that_never_reads_is_closed_and_told_its_position(tmp_path: Path) -> None:
    found = slow_readers.run(tmp_path, stuck=10, threads=2, healthy=3, wakers=10, seconds=1, timeout_s=1)

    # How long others wait in a second, beside other tests, says nothing; the harness itself looks at that.
    assert not [violation for violation in found.violations if "p99" not in violation], found.told()
    assert found.figures["woken"] == 10
