"""Messages over HTTP: accepted once, durable, and never refused for their content."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.api.wire.parts import EdgeParts
from cloche.execution.intake import Accepted
from cloche.tools.tool import tool
from support.world import World


def accepted_of(answer: dict[str, Any]) -> Accepted:
    return Accepted(**{name: answer[name] for name in ("thread_id", "message_id", "run_id", "seq")})


@pytest.fixture
def hanging(idle_world: World) -> None:
    """The default agent never ends."""

    async def agent(run: AgentRun) -> None:
        await asyncio.get_running_loop().create_future()

    idle_world.programs.add("hangs", agent)


async def test_a_message_starts_a_run_and_both_sides_can_be_read(ada: Any, world: World, echo: None):
    thread = await ada.make("/v1/threads")
    path = f"/v1/threads/{thread['id']}/messages"

    answer = await ada.post(path, json={"text": "hello", "client_message_id": "one"})
    sent = answer.json()
    await world.until(ada.scope, accepted_of(sent))
    page = await ada.see(path)

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/runs/{sent['run_id']}"
    assert (sent["thread_id"], sent["seq"], sent["replayed"]) == (thread["id"], 1, False)
    assert [(item["role"], item["parts"]) for item in page["items"]] == [
        ("assistant", [{"type": "text", "text": "hello"}]),
        ("user", [{"type": "text", "text": "hello"}]),
    ]
    assert page["items"][1]["id"] == sent["message_id"]
    assert page["items"][1]["client_message_id"] == "one"


async def test_a_message_without_a_thread_begins_one(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="What grows in the shade?")

    assert (await ada.see(f"/v1/threads/{sent['thread_id']}"))["title"] == "What grows in the shade?"


@pytest.mark.parametrize("path", ["/v1/messages", None])
async def test_the_same_message_again_is_the_same_run_and_another_body_a_conflict(
    ada: Any, echo: None, path: str | None
):
    path = path or f"/v1/threads/{(await ada.make('/v1/threads'))['id']}/messages"
    body = {"text": "hello", "client_message_id": "one"}

    first, *others = await asyncio.gather(*(ada.post(path, json=body) for _ in range(20)))
    other = await ada.post(path, json={**body, "text": "good-bye"})

    ids = {answer.json()["run_id"] for answer in [first, *others]}
    assert len(ids) == 1
    assert sum(not answer.json()["replayed"] for answer in [first, *others]) == 1
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_mismatch")


async def test_a_message_without_a_client_id_is_always_a_new_one(ada: Any, echo: None):
    first = await ada.make("/v1/messages", 202, text="hello")
    second = await ada.make("/v1/messages", 202, text="hello")

    assert first["run_id"] != second["run_id"]


@pytest.mark.parametrize(
    "text",
    [
        " x ",
        "null",
        "true",
        "'; DROP TABLE runs; --",
        "<script>alert(1)</script>",
        "test mock force_failure",
        "\u202e\u200b\ufeff\uffff",
        "👩‍👩‍👧‍👦 \U0010ffff",
        "line\r\nline\ttab \x01\x7f",
        "{{7*7}} ${x} %s %n",
        "x" * 60_000,
        "ä" * 30_000,
    ],
)
async def test_ordinary_and_odd_text_is_taken_as_it_is(ada: Any, echo: None, text: str):
    sent = await ada.make("/v1/messages", 202, text=text)

    messages = await ada.see(f"/v1/threads/{sent['thread_id']}/messages")
    assert messages["items"][0]["parts"] == [{"type": "text", "text": text}]


async def test_a_message_may_have_parts(ada: Any, echo: None):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    sent = await ada.make("/v1/messages", 202, parts=parts)

    assert (await ada.see(f"/v1/threads/{sent['thread_id']}/messages"))["items"][0]["parts"] == parts


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({}, 400, "$.text"),
        ({"text": ""}, 400, "$.text"),
        ({"text": " \n"}, 400, "$.text"),
        ({"text": "x" * 60_001}, 413, "$.text"),
        ({"text": 5}, 400, "$.text"),
        ({"text": ["x"]}, 400, "$.text"),
        ({"text": "x", "parts": [{"type": "text", "text": "x"}]}, 400, "$.text"),
        ({"parts": [{"type": "image", "text": "x"}]}, 400, "$.parts[0].type"),
        ({"parts": [{"type": "text"}]}, 400, "$.parts[0].text"),
        ({"parts": [{"type": "text", "text": "x", "user_id": "me"}]}, 400, "$.parts[0].user_id"),
        ({"parts": [{"type": "text", "text": "x"}] * 33}, 413, "$.parts"),
        ({"text": "x", "client_message_id": ""}, 400, "$.client_message_id"),
        ({"text": "x", "client_message_id": "x" * 129}, 400, "$.client_message_id"),
        ({"text": "x", "client_message_id": "a\nb"}, 400, "$.client_message_id"),
        ({"text": "x", "on_busy": "wait"}, 400, "$.on_busy"),
        ({"text": "x", "thread_id": "thread_x"}, 400, "$.thread_id"),
        ({"text": "x", "user_id": "user_x"}, 400, "$.user_id"),
        ({"content": "x"}, 400, "$.content"),
    ],
)
async def test_what_is_no_message_is_refused_and_the_place_is_named(
    ada: Any, echo: None, body: object, status: int, place: str
):
    answer = await ada.post("/v1/messages", json=body)

    assert answer.status_code == status
    assert answer.json()["error"]["details"]["place"] == place


@pytest.mark.parametrize(
    "raw",
    [
        b'{"text":"\\u0000"}',
        b'{"text":"\\ud800"}',
        b'{"text":NaN}',
        b'{"text":"a","text":"b"}',
        b"{",
        b"[" * 40,
        b"\xff",
    ],
)
async def test_what_is_no_sound_json_is_refused_before_any_route(ada: Any, raw: bytes):
    answer = await ada.post("/v1/messages", content=raw, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_input"
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-Id"]


async def test_a_body_beyond_the_limit_is_refused(ada: Any, services: EdgeParts):
    answer = await ada.post("/v1/messages", json={"text": "x" * services.limits.body_bytes})

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_body_is_needed(ada: Any):
    answer = await ada.post("/v1/messages")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, "$")


async def test_an_agent_that_does_not_exist_is_not_found(ada: Any, echo: None):
    answer = await ada.post("/v1/messages", json={"text": "hello", "agent": "nobody"})

    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "there is no such agent")


async def test_a_busy_thread_takes_a_message_as_it_was_told_to(ada: Any, hanging: None):
    sent = await ada.make("/v1/messages", 202, text="first")
    path = f"/v1/threads/{sent['thread_id']}/messages"

    rejected = await ada.post(path, json={"text": "second", "on_busy": "reject"})
    queued = await ada.post(path, json={"text": "second"})
    interrupting = await ada.post(path, json={"text": "third", "on_busy": "interrupt"})

    assert (rejected.status_code, rejected.json()["error"]["code"]) == (409, "thread_busy")
    assert rejected.json()["error"]["details"]["run_id"] == sent["run_id"]
    assert queued.status_code == interrupting.status_code == 202
    assert (await ada.see(f"/v1/runs/{sent['run_id']}"))["state"] == "cancelled"


async def test_a_thread_that_waits_for_an_approval_says_which(ada: Any, world: World):
    async def pay() -> str:
        return "paid"

    async def agent(run: AgentRun) -> None:
        await run.call_tool("pay")

    world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
    sent = await ada.make("/v1/messages", 202, text="pay")
    await world.until(ada.scope, accepted_of(sent), "approval_requested")

    answer = await ada.post(f"/v1/threads/{sent['thread_id']}/messages", json={"text": "and?"})
    approval = (await ada.see("/v1/approvals"))["items"][0]

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "approval_pending")
    assert answer.json()["error"]["details"]["approval_id"] == approval["id"]


async def test_a_server_that_shuts_down_takes_no_message_and_says_when_to_come_back(
    ada: Any, idle_world: World, echo: None
):
    idle_world.intake.close()

    answer = await ada.post("/v1/messages", json={"text": "hello"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    assert answer.headers["Retry-After"] == "2"
    assert answer.json()["error"]["retryable"] is True


async def test_a_list_of_messages_goes_on_where_its_cursor_says(ada: Any, hanging: None):
    sent = await ada.make("/v1/messages", 202, text="0")
    path = f"/v1/threads/{sent['thread_id']}/messages"
    for number in range(1, 4):
        await ada.make(path, 202, text=str(number))

    first = await ada.see(f"{path}?limit=3")
    second = await ada.see(f"{path}?limit=3&cursor={first['next_cursor']}")

    texts = [message["parts"][0]["text"] for page in (first, second) for message in page["items"]]
    assert texts == ["3", "2", "1", "0"]
    assert second["next_cursor"] is None
