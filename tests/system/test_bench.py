"""The measurements can be taken: every scenario does what it measures, and it is what it should be."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.docs import filled
from bench.report import Section, markdown

ROOT = Path(__file__).parent.parent.parent

pytestmark = [pytest.mark.slow, pytest.mark.system]


def measured(tmp_path: Path, *scenarios: str) -> dict[str, dict[str, Any]]:
    findings = tmp_path / "findings.json"
    chosen = [part for name in scenarios for part in ("--scenario", name)]

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(findings), *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(findings.read_text(encoding="utf-8"))
    assert list(found) == list(scenarios)
    assert all(section["rows"] and section["title"] in done.stdout for section in found.values())
    return found


@pytest.mark.timeout(90)  # five servers and seven processes beside them, each a second or two
def test_a_quick_bench_runs_whole_bursts_over_both_wires(tmp_path: Path) -> None:
    found = measured(tmp_path, "bursts", "bursts-sse")

    sockets = {one["subject"]: one for one in found["bursts"]["rounds"]}
    streams = {one["subject"]: one for one in found["bursts-sse"]["rounds"]}
    assert list(sockets) == ["bare", "bare, joined", "function", "pydantic-ai"]
    assert list(streams) == ["bare", "bare, joined", "function"]
    for rounds in (sockets, streams):
        assert all(one["runs"] > 0 for one in rounds.values())
        assert rounds["bare"]["events_per_run"] == rounds["bare, joined"]["events_per_run"] == 57
        assert rounds["bare"]["frames_per_run"] == 57
        assert rounds["bare, joined"]["frames_per_run"] == 1
        # The log joins the deltas that come within 30 ms; how many that makes depends on the machine.
        assert 8 < rounds["function"]["events_per_run"] <= 57


@pytest.mark.timeout(90)
def test_a_quick_bench_loses_no_token_of_paced_and_fanned_out_streams(tmp_path: Path) -> None:
    found = measured(tmp_path, "paced", "fanout")

    for section in found.values():
        assert {one["subject"] for one in section["rounds"]} >= {"bare", "function"}
        assert all(one["lost"] == one["doubled"] == 0 for one in section["rounds"])
    paced = {one["subject"]: one for one in found["paced"]["rounds"]}
    assert paced["function"]["tokens"] == 5 * 60
    assert paced["function"]["deltas_per_token"] < 1 == paced["bare"]["deltas_per_token"]
    assert paced["bare, 4 tokens a frame"]["tokens"] == 4 * 5 * 60
    fanout = {one["subject"]: one for one in found["fanout"]["rounds"]}
    assert fanout["function"]["tokens"] == fanout["bare"]["tokens"] == 20 * 15


@pytest.mark.timeout(90)
def test_a_quick_bench_weighs_connections_and_long_threads(tmp_path: Path) -> None:
    found = measured(tmp_path, "idle", "long-thread")

    steps = [(one["subject"], one["connections"]) for one in found["idle"]["rounds"]]
    assert steps == [("bare", 20), ("bare", 40), ("function", 20), ("function", 40)]
    assert all(one["connects_per_s"] > 0 for one in found["idle"]["rounds"])
    for one in found["long-thread"]["rounds"]:
        assert all(block["cpu_ms_per_run"] > 0 for block in [*one["first"], *one["late"]])


@pytest.mark.timeout(60)
def test_a_quick_bench_times_starts_ids_and_tokens(tmp_path: Path) -> None:
    found = measured(tmp_path, "starts", "checks")

    assert [one["subject"] for one in found["starts"]["rounds"]] == ["an empty folder", "the same folder again"]
    assert all(one["ready_s"] > 0 for one in found["starts"]["rounds"])
    assert all(min(one["per_s"]) > 0 for one in found["checks"]["rounds"])
    assert {target["what"] for target in found["checks"]["targets"]} >= {"ids made/s", "tokens checked, cached/s"}


def test_findings_go_into_their_place_on_the_page() -> None:
    section = Section.from_json(
        {
            "title": "Starts",
            "about": "Seconds.",
            "conditions": {"seconds": 1.0, "others_cores": 1.5, "fsync_ms": {"p50": 1, "max": 2}},
            "targets": [{"what": "seconds", "found": 1.25, "wanted": 1.0, "at_most": True, "met": False}],
            "rows": [{"start": "again", "s": 1.25}],
            "rounds": [],
        }
    )

    page = filled("a\n<!-- bench:starts -->\nold\n<!-- /bench:starts -->\nb\n", {"starts": markdown(section)})

    assert "old" not in page
    assert "| again | 1.25 |" in page
    assert "- **missed**: seconds: 1.25 (wanted ≤ 1)" in page
    assert "**NOISY: " in page
    assert page.endswith("<!-- /bench:starts -->\nb\n")
