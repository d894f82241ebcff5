"""What an operator learns of the installation: its load, and of people only what is the own tenant's."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.api.wire.parts import Check
from cloche.execution.intake import Accepted
from cloche.ids import RunId
from cloche.storage import run_figures
from support.world import World


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


async def run_of(person: Any, world: World) -> str:
    sent = await person.make("/v1/messages", 202, text="hello")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(person.scope, accepted)
    return sent["run_id"]


async def test_throughput_has_every_minute_of_the_last_hour(admin: Any, ada: Any, eve: Any, world: World, echo: None):
    for person in (ada, ada, eve):
        await run_of(person, world)

    answer = await admin.see("/v1/admin/throughput")

    items = answer["items"]
    busy = [item for item in items if item["accepted"]]
    assert (answer["bucket_s"], len(items) in (60, 61)) == (60, True)
    assert items[0]["at"] == answer["since"]
    assert answer["since"].endswith(":00.000Z")
    assert sum(item["accepted"] for item in items) == 2
    assert sum(item["ended"].get("completed", 0) for item in items) == 2
    assert items[0] == {
        "at": answer["since"],
        "accepted": 0,
        "ended": {},
        "wait_ms": None,
        "duration_ms": None,
        "input_tokens": 0,
        "output_tokens": 0,
    }
    assert all(0 <= item["wait_ms"]["p50"] <= item["wait_ms"]["p95"] < 10_000 for item in busy)
    assert items[-1]["at"] <= answer["until"]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("since=2999-01-01T00:00:00Z", "query.since"),
        ("since=2020-01-01T00:00:00Z", "query.bucket_s"),
        ("since=yesterday", "query.since"),
        ("bucket_s=0", "query.bucket_s"),
        ("bucket_s=604801", "query.bucket_s"),
        ("bucket_s=1", "query.bucket_s"),
        ("bucket_s=1.5", "query.bucket_s"),
        ("since=0001-01-01T00:00:00Z", "query.bucket_s"),
        ("since=0001-01-01T00:00:00Z&bucket_s=604800", "query.bucket_s"),
    ],
)
async def test_a_time_that_cannot_be_cut_is_refused(admin: Any, query: str, place: str):
    answer = await admin.get(f"/v1/admin/throughput?{query}")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)


async def test_a_time_with_too_many_runs_is_refused(
    admin: Any, ada: Any, echo: None, idle_world: World, monkeypatch: pytest.MonkeyPatch
):
    for module in ("cloche.storage.run_figures", "cloche.api.rest.operations"):
        monkeypatch.setattr(f"{module}.MAX_COUNTED", 2)
    sent = [await idle_world.send(ada.scope) for _ in range(2)]
    at_most = await admin.get("/v1/admin/throughput")
    sent.append(await idle_world.send(ada.scope))

    accepted = await admin.get("/v1/admin/throughput")
    for one in sent:
        await idle_world.cancellation.cancel(ada.scope, RunId(one.run_id))
    ended = await admin.get("/v1/admin/throughput")

    assert run_figures.MAX_COUNTED == 2
    assert at_most.status_code == 200
    for answer in (accepted, ended):
        assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"place": "query.since", "limit": 2})


async def test_failures_are_told_by_their_code_and_never_by_what_was_said(
    admin: Any, ada: Any, bob: Any, eve: Any, world: World
):
    async def agent(run: AgentRun) -> None:
        raise RuntimeError("xylophone")

    world.programs.add("agent", agent)
    runs = [await run_of(person, world) for person in (ada, bob, eve)]

    answer = await admin.get("/v1/admin/failures")
    later = await admin.see("/v1/admin/failures?since=2999-01-01T00:00:00Z")

    (line,) = answer.json()["items"]
    assert (line["code"], line["agent"], line["state"]) == ("agent_failed", "agent", "failed")
    assert (line["runs"], line["retryable"], line["last_run_id"]) == (2, False, runs[1])
    assert answer.json()["total"] == 2
    assert "xylophone" not in answer.text
    assert (later["items"], later["total"]) == ([], 0)


async def test_failures_of_long_ago_are_not_looked_for(admin: Any):
    answer = await admin.get("/v1/admin/failures?since=2020-01-01T00:00:00Z")

    assert (answer.status_code, answer.json()["error"]["details"]) == (400, {"place": "query.since", "limit": 31})
