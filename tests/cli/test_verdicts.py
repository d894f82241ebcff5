from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from rich.console import Console

from cli.stories import AT, envelope, golden_story
from cloche.cli.verdicts import (
    GOLDEN,
    CheckResult,
    Report,
    Verdict,
    as_members,
    as_metrics,
    as_table,
    deliveries_ms,
    faults_of,
    judged,
    p95,
)
from cloche.domain.events import AgentFailed

MADE = datetime.fromisoformat(AT)


def report(*checks: CheckResult) -> Report:
    return Report(url="http://a", at=datetime(2026, 3, 1, tzinfo=UTC), checks=checks)


def test_the_p95_is_what_95_of_100_do_not_exceed() -> None:
    assert p95(list(range(100, 0, -1))) == 95
    assert p95([7.0]) == 7.0
    assert p95([1.0, 9.0]) == 9.0


@pytest.mark.parametrize(
    ("ms", "limit", "verdict"),
    [(99.9, 100.0, Verdict.OK), (100.1, 100.0, Verdict.SLOW), (1e9, None, Verdict.OK), (None, 1.0, Verdict.OK)],
)
def test_what_takes_too_long_is_slow(ms: float | None, limit: float | None, verdict: Verdict) -> None:
    assert judged("x", "", ms, limit).verdict is verdict


def test_deliveries_are_measured_from_the_making_of_each_event() -> None:
    story = golden_story()[:2]

    found = deliveries_ms([(story[0], MADE + timedelta(milliseconds=12)), (story[1], MADE - timedelta(milliseconds=1))])

    assert found == [12.0, 0.0]


def test_two_clocks_tell_nothing_of_a_delivery() -> None:
    assert deliveries_ms([(golden_story()[0], MADE - timedelta(seconds=1))]) is None
    assert deliveries_ms([]) is None


def test_a_right_story_has_no_faults() -> None:
    assert faults_of(golden_story(), GOLDEN) == []


def test_a_wanted_event_that_does_not_come_is_a_fault() -> None:
    story = [one for one in golden_story() if one.type != "agent_thinking"]

    faults = faults_of(story, GOLDEN)

    assert len(faults) == 1
    assert faults[0].startswith("agent_thinking did not come where it should; came: message_created, run_queued")
    assert faults[0].count("message_delta") == 1


def test_wanted_events_come_in_their_order() -> None:
    assert faults_of(golden_story(), ("tool_completed", "tool_executing")) != []


def test_a_broken_rule_of_order_is_a_fault() -> None:
    story = [*golden_story(), envelope(11, AgentFailed(code="c", message="m", retryable=False))]

    assert any(fault.startswith("terminal_is_last") for fault in faults_of(story, ()))


def test_only_a_report_of_good_checks_is_well() -> None:
    good = judged("a", "", 1.0, None)
    bad = [CheckResult(name="b", verdict=verdict, detail="") for verdict in Verdict if verdict is not Verdict.OK]

    assert report(good).is_ok
    assert not report().is_ok
    assert not any(report(good, one).is_ok for one in bad)


def test_the_report_is_ready_for_json() -> None:
    members = as_members(report(judged("sign_in", "as ada", 12.34567, 500.0)))

    assert members == {
        "ok": True,
        "url": "http://a",
        "at": "2026-03-01T00:00:00.000Z",
        "checks": [{"name": "sign_in", "verdict": "ok", "ms": 12.346, "limit_ms": 500.0, "detail": "as ada"}],
    }


def test_the_table_shows_what_was_found_as_it_is() -> None:
    written = io.StringIO()
    failed = CheckResult(name="read_back", verdict=Verdict.FAILED, detail="[red]gone", ms=3.0)

    Console(file=written, width=100).print(as_table(report(judged("sign_in", "", 12.34, 500.0), failed)))

    lines = written.getvalue().splitlines()
    assert lines[1].split() == ["sign", "in", "ok", "12.3", "500"]
    assert lines[2].split() == ["read", "back", "failed", "3.0", "[red]gone"]


def test_the_metrics_say_the_same() -> None:
    skipped = CheckResult(name="resume", verdict=Verdict.SKIPPED, detail="")

    text = generate_latest(as_metrics(report(judged("sign_in", "", 12.5, 500.0), skipped))).decode()

    assert 'cloche_doctor_ok{url="http://a"} 0.0' in text
    assert 'cloche_doctor_check_ok{check="sign_in",url="http://a"} 1.0' in text
    assert 'cloche_doctor_check_ok{check="resume",url="http://a"} 0.0' in text
    assert 'cloche_doctor_check_seconds{check="sign_in",url="http://a"} 0.0125' in text
    assert 'cloche_doctor_check_seconds{check="resume"' not in text
