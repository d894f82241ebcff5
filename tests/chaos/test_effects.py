"""kill -9 around tool calls: what the journal knows is not done again, and what it does not know is told."""

from __future__ import annotations

import pytest

from chaos import effects

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(60)]


def test_no_effect_happens_a_second_time_in_silence() -> None:
    found = effects.run(kills=20)

    assert found.violations == []
    assert int(str(found.figures["calls of unknown outcome"])) > 0
    assert int(str(found.figures["made again as declared"])) > 0


def test_a_call_made_again_against_its_policy_is_noticed() -> None:
    assert effects.run(kills=10, plant="repeat", at="effect pays").violations
