from datetime import timedelta
from typing import Any

import pytest

from cloche.auth.policy import SignInPolicy
from cloche.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("issuer", ""),
        ("audience", ""),
        ("leeway", timedelta(seconds=61)),
        ("leeway", timedelta(seconds=-1)),
        ("grace", timedelta(seconds=6)),
        ("ticket_lifetime", timedelta(seconds=61)),
        ("ticket_lifetime", timedelta(0)),
        ("access_lifetime", timedelta(hours=2)),
        ("access_lifetime", timedelta(0)),
        ("standing_lifetime", timedelta(seconds=2)),
        ("setup_lifetime", timedelta(days=8)),
        ("session_lifetime", timedelta(0)),
        ("refresh_lifetime", timedelta(seconds=-1)),
    ],
)
def test_a_policy_that_would_weaken_a_promise_is_refused_at_start(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name.split("_", maxsplit=1)[0]):
        SignInPolicy(**{name: value})


def test_no_grace_and_no_leeway_are_allowed() -> None:
    zero = timedelta(0)

    assert SignInPolicy(grace=zero, leeway=zero, standing_lifetime=zero).grace == zero
