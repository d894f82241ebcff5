"""Two users interleaved over REST, WebSocket and SSE, with each other's ids everywhere: all 404, no foreign byte."""

from __future__ import annotations

import json
import random

import pytest

from cloche.ids import ApprovalId, RunId, SessionId, ThreadId
from support.client import Live, Person, signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]

OPERATIONS = 1_000


class Side:
    """One user with things of their own, each marked with a canary."""

    def __init__(self, person: Person, live: Live, canary: str) -> None:
        self.person = person
        self.live = live
        self.canary = canary
        self.thread_id = ""
        self.run_id = ""
        self.session_id = ""
        self.received: list[str] = []

    async def prepare(self) -> None:
        sent = await self.live.ask("send", text=f"mine is {self.canary}", agent="echo", client_message_id="first")
        self.thread_id, self.run_id = sent["thread_id"], sent["run_id"]
        await self.live.ask("subscribe", thread_id=self.thread_id, after=0)
        await self.live.until(self.run_id)
        sessions = (await self.person.http.get("/v1/sessions")).json()
        self.session_id = sessions["items"][0]["id"] if "items" in sessions else sessions["sessions"][0]["id"]


def _rest_probes(thread: str, run: str, session: str) -> list[tuple[str, str, object | None]]:
    message = {"text": "x", "client_message_id": "probe"}
    return [
        ("GET", f"/v1/threads/{thread}", None),
        ("PATCH", f"/v1/threads/{thread}", {"title": "taken"}),
        ("POST", f"/v1/threads/{thread}/archive", None),
        ("DELETE", f"/v1/threads/{thread}", None),
        ("GET", f"/v1/threads/{thread}/messages", None),
        ("POST", f"/v1/threads/{thread}/messages", message),
        ("GET", f"/v1/threads/{thread}/events", None),
        ("GET", f"/v1/runs/{run}", None),
        ("POST", f"/v1/runs/{run}/cancel", None),
        ("GET", f"/v1/runs/{run}/events", None),
        ("DELETE", f"/v1/sessions/{session}", None),
    ]


def _live_probes(thread: str, run: str, approval: str) -> list[tuple[str, dict[str, object]]]:
    return [
        ("subscribe", {"thread_id": thread}),
        ("subscribe", {"thread_id": thread, "after": 0}),
        ("send", {"thread_id": thread, "text": "x", "client_message_id": "probe"}),
        ("cancel", {"run_id": run}),
        ("decide", {"approval_id": approval, "decision": "approve"}),
    ]


async def _rest(side: Side, method: str, path: str, body: object | None) -> tuple[int, str, list[tuple[str, str]]]:
    answer = (
        await side.person.http.request(method, path, json=body)
        if body
        else await side.person.http.request(method, path)
    )
    side.received.append(answer.text)
    shown = json.loads(answer.text) if answer.text.startswith("{") else {}
    if "error" in shown:
        shown["error"]["request_id"] = ""
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in {"date", "x-request-id"})
    return answer.status_code, json.dumps(shown), headers


@pytest.mark.timeout(120)
async def test_a_thousand_probes_with_foreign_ids_are_all_404_and_show_nothing(server: ServerProcess):
    server.add_user("a@example.org", tenant="alpha")
    server.add_user("b@example.org", tenant="beta")
    chance = random.Random(7)
    async with (
        signed_in(server.url, "a@example.org") as first,
        signed_in(server.url, "b@example.org") as second,
        first.live() as first_live,
        second.live() as second_live,
    ):
        sides = [Side(first, first_live, "CNRY-alpha"), Side(second, second_live, "CNRY-beta")]
        for side in sides:
            await side.prepare()
        for _ in range(OPERATIONS):
            own, other = chance.sample(sides, 2)
            if chance.random() < 0.5:
                place = chance.randrange(11)
                foreign = await _rest(own, *_rest_probes(other.thread_id, other.run_id, other.session_id)[place])
                made_up = await _rest(own, *_rest_probes(ThreadId.new(), RunId.new(), SessionId.new())[place])
                assert foreign == made_up
                assert foreign[0] == 404
            else:
                place = chance.randrange(5)
                op, fields = _live_probes(other.thread_id, other.run_id, ApprovalId.new())[place]
                answer = await own.live.ask(op, **fields)
                assert answer["ok"] is False
                assert answer["error"]["code"] == "not_found"
        for side, other in (sides, sides[::-1]):
            everything = "".join(side.received) + json.dumps(side.live.events) + json.dumps(side.live.openings)
            assert other.canary not in everything
            mine = await side.person.http.get(f"/v1/threads/{side.thread_id}")
            assert side.canary in mine.text
