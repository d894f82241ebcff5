from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import Result

from cloche.cli.checkup import Errand
from cloche.cli.doctor import _Plan, _Round, _show, _stored, interval
from cloche.cli.repairs import RepairView
from cloche.cli.rest import Account
from cloche.cli.verdicts import CheckResult, Report, Verdict
from cloche.errors import InvalidInputError

Cloche = Callable[..., Result]


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("60s", timedelta(minutes=1)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_pause_is_read(text: str, pause: timedelta) -> None:
    assert interval(text) == pause


@pytest.mark.parametrize("text", ["", "60", "0s", "-1s", "1w", "1.5s", "1000000s"])
def test_what_is_no_pause_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="60s"):
        interval(text)


def test_a_password_needs_an_address(cloche: Cloche) -> None:
    result = cloche("doctor", "--password-stdin", typed="a secret\n")

    assert (result.exit_code, result.stderr) == (1, "cloche: a password was given, and no --email\n")


@pytest.mark.parametrize("option", [("--users", "2"), ("--repair",)])
def test_what_an_administrator_must_do_needs_an_address(cloche: Cloche, option: tuple[str, ...]) -> None:
    result = cloche("doctor", *option)

    assert result.exit_code == 1
    assert "need the --email of an administrator" in result.stderr


def test_more_users_than_a_server_lets_in_are_refused(cloche: Cloche) -> None:
    result = cloche("doctor", "--users", "91")

    assert result.exit_code == 2
    assert "90" in result.stderr


def test_a_look_back_that_is_none_is_refused(cloche: Cloche) -> None:
    result = cloche(
        "doctor", "--email", "a@example.org", "--password-stdin", "--look-back", "for ever", typed="a secret\n"
    )

    assert (result.exit_code, result.stderr) == (1, "cloche: a time is of the form 60s, 5m, 1h or 2d\n")


def test_an_address_that_is_none_is_refused_before_anything_is_asked(cloche: Cloche) -> None:
    result = cloche("doctor", "--url", "agents.example")

    assert result.exit_code == 1
    assert "of the form" in result.stderr


def test_metrics_that_cannot_be_written_are_told(cloche: Cloche, tmp_path: Path) -> None:
    result = cloche("doctor", "--url", "http://127.0.0.1:1", "--metrics-file", tmp_path / "none" / "x.prom")

    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


async def test_a_report_that_cannot_be_stored_is_told_and_changes_no_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = CheckResult(name="path", verdict=Verdict.OK, detail="found")
    report = Report(url="http://127.0.0.1:1", at=datetime(2026, 3, 1, tzinfo=UTC), checks=(check,))
    plan = _Plan(
        errand=Errand(
            url="http://127.0.0.1:1",
            account=Account(email="ada@example.org", password="a secret"),
            agent=None,
            message="hello",
            wanted=(),
        ),
        users=0,
        pause=None,
        look_back=timedelta(days=1),
        repair=False,
        metrics_file=None,
        as_json=False,
    )

    done = await _stored(plan, _Round(report=report, view=RepairView()))
    member = await _stored(plan, _Round(report=report, view=None))
    _show(done, as_json=False)
    _show(done, as_json=True)

    assert (done.is_ok, member.trouble) == (True, None)
    people, _, machine = capsys.readouterr().out.partition("{")
    assert "the report is not stored on the server: " in people
    assert "all is well" in people
    assert json.loads("{" + machine)["not_stored"] == done.trouble
