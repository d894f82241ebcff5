"""A question outlives its process and the version of its agent, and is answered by somebody to whom it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from cloche.domain.event_order import check_gapless, check_run
from cloche.events.codec import decode
from support.client import signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]

CONFIG = """
default_agent = "worker"

[agents.worker]
use = "support.agents:worker"
version = "{version}"
tools = ["note"]

[tools.note]
use = "support.agents:note"
needs_approval = true
"""


async def test_an_approval_outlives_a_crash_and_a_redeploy_and_a_delegate_decides_it(
    make_server: Callable[..., ServerProcess],
):
    server = make_server(config=CONFIG.format(version="1"))
    ada, bob = (server.add_user(f"{name}@example.org") for name in ("ada", "bob"))
    await asyncio.to_thread(server.start)
    async with signed_in(server.url, ada) as hers, signed_in(server.url, bob) as his:
        async with hers.live() as live:
            sent = await live.ask("send", text="ten", client_message_id="1")
            await live.ask("subscribe", thread_id=sent["thread_id"])
            asked = (await live.until(sent["run_id"], "approval_requested"))[-1]["data"]["approval_id"]
            given = await hers.http.post(f"/v1/approvals/{asked}/delegate", json={"email": bob})
            before = await live.until(sent["run_id"], "approval_delegated")
        await asyncio.to_thread(server.kill)
        server.config.write_text(CONFIG.format(version="2"), encoding="utf-8")
        await asyncio.to_thread(server.start)

        (waiting,) = (await his.http.get("/v1/approvals")).json()["items"]
        hidden = [
            await his.http.get(f"/v1/{kind}/{sent[key]}")
            for kind, key in (("threads", "thread_id"), ("runs", "run_id"))
        ]
        async with his.live() as live:
            wrong = await live.ask("decide", approval_id=asked, decision="approve", arguments={"line": 10})
            decided = await live.ask("decide", approval_id=asked, decision="approve", arguments={"line": "nine"})
        async with hers.live() as live:
            await live.ask("subscribe", thread_id=sent["thread_id"], after=before[-1]["seq"])
            after = await live.until(sent["run_id"])

    assert (given.status_code, waiting["id"], waiting["asked_by"]["email"]) == (200, asked, ada)
    assert [answer.status_code for answer in hidden] == [404, 404]
    assert wrong["error"]["details"]["place"] == "$.arguments.line"
    assert (decided["ok"], decided["state"]) == (True, "approved")
    assert server.notes.read_text(encoding="utf-8") == "nine\n"
    story = [decode(msgspec.json.encode(event)) for event in before + after]
    assert check_run(story) == []
    assert check_gapless([event.seq for event in story], after=0) == []
    assert [event["data"]["version"] for event in before + after if event["type"] == "agent_started"] == ["1", "2"]
