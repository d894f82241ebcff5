from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from prometheus_client import generate_latest
from rich.console import Console

from cloche.cli.crowds import MAX_SHOWN, CrowdReport, crowd_members, crowd_metrics, crowd_of, crowd_table
from cloche.cli.verdicts import CheckResult, Report, Verdict, judged

AT = datetime(2026, 3, 1, tzinfo=UTC)


def crowd(*times_ms: float, limit_ms: float | None = None, failed: int = 0) -> CrowdReport:
    """One check that took these times, and for so many more failed without one."""
    checks = [judged("sign_in", "", ms, limit_ms) for ms in times_ms]
    checks += [CheckResult(name="sign_in", verdict=Verdict.FAILED, detail="[red]refused")] * failed
    return crowd_of(
        [
            (f"user-{number}", Report(url="http://a", at=AT + timedelta(seconds=number), checks=(check,)))
            for number, check in enumerate(checks)
        ]
    )


def shown(report: CrowdReport) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=140).print(crowd_table(report))
    return [line.rstrip() for line in written.getvalue().splitlines()]


def test_a_crowd_is_well_when_everybody_is() -> None:
    report = crowd(1.0, 2.0)

    assert report.is_ok
    assert (report.users, report.at, report.url) == (2, AT, "http://a")
    assert not crowd(1.0, failed=1).is_ok
    assert not crowd(1.0, 9.0, limit_ms=5.0).is_ok


def test_the_verdict_is_the_worst_one() -> None:
    assert crowd(1.0, 9.0, limit_ms=5.0).checks[0].verdict is Verdict.SLOW
    assert crowd(1.0, 9.0, limit_ms=5.0, failed=1).checks[0].verdict is Verdict.FAILED


def test_times_are_spread_over_those_who_came_so_far() -> None:
    check = crowd(*(float(ms) for ms in range(1, 101)), failed=3).checks[0]

    assert [check.quantile_ms(share) for share in (0.5, 0.95, 1.0)] == [50.0, 95.0, 100.0]
    assert crowd(failed=2).checks[0].quantile_ms(0.5) is None
    assert crowd(7.0).checks[0].quantile_ms(0.0) == 7.0


def test_those_for_whom_it_was_not_well_are_named_the_worst_first() -> None:
    check = crowd(1.0, 7.0, 9.0, limit_ms=5.0, failed=1).checks[0]

    assert [user for user, _ in check.troubles] == ["user-3", "user-2", "user-1"]


def test_the_report_is_ready_for_json() -> None:
    members = crowd_members(crowd(1.23456, 9.0, limit_ms=5.0))

    assert members == {
        "ok": False,
        "url": "http://a",
        "at": "2026-03-01T00:00:00.000Z",
        "users": 2,
        "checks": [
            {
                "name": "sign_in",
                "verdict": "slow",
                "p50_ms": 1.235,
                "p95_ms": 9.0,
                "worst_ms": 9.0,
                "limit_ms": 5.0,
                "ok_users": 1,
                "troubles": [{"user": "user-1", "verdict": "slow", "ms": 9.0, "detail": ""}],
            }
        ],
    }


def test_the_table_names_some_of_many_and_shows_details_as_they_are() -> None:
    lines = shown(crowd(1.0, 2.0, limit_ms=500.0, failed=MAX_SHOWN + 2))

    assert lines[1].split()[:8] == ["sign", "in", "failed", "1.0", "2.0", "2.0", "500", "2/9"]
    assert "user-2: failed, [red]refused" in lines[1]
    assert lines[-1].strip() == "and 2 others"


def test_the_metrics_say_the_same() -> None:
    text = generate_latest(crowd_metrics(crowd(10.0, 20.0, failed=1))).decode()

    place = 'check="sign_in"'
    assert 'cloche_doctor_ok{url="http://a"} 0.0' in text
    assert 'cloche_doctor_users{url="http://a"} 3.0' in text
    assert f'cloche_doctor_check_ok{{{place},url="http://a"}} 0.0' in text
    assert f'cloche_doctor_check_seconds{{{place},url="http://a"}} 0.02' in text
    assert f'cloche_doctor_check_unwell_users{{{place},url="http://a"}} 1.0' in text
    assert f'cloche_doctor_check_quantile_seconds{{{place},quantile="0.5",url="http://a"}} 0.01' in text


def test_metrics_are_not_well_when_something_beside_the_checks_is_not() -> None:
    assert b'cloche_doctor_ok{url="http://a"} 0.0' in generate_latest(crowd_metrics(crowd(1.0), is_ok=False))
