"""The server dies under all of its clients, and all come back."""

from pathlib import Path

import pytest

from chaos import storms

pytestmark = [pytest.mark.slow, pytest.mark.system]


def test_after_a_kill_every_client_comes_back_to_what_it_missed(tmp_path: Path) -> None:
    found = storms.run(tmp_path, clients=60, streaming=10, seed=1)

    assert found.is_clean, found.told()
    assert found.figures["runs_streaming_at_the_kill"]
