"""Malformed input over HTTP and WebSocket: typed errors only, never a server error, never an abnormal close."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.wire.nasty import MALFORMED, WRONG_BODIES, WRONG_EVERYWHERE, WRONG_FRAMES
from support.client import Live, signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]

BODY_ROUTES = (
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/auth/setup"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/threads"),
)


@pytest.mark.timeout(120)
async def test_malformed_bodies_are_typed_errors_on_every_body_route(shared_server: ServerProcess):
    wrong: list[str] = []
    async with signed_in(shared_server.url, shared_server.admin_email) as person:
        for method, path in BODY_ROUTES:
            for nasty in (*MALFORMED, *WRONG_EVERYWHERE):
                answer = await person.http.request(
                    method, path, content=nasty.body, headers={"Content-Type": "application/json"}
                )
                told = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
                if (
                    not 400 <= answer.status_code < 500
                    or answer.status_code == 422
                    or "code" not in told.get("error", {})
                ):
                    wrong.append(f"{path} {nasty.name}: {answer.status_code} {answer.text[:80]}")
        for nasty in WRONG_BODIES:
            answer = await person.http.post(
                "/v1/messages", content=nasty.body, headers={"Content-Type": "application/json"}
            )
            if not 400 <= answer.status_code < 500:
                wrong.append(f"/v1/messages {nasty.name}: {answer.status_code} {answer.text[:80]}")

    assert wrong == []
    assert len(MALFORMED) >= 200


@pytest.mark.timeout(120)
async def test_malformed_frames_are_answered_and_the_connection_stays(shared_server: ServerProcess):
    wrong: list[str] = []
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        for nasty in (*MALFORMED, *WRONG_EVERYWHERE, *WRONG_FRAMES):
            text = nasty.as_text
            if text is None or len(nasty.body) > 64 * 1024:
                continue
            frame = await _answered(live, text)
            if frame.get("ok") is not False or "code" not in frame.get("error", {}):
                wrong.append(f"{nasty.name}: {frame}")
        alive = await _answered(live, '{"op": "ping", "ref": 1}')

    assert wrong == []
    assert alive["ok"]


async def _answered(live: Live, text: str) -> dict[str, Any]:
    """The answer to a frame, sent again while the server says that it comes too fast."""
    while True:
        await live.socket.send(text)
        frame = json.loads(await live.socket.recv())
        if frame.get("error", {}).get("code") != "rate_limited":
            return frame
