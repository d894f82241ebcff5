"""What an operator learns of the installation: its load, and of people only what is the own tenant's."""

from __future__ import annotations

from typing import Any

from cloche.api.wire.parts import Check


async def test_the_processes_the_checks_and_the_models_are_told(admin: Any, switches: Any):
    switches.checks["model"] = Check(ok=False, detail="the provider cannot be reached")

    answer = await admin.see("/v1/admin/operations")

    (node,) = answer["nodes"]
    assert (node["name"], node["version"], node["is_draining"]) == ("worker", "1.2.3", False)
    assert (node["runs_working"], node["runs_concurrency"], node["queue_depth"]) == (0, 50, 0)
    assert (node["loop_lag_s"], node["loop_lag_max_s"], node["memory_bytes"]) == (0.001, 0.25, None)
    assert 0 <= node["uptime_s"] < 60
    assert answer["status"] == "not_ready"
    assert answer["checks"]["database"] == {"ok": True, "detail": "writes", "latency_ms": 0.4}
    assert answer["models"] == [
        {
            "name": "scripted:demo",
            "ok": True,
            "detail": "scripted",
            "latency_ms": 0.0,
            "checked_at": node["started_at"],
        }
    ]


async def test_runs_that_wait_are_counted_for_the_own_tenant(admin: Any, ada: Any, eve: Any, echo: None):
    before = await admin.see("/v1/admin/operations")
    await ada.make("/v1/messages", 202, text="hello")

    own, other = [await person.see("/v1/admin/operations") for person in (admin, eve)]

    assert (before["live"]["pending"], before["oldest_pending_s"]) == (0, None)
    assert own["live"]["pending"] == 1
    assert 0 <= own["oldest_pending_s"] < 60
    assert (other["live"]["pending"], other["oldest_pending_s"]) == (0, None)
    assert str(ada.scope.user_id) not in str(other)


async def test_a_server_that_shuts_down_says_so(admin: Any, switches: Any):
    switches.is_draining = True

    answer = await admin.see("/v1/admin/operations")

    assert (answer["status"], answer["nodes"][0]["is_draining"]) == ("draining", True)
