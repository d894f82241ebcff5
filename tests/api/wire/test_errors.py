from __future__ import annotations

import inspect
import json

import pytest

from cloche import errors
from cloche.api.wire.errors import (
    ERROR_TABLE,
    INTERNAL_ERROR,
    MAX_REASON_BYTES,
    SERVICE_RESTART,
    close_reason,
    error_body,
    error_headers,
    row_of,
    visible,
)
from cloche.errors import ClocheError
from cloche.ids import RequestId

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, ClocheError) and found.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_row_of_its_own(kind: type[ClocheError]) -> None:
    assert kind in ERROR_TABLE
    assert ERROR_TABLE[kind].anchor.endswith(f"#{kind.code}")


def test_every_code_is_one_error() -> None:
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)
    assert set(CLASSES) == set(ERROR_TABLE)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_close_code_invites_exactly_those_whom_a_wait_may_help(kind: type[ClocheError]) -> None:
    row = ERROR_TABLE[kind]

    assert 400 <= row.status <= 599
    if row.close_code in (INTERNAL_ERROR, SERVICE_RESTART):
        assert row.status >= 500
    else:
        assert (4000 <= row.close_code <= 4499) == kind.retryable
        assert (4500 <= row.close_code <= 4999) == (not kind.retryable)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.TokenExpiredError, 401, 4401),
        (errors.SlowConsumerError, 408, 4408),
        (errors.RateLimitedError, 429, 4429),
        (errors.NotAuthenticatedError, 401, 4501),
        (errors.SessionRevokedError, 401, 4502),
        (errors.OriginRefusedError, 403, 4503),
        (errors.StorageUnavailableError, 503, 4453),
        (errors.DrainingError, 503, 1012),
        (errors.IdempotencyMismatchError, 409, 4509),
        (ClocheError, 500, 1011),
    ],
)
def test_the_codes_that_clients_know(kind: type[ClocheError], status: int, code: int) -> None:
    assert (row_of(kind).status, row_of(kind).close_code) == (status, code)


def test_a_class_without_a_row_has_that_of_the_nearest_one_above() -> None:
    class OddThreadError(errors.ThreadBusyError):
        pass

    assert row_of(OddThreadError) is ERROR_TABLE[errors.ThreadBusyError]


def test_there_is_one_body() -> None:
    request_id = RequestId.new()
    error = errors.InvalidInputError("no", details={"place": "$.text"})

    assert error_body(error, request_id) == {
        "error": {
            "code": "invalid_input",
            "message": "no",
            "retryable": False,
            "details": {"place": "$.text"},
            "request_id": str(request_id),
        }
    }


def test_when_to_come_back_is_in_the_header_and_in_the_body() -> None:
    error = errors.RateLimitedError("slow down", retry_after_s=2.2)

    assert error_headers(error) == {"Retry-After": "3"}
    assert json.loads(json.dumps(error_body(error, None)))["error"]["details"] == {"retry_after_s": 2.2}


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if ERROR_TABLE[kind].status in (429, 503) and kind.retryable]
)
def test_who_may_retry_is_told_when(kind: type[ClocheError]) -> None:
    assert int(error_headers(kind())["Retry-After"]) >= 1


def test_who_is_not_signed_in_is_told_how_to() -> None:
    assert error_headers(errors.NotAuthenticatedError())["WWW-Authenticate"] == "Bearer"
    assert "invalid_token" in error_headers(errors.TokenExpiredError())["WWW-Authenticate"]
    assert error_headers(errors.NotFoundError()) == {}


def test_an_unexpected_error_shows_nothing_of_itself() -> None:
    shown = visible(RuntimeError("SELECT secret FROM /etc"))

    assert shown.code == "internal_error"
    assert "secret" not in json.dumps(error_body(shown, None))
    assert visible(error := errors.NotFoundError()) is error


def test_a_reason_fits_into_a_control_frame() -> None:
    assert len(close_reason("é" * 200).encode()) <= MAX_REASON_BYTES
    assert close_reason("draining") == "draining"
