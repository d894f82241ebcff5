"""What the server tells of itself."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from cloche.api.wire.parts import Check
from cloche.execution.intake import Accepted
from support.world import World


async def test_a_probe_learns_that_the_process_answers(stranger: Any):
    assert await stranger.see("/healthz") == {"status": "ok", "version": "1.2.3"}


async def test_a_server_is_ready_when_every_check_is_and_says_that_its_model_is_scripted(stranger: Any, switches: Any):
    switches.checks["model"] = Check(ok=True, detail="scripted: no language model is configured", latency_ms=0.0)

    answer = await stranger.see("/readyz")

    assert answer["status"] == "ready"
    assert answer["checks"]["database"] == {"ok": True, "detail": "writes", "latency_ms": 0.4}
    assert answer["checks"]["model"]["detail"].startswith("scripted")


async def test_a_server_is_not_ready_when_one_check_fails(stranger: Any, switches: Any):
    switches.checks["database"] = Check(ok=False, detail="the disk is full")

    answer = await stranger.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert answer.json()["checks"]["database"] == {"ok": False, "detail": "the disk is full", "latency_ms": None}


async def test_a_server_that_shuts_down_is_not_ready_but_healthy(stranger: Any, switches: Any):
    switches.is_draining = True

    answer = await stranger.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert (await stranger.get("/healthz")).status_code == 200


async def test_metrics_can_be_read_by_a_scraper_and_count_what_happened(admin: Any, ada: Any, world: World, echo: None):
    sent = await ada.make("/v1/messages", 202, text="a secret")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted)
    await ada.get("/v1/threads/nothing")

    answer = await admin.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }

    assert answer.headers["Content-Type"].startswith("text/plain")
    assert samples["cloche_runs_accepted_total",] == 1
    assert samples["cloche_runs_ended_total", "completed"] == 1
    assert samples["cloche_runs", "running"] == 0
    assert samples["cloche_build", "1.2.3"] == 1
    assert samples["cloche_storage_commits_total",] == 3
    assert samples["cloche_storage_waiting",] == 0
    assert samples["cloche_http_requests_total", "/v1/messages", "202", "POST"] == 1
    assert samples["cloche_http_requests_total", "/v1/threads/{thread_id}", "400", "GET"] == 1
    assert samples["cloche_run_duration_seconds_count",] == 1
    assert samples["cloche_run_duration_seconds_bucket", "+Inf"] == 1
    assert families["cloche_run_duration_seconds"].type == "histogram"
    assert all(family.name.startswith("cloche_") and family.documentation for family in families.values())
    assert "a secret" not in answer.text


async def test_no_client_can_make_the_metrics_grow_for_ever(admin: Any, stranger: Any):
    for number in range(20):
        await stranger.request(f"MADE{number}", f"/made/up/{number}")
        await stranger.get(f"/v1/threads/{number}?{number}")

    lines = [line for line in (await admin.get("/metrics")).text.splitlines() if "http_requests_total{" in line]

    assert len(lines) == 2
    assert any('method="OTHER",route="unmatched"' in line for line in lines)


async def test_contracts_are_open_and_may_be_kept_for_a_while(stranger: Any):
    for path in ("/openapi.json", "/asyncapi.json", "/.well-known/jwks.json"):
        answer = await stranger.get(path)

        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.headers["Content-Type"] == "application/json"
