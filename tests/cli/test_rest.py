from __future__ import annotations

import pytest

from cloche.cli.rest import RefusedError, UnreachableError, refusal_of, server_address
from cloche.errors import InvalidInputError


@pytest.mark.parametrize(
    ("url", "http", "ws", "is_loopback"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "ws://127.0.0.1:8000", True),
        ("http://localhost:8000/", "http://localhost:8000", "ws://localhost:8000", True),
        ("http://[::1]:8000", "http://[::1]:8000", "ws://[::1]:8000", True),
        ("https://agents.example/cloche/", "https://agents.example/cloche", "wss://agents.example/cloche", False),
        ("https://agents.example?x=1#y", "https://agents.example", "wss://agents.example", False),
    ],
)
def test_both_addresses_follow_from_one_url(url: str, http: str, ws: str, is_loopback: bool) -> None:
    address = server_address(url)

    assert (address.http, address.ws, address.is_loopback) == (http, ws, is_loopback)


@pytest.mark.parametrize("url", ["", "agents.example", "ftp://agents.example", "http://", "http://[", "http://a:99999"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="of the form"):
        server_address(url)


def test_a_credential_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidInputError) as refused:
        server_address("https://ada:secret@agents.example")

    assert "secret" not in str(refused.value)


def test_an_error_of_ours_is_told_from_another_s() -> None:
    body = b'{"error":{"code":"not_found","message":"no","retryable":false,"details":{},"request_id":"r","more":1}}'

    ours, theirs = refusal_of(404, body), refusal_of(502, b"<html>bad gateway</html>")

    assert isinstance(ours, RefusedError)
    assert (ours.status, ours.error.code, str(ours)) == (404, "not_found", "no (not_found)")
    assert isinstance(theirs, UnreachableError)
    assert "502" in str(theirs)
