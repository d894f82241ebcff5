from __future__ import annotations

from datetime import UTC, datetime

from cloche.api.wire.checkups import CheckupBody
from cloche.cli.crowds import crowd_of
from cloche.cli.records import record_of, store_record
from cloche.cli.repairs import RepairView
from cloche.cli.rest import Account
from cloche.cli.verdicts import CheckResult, Report, Verdict

AT = datetime(2026, 3, 1, tzinfo=UTC)


def report(*verdicts: Verdict, detail: str = "found") -> Report:
    checks = [
        CheckResult(name=f"check_{number}", verdict=verdict, detail=detail, ms=1.23456 + number)
        for number, verdict in enumerate(verdicts)
    ]
    return Report(url="http://x", at=AT, checks=tuple(checks))


def test_a_report_is_one_line_a_check_and_one_for_repairs() -> None:
    record = record_of(report(Verdict.OK, Verdict.SLOW), RepairView(more=True), is_ok=False)

    assert record == {
        "is_ok": False,
        "users": 0,
        "checks": [
            {"name": "check_0", "ok": True, "detail": "found", "duration_ms": 1.235},
            {"name": "check_1", "ok": False, "detail": "found", "duration_ms": 2.235},
            {"name": "repairs", "ok": False, "detail": "0 left, and more, 0 repaired", "duration_ms": None},
        ],
    }


def test_a_crowd_s_report_has_the_worst_of_each_check_and_names_nobody() -> None:
    crowd = crowd_of([("ada@example.org", report(Verdict.OK)), ("bob@example.org", report(Verdict.FAILED))])

    record = record_of(crowd, None, is_ok=False)

    assert record["users"] == 2
    assert record["checks"] == [
        {"name": "check_0", "ok": False, "detail": "well for 1 of 2; found", "duration_ms": 1.235}
    ]


def test_whatever_was_found_fits_what_a_server_takes() -> None:
    long = report(*[Verdict.FAILED] * 200, detail="\ud800" + "x" * 5000)

    CheckupBody.model_validate(record_of(long, RepairView(trouble="y" * 5000), is_ok=False))


async def test_a_server_that_does_not_answer_is_told() -> None:
    account = Account(email="ada@example.org", password="a secret")

    assert "127.0.0.1:1" in (await store_record("http://127.0.0.1:1", account, {}) or "")
