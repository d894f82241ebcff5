"""kill -9 and SIGTERM in the middle of a run: it ends once, nothing is missed or seen twice, no tool runs again."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from cloche.domain.event_order import check_gapless, check_run
from cloche.events.codec import decode
from support.client import Person, signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def _send(person: Person, text: str, **fields: Any) -> dict[str, Any]:
    async with person.live() as live:
        answer = await live.ask("send", text=text, client_message_id=text, **fields)
        assert answer["ok"], answer
        return answer


async def _follow_until(person: Person, thread_id: str, after: int, stop: str) -> list[dict[str, Any]]:
    async with person.live() as live:
        await live.ask("subscribe", thread_id=thread_id, after=after)
        while not any(event["type"] == stop for event in live.events):
            await live.frame()
        assert all(opening["recovered"] for opening in live.openings)
        return live.events


async def test_kill_9_in_mid_run_loses_and_repeats_nothing(server: ServerProcess):
    async with signed_in(server.url, server.admin_email) as person:
        sent = await _send(person, "once")
        before = await _follow_until(person, sent["thread_id"], 0, "message_delta")
        server.kill()
        server.start()
        after = await _follow_until(person, sent["thread_id"], before[-1]["seq"], "agent_completed")

    seen = before + after
    assert check_gapless([event["seq"] for event in seen], after=0) == []
    assert check_run(_envelopes(seen)) == []
    kinds = [event["type"] for event in seen]
    assert kinds.count("agent_completed") == 1
    assert kinds.count("agent_thinking") == 1
    assert kinds.count("tool_executing") == kinds.count("tool_completed") == 1
    assert kinds.count("step_restarted") == 1
    assert server.lines() == ["once"]


async def test_sigterm_in_mid_run_drains_and_the_next_process_goes_on(server: ServerProcess):
    async with signed_in(server.url, server.admin_email) as person:
        sent = await _send(person, "once")
        before = await _follow_until(person, sent["thread_id"], 0, "message_delta")
        async with person.live() as live:
            await live.ask("subscribe", thread_id=sent["thread_id"], after=before[-1]["seq"])
            code = await asyncio.to_thread(server.stop)
            while True:
                try:
                    await live.frame()
                except Exception as closed:  # noqa: BLE001
                    received = getattr(closed, "rcvd", None)
                    break
            during = live.events
        server.start()
        position = (before + during)[-1]["seq"]
        after = await _follow_until(person, sent["thread_id"], position, "agent_completed")

    assert code == 0
    assert received is not None
    assert received.code == 1012
    seen = before + during + after
    assert check_gapless([event["seq"] for event in seen], after=0) == []
    assert check_run(_envelopes(seen)) == []
    assert server.lines() == ["once"]


async def test_a_run_that_ends_within_the_drain_is_not_interrupted(server: ServerProcess):
    async with signed_in(server.url, server.admin_email) as person:
        sent = await _send(person, "hello", agent="echo")
        await asyncio.to_thread(server.stop)
        server.start()
        events = await _follow_until(person, sent["thread_id"], 0, "agent_completed")

    assert [event["type"] for event in events].count("agent_started") == 1


def _envelopes(events: list[dict[str, Any]]):
    return [decode(msgspec.json.encode(event)) for event in events]
