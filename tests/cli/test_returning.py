from __future__ import annotations

import pytest

from cloche.api.wire.errors import ERROR_TABLE
from cloche.api.wire.frames import ErrorMembers
from cloche.cli.returning import LONGEST_S, NextStep, after_close, after_refusal, wait_s
from cloche.errors import ClocheError, NotAuthenticatedError, TokenExpiredError


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (4000, NextStep.RETURN),
        (4401, NextStep.REFRESH),
        (4408, NextStep.RETURN),
        (4429, NextStep.RETURN),
        (4499, NextStep.RETURN),
        (4500, NextStep.STOP),
        (4501, NextStep.STOP),
        (4999, NextStep.STOP),
        (1001, NextStep.RETURN),
        (1006, NextStep.RETURN),
        (1011, NextStep.RETURN),
        (1012, NextStep.RETURN),
        (1000, NextStep.STOP),
        (1002, NextStep.STOP),
        (1009, NextStep.STOP),
        (3000, NextStep.STOP),
    ],
)
def test_a_close_code_says_what_to_do(code: int, step: NextStep) -> None:
    assert after_close(code) is step


@pytest.mark.parametrize("kind", ERROR_TABLE, ids=lambda kind: kind.code)
def test_the_client_returns_exactly_where_the_server_says_so(kind: type[ClocheError]) -> None:
    is_own_failure = ERROR_TABLE[kind].close_code == 1011

    step = after_close(ERROR_TABLE[kind].close_code)

    assert (step is not NextStep.STOP) is (kind.retryable or is_own_failure)


def members(kind: type[ClocheError]) -> ErrorMembers:
    return ErrorMembers(code=kind.code, message="", retryable=kind.retryable, details={}, request_id=None)


def test_a_refused_upgrade_asks_for_a_new_token_only_when_the_old_one_is_over() -> None:
    assert after_refusal(401, members(TokenExpiredError)) is NextStep.REFRESH
    assert after_refusal(401, members(NotAuthenticatedError)) is NextStep.STOP


@pytest.mark.parametrize(("status", "step"), [(500, NextStep.RETURN), (429, NextStep.RETURN), (403, NextStep.STOP)])
def test_a_status_of_a_moment_is_waited_out(status: int, step: NextStep) -> None:
    assert after_refusal(status, members(ClocheError)) is step


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    longest = [wait_s(failures, 1.0) for failures in range(1, 40)]

    assert longest[:4] == [0.5, 1.0, 2.0, 4.0]
    assert longest[-1] == LONGEST_S
    assert wait_s(3, 0.0) == wait_s(3, 1.0) / 2
