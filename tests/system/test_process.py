"""The process as an operator meets it: the first start, wrong settings, signals, and a log that nobody reads."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from support.client import signed_in
from support.server_process import ServerProcess

_SLOW_TO_DRAIN = """
default_agent = "held"

[agents.held]
use = "support.agents:hangs"

[runs]
drain_s = 30
"""

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_the_first_start_prints_a_link_that_makes_one_administrator(make_server: Callable[..., ServerProcess]):
    server = make_server()
    server.start()
    found = server.wait_for(r"#setup=(\S+)")
    body = {"secret": found[1], "email": "ada@example.org", "password": "correct horse battery staple"}

    async with httpx2.AsyncClient(base_url=server.url) as http:
        first = await http.post("/v1/auth/setup", json=body)
        second = await http.post("/v1/auth/setup", json={**body, "email": "eve@example.org"})

    assert first.status_code == 201
    assert 400 <= second.status_code < 500
    async with signed_in(server.url, "ada@example.org") as person:
        assert person.user["email"] == "ada@example.org"
    assert server.stop() == 0


def test_a_second_process_on_the_same_folder_is_refused(shared_server: ServerProcess):
    done = shared_server.command("up", "--port", "0", "--data", str(shared_server.data))

    assert done.returncode == 1
    assert "another Cloche process owns this data folder" in done.stderr


def test_a_port_in_use_is_named(shared_server: ServerProcess):
    done = shared_server.command("up", "--port", str(shared_server.port), "--data", str(shared_server.folder / "other"))

    assert done.returncode == 1
    assert f"port {shared_server.port}" in done.stderr


async def test_a_second_signal_ends_the_process_at_once_and_its_run_is_recovered(
    make_server: Callable[..., ServerProcess],
):
    server = make_server(config=_SLOW_TO_DRAIN)
    server.admin_email = server.add_user("admin@example.org", role="admin")
    server.start()
    async with signed_in(server.url, server.admin_email) as person:
        async with person.live() as live:
            sent = await live.ask("send", text="hello", client_message_id="a")
            await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
            await live.until(sent["run_id"], "agent_started")
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("server.draining")
            server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(5)
        server.kill()
        server.start()
        async with person.live() as live:
            await live.ask("subscribe", thread_id=sent["thread_id"], after=0)
            cancelled = await live.ask("cancel", run_id=sent["run_id"])
            events = await live.until(sent["run_id"])

    assert code == 130
    assert cancelled["ok"]
    assert events[-1]["type"] == "agent_cancelled"


def test_a_log_that_nobody_reads_any_more_does_not_stop_a_drain(make_server: Callable[..., ServerProcess]):
    server = make_server()
    server.start()
    server.wait_for("setup.needed")
    server.stop_reading()

    assert server.stop() == 0


async def test_a_refused_upgrade_is_no_error_of_the_server(make_server: Callable[..., ServerProcess]):
    server = make_server()
    server.start()

    with pytest.raises(InvalidStatus) as refused:
        await connect(
            f"ws://127.0.0.1:{server.port}/v1/ws",
            subprotocols=[Subprotocol("cloche.v1")],
            additional_headers={"Authorization": "Bearer x"},
        )

    assert refused.value.response.status_code == 401
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.output if line.startswith("{")]
    assert lines
    assert [line for line in lines if line["level"] == "error"] == []
