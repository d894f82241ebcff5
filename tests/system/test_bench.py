"""The measurements can be taken: every target runs its runs, and they are what they should be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(60)  # three servers and five processes beside them, each a second or two
def test_a_quick_bench_measures_every_target(tmp_path: Path) -> None:
    findings = tmp_path / "findings.json"

    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", str(findings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(findings.read_text(encoding="utf-8"))
    rounds = {row["target"]: row for row in found["rounds"]}
    assert list(rounds) == ["bare", "bare, joined", "function", "pydantic-ai"]
    assert all(row["runs"] > 0 for row in rounds.values())
    assert rounds["bare"]["events_per_run"] == rounds["bare, joined"]["events_per_run"] == 57
    assert rounds["bare"]["frames_per_run"] == 57
    assert rounds["bare, joined"]["frames_per_run"] == 1
    # The log joins the deltas that come within 30 ms; how many that makes depends on the machine.
    assert 8 < rounds["function"]["events_per_run"] <= 57
    assert found["starts"]["again_s"] > 0
