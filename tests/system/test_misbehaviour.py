"""Agents and tools that raise, hang, stream for ever, ignore cancellation or return 50 MB, in a real process."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from cloche.ids import RequestId
from support.client import Live, signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def _run(live: Live, text: str, agent: str) -> list[dict[str, Any]]:
    sent = await live.ask("send", text=text, agent=agent, client_message_id=str(RequestId.new()))
    assert sent["ok"], sent
    await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
    return await live.until(sent["run_id"])


@pytest.mark.parametrize(
    ("agent", "end", "code"),
    [
        ("raises", "agent_failed", "agent_failed"),
        ("nothing", "agent_failed", "agent_returned_nothing"),
        ("hangs", "agent_timed_out", "deadline_exceeded"),
        ("endless", "agent_timed_out", "deadline_exceeded"),
    ],
)
async def test_a_misbehaving_agent_ends_once_with_its_reason(
    shared_server: ServerProcess, agent: str, end: str, code: str
):
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        events = await _run(live, "go", agent)

    assert events[-1]["type"] == end
    assert events[-1]["data"]["code"] == code
    assert sum(event["type"].startswith("agent_") and event["type"] != "agent_started" for event in events) == 1
    assert "secret" not in json.dumps(events)


@pytest.mark.parametrize(
    ("tool", "answer"),
    [
        ("explode", "failed tool_failed"),
        ("sleepy", "failed tool_timeout"),
        ("deaf", "failed tool_timeout"),
        ("stubborn", "failed tool_timeout"),
        ("missing", "failed tool_unknown"),
    ],
)
async def test_a_misbehaving_tool_is_stopped_and_the_agent_is_told(
    shared_server: ServerProcess, tool: str, answer: str
):
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        events = await _run(live, tool, "calls")

    said = next(event for event in events if event["type"] == "message_completed")
    assert said["data"]["parts"][0]["text"] == answer
    assert events[-1]["type"] == "agent_completed"
    assert _children(shared_server) == []


async def test_a_result_of_50_mb_is_cut_and_marked(shared_server: ServerProcess):
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        events = await _run(live, "huge", "calls")

    completed = next(event for event in events if event["type"] == "tool_completed")
    assert completed["data"]["ok"]
    assert len(completed["data"]["result"]) < 300_000
    assert "50000000" in completed["data"]["result"][-200:]


async def test_cancel_ping_and_a_second_message_are_answered_while_a_run_works(shared_server: ServerProcess):
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        sent = await live.ask("send", text="deaf", agent="calls", client_message_id=f"a {RequestId.new()}")
        held = await live.ask("send", text="go", agent="held", client_message_id=f"b {RequestId.new()}")
        await live.ask("subscribe", thread_id=held["thread_id"], after=0)
        await live.until(held["run_id"], "agent_started")

        ping = await live.ask("ping")
        second = await live.ask(
            "send", text="two", thread_id=held["thread_id"], client_message_id=f"c {RequestId.new()}", agent="echo"
        )
        cancelled = await live.ask("cancel", run_id=held["run_id"])
        first_events = await live.until(held["run_id"])
        second_events = await live.until(second["run_id"])
        await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
        await live.ask("cancel", run_id=sent["run_id"])
        deaf_events = await live.until(sent["run_id"])

    assert ping["ok"]
    assert sent["ok"]
    assert cancelled["ok"]
    assert first_events[-1]["type"] == "agent_cancelled"
    assert second_events[-1]["type"] == "agent_completed"
    assert deaf_events[-1]["type"] == "agent_cancelled"


async def test_cancelling_a_tool_that_ignores_it_kills_its_process(shared_server: ServerProcess):
    async with signed_in(shared_server.url, shared_server.admin_email) as person, person.live() as live:
        sent = await live.ask("send", text="note this", client_message_id=f"a {RequestId.new()}", agent="worker")
        await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
        await live.until(sent["run_id"], "message_delta")
        await live.ask("cancel", run_id=sent["run_id"])
        events = await live.until(sent["run_id"])

    assert events[-1]["type"] == "agent_cancelled"
    assert "tool:note" in events[-1]["data"]["receipt"]["already_done"]
    assert _children(shared_server) == []


def _children(server: ServerProcess) -> list[str]:
    assert server.process is not None
    found = subprocess.run(
        ["ps", "--ppid", str(server.process.pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return found.stdout.split()
