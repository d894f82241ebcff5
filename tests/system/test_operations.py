"""What an operator sees of a real process."""

from __future__ import annotations

import pytest

from support.client import signed_in
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]


async def test_a_process_tells_how_loaded_it_is(shared_server: ServerProcess):
    async with signed_in(shared_server.url, shared_server.admin_email) as admin, admin.live():
        answer = (await admin.http.get("/v1/admin/operations")).json()

    (node,) = answer["nodes"]
    assert shared_server.process is not None
    assert node["name"].startswith("worker-")
    assert (node["connections_open"], node["runs_working"], node["queue_depth"]) == (1, 0, 0)
    assert 0 < node["uptime_s"] < 600
    assert node["runs_concurrency"] > 0
    assert node["memory_bytes"] is None or 20_000_000 < node["memory_bytes"] < 2_000_000_000
    assert answer["status"] == "ready"
    assert set(answer["checks"]) == {"database", "bus", "model"}
    assert [model["ok"] for model in answer["models"]] == [True]
