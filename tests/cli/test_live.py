from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from cloche.api.wire.frames import ConnectionReady, Draining, StreamOpened
from cloche.cli.live import Answer, Arrived, Received, decode_frame

AT = datetime(2026, 3, 1, tzinfo=UTC)


def decoded(frame: bytes) -> Received | None:
    return decode_frame(frame, at=AT, at_s=1.5)


def test_events_carry_the_time_of_their_receipt() -> None:
    found = decoded(
        b'{"events":[{"seq":1,"type":"x_to_come","thread_id":"t","run_id":null,"at":"2026-03-01T00:00:00.000Z","data":{}}]}'
    )

    assert isinstance(found, Arrived)
    assert (found.at, found.at_s, found.events[0].type) == (AT, 1.5, "x_to_come")


def test_answers_are_told_apart() -> None:
    done = decoded(b'{"ref":"op-1","ok":true,"run_id":"run_1","more":[]}')
    refused = decoded(
        b'{"ref":7,"ok":false,"error":{"code":"c","message":"m","retryable":true,"details":{},"request_id":null}}'
    )

    assert done == Answer(ref="op-1", ok=True, run_id="run_1")
    assert isinstance(refused, Answer)
    assert refused.error is not None
    assert (refused.ref, refused.error.code) == (7, "c")


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (
            (
                b'{"notice":"connection_ready","websocket_id":"w","user_id":"u","heartbeat_s":20,'
                b'"limits":{"frame_bytes":1,"subscriptions":1,"ops_per_second":1}}'
            ),
            ConnectionReady,
        ),
        (
            b'{"notice":"stream_opened","thread_id":"t","recovered":true,"from_seq":1,"head_seq":0,"epoch":1}',
            StreamOpened,
        ),
        (b'{"notice":"draining","positions":{"t":4}}', Draining),
    ],
)
def test_notices_are_read(frame: bytes, kind: type) -> None:
    assert isinstance(decoded(frame), kind)


@pytest.mark.parametrize("frame", [b'{"notice":"of_a_later_version"}', b"{}"])
def test_what_a_later_server_says_is_passed_over(frame: bytes) -> None:
    assert decoded(frame) is None


@pytest.mark.parametrize("frame", [b"", b"hello", b"[]", b'{"events":[{}]}', b'{"notice":"draining"}'])
def test_what_is_no_frame_is_noticed(frame: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decoded(frame)
