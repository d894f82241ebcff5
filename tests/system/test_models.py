"""The golden path over a real provider's wire format, and what is shown when the provider cannot be reached."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.client import signed_in
from support.openai_server import Reply, openai_server
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]

ASSISTANT = """
[telemetry]
log_format = "json"
"""


def _with_model(make_server: Callable[..., ServerProcess], url: str) -> ServerProcess:
    server = make_server(
        config=ASSISTANT,
        environment={
            "CLOCHE_MODEL": "openai-chat:tiny",
            "CLOCHE_MODEL__BASE_URL": url,
            "CLOCHE_MODEL__API_KEY": "sk-a-secret-key",
        },
    )
    server.admin_email = server.add_user("admin@example.org", role="admin")
    server.start()
    return server


async def test_a_conversation_over_the_providers_wire_format_uses_tools_and_streams(
    make_server: Callable[..., ServerProcess],
):
    async with openai_server() as provider:
        provider.plan(
            Reply(thinking="arithmetic", calls=[("calculator", '{"expression": "6*7"}')], finish="tool_calls"),
            Reply(text="It is forty-two"),
        )
        server = _with_model(make_server, provider.url)
        async with signed_in(server.url, server.admin_email) as person, person.live() as live:
            sent = await live.ask("send", text="what is 6*7?", client_message_id="a")
            await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
            events = await live.until(sent["run_id"])
            ready = await person.http.get("/readyz")
        asked = provider.completions[1].body["messages"]
        server.stop()

    kinds = [event["type"] for event in events]
    assert kinds.index("agent_started") < kinds.index("tool_executing") < kinds.index("tool_completed")
    completed = next(event for event in events if event["type"] == "tool_completed")
    assert completed["data"]["result"] == 42
    assert "".join(event["data"]["text"] for event in events if event["type"] == "message_delta") == "It is forty-two"
    assert events[-1]["type"] == "agent_completed"
    assert events[-1]["data"]["usage"]["model_calls"] == 2
    started = next(event for event in events if event["type"] == "agent_started")
    assert started["data"]["model"] == "openai-chat:tiny"
    assert any(message["role"] == "tool" and "42" in message["content"] for message in asked)
    assert ready.status_code == 200
    assert "sk-a-secret-key" not in "".join(server.output)


async def test_an_unreachable_provider_ends_the_run_as_a_typed_error_and_readiness_says_so(
    make_server: Callable[..., ServerProcess],
):
    server = _with_model(make_server, "http://127.0.0.1:9/v1")
    async with signed_in(server.url, server.admin_email) as person, person.live() as live:
        sent = await live.ask("send", text="hello", client_message_id="a")
        await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
        events = await live.until(sent["run_id"])
        ready = await person.http.get("/readyz")

    assert events[-1]["type"] == "agent_failed"
    assert events[-1]["data"]["code"] == "model_unavailable"
    assert events[-1]["data"]["retryable"] is True
    assert not any(event["type"] == "message_completed" for event in events)
    assert ready.status_code == 503
    assert ready.json()["checks"]["model"]["ok"] is False


async def test_the_scripted_model_says_what_it_is_and_really_uses_its_tools(server: ServerProcess):
    async with signed_in(server.url, server.admin_email) as person, person.live() as live:
        sent = await live.ask("send", text="what is 6*7?", agent="assistant", client_message_id="a")
        await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
        events = await live.until(sent["run_id"])
        ready = await person.http.get("/readyz")

    said = next(event for event in events if event["type"] == "message_completed")["data"]["parts"][0]["text"]
    kinds = {event["type"] for event in events}
    assert {"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"} <= kinds
    assert "42" in said
    assert "scripted" in said
    assert "scripted" in ready.json()["checks"]["model"]["detail"]
