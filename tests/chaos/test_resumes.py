"""Clients that are cut off at random bytes see every event once."""

from pathlib import Path

import pytest

from chaos import resumes

pytestmark = [pytest.mark.slow, pytest.mark.system]


def test_a_client_that_is_cut_off_at_any_byte_comes_back_to_exactly_the_rest(tmp_path: Path) -> None:
    found = resumes.run(tmp_path, clients=40, cuts=5, threads=2, history=100, seed=1)

    assert found.is_clean, found.told()
    assert found.figures["resumes"] == 200
    assert found.figures["cuts_inside_a_frame"]
    assert found.figures["cuts_before_the_opening"]
