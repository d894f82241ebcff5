from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cloche.ids import IDType, parse_id

Cloche = Callable[..., Result]

OLD = "thread_chat_1700000000000_7_0a1b2c3d"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "threads.csv"
    path.write_text(f"owner,id\nada,{OLD}\nbob,run_1_0a1b2c3d\nada,{OLD}\ncid,\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_ids_are_made_one_to_a_line_and_rising(cloche: Cloche) -> None:
    result = cloche("ids", "new", "run", "--label", "test", "--count", "3")

    found = result.stdout.split()
    assert result.exit_code == 0
    assert found == sorted(found)
    assert [(parse_id(one).type, parse_id(one).label) for one in found] == [(IDType.RUN, "test")] * 3


def test_a_type_that_is_none_is_a_wrong_call(cloche: Cloche) -> None:
    result = cloche("ids", "new", "runs")

    assert result.exit_code == 2
    assert "runs" in result.stderr


def test_a_label_that_is_none_is_one_line_and_no_traceback(cloche: Cloche) -> None:
    result = cloche("ids", "new", "run", "--label", "Not One")

    assert result.exit_code == 1
    assert result.stderr.startswith("cloche: a label is")
    assert result.stderr.count("\n") == 1


def test_an_id_is_read(cloche: Cloche) -> None:
    made = cloche("ids", "new", "thread").stdout.strip()

    shown = cloche("ids", "parse", made)
    facts = json.loads(cloche("ids", "parse", made, "--json").stdout)

    assert made in shown.stdout
    assert facts["type"] == "thread"
    assert facts["label"] is None
    assert facts["created_at"].startswith("20")
    assert facts["uuid"] in shown.stdout


def test_an_id_of_a_time_beyond_the_calendar_is_read(cloche: Cloche) -> None:
    result = cloche("ids", "parse", "run_7zzzzzzzzzfzz8zzzzzzzzzzzz", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["created_at"] is None


def test_what_is_no_id_is_refused(cloche: Cloche) -> None:
    assert cloche("ids", "parse", "run_1").exit_code == 1


def test_a_migration_reports_and_changes_nothing(cloche: Cloche, table: Path, tmp_path: Path) -> None:
    before = table.read_text()

    result = cloche("ids", "migrate", table, "--type", "thread")

    assert result.exit_code == 1
    assert "1 mapped to thread ids, 3 not" in result.stdout
    assert "it is a run id" in result.stdout
    assert "nothing was written" in result.stdout
    assert table.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == [table.name]


def test_an_applied_migration_writes_another_table(cloche: Cloche, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"

    cloche("ids", "migrate", table, "--type", "thread", "--apply", "--out", out)

    rows = read(out)
    assert [row["owner"] for row in rows] == ["ada", "bob", "ada", "cid"]
    assert parse_id(rows[0]["cloche_id"]).created_at_ms == 1_700_000_000_000
    assert rows[2]["cloche_id"] == rows[0]["cloche_id"]
    assert rows[1]["cloche_id"] == rows[3]["cloche_id"] == ""


def test_a_migration_of_everything_ends_well(cloche: Cloche, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"key\n{OLD}\n{OLD}\n")

    result = cloche("ids", "migrate", table, "--type", "thread", "--column", "key", "--json")

    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert list(report["mapped"]) == [OLD]
    assert report["applied"] is False
    assert report["unmapped"] == [{"id": OLD, "reason": "duplicate", "found": None}]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("", "no column"), ("key\nx\n", "no column 'id'"), ("id,name\nx\n", "row 2"), ("id\n\xff", "cannot be read")],
)
def test_a_table_that_cannot_be_read_is_refused(cloche: Cloche, tmp_path: Path, content: str, complaint: str) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(content.encode("latin-1"))

    result = cloche("ids", "migrate", table, "--type", "run")

    assert result.exit_code == 1
    assert complaint in result.stderr


def test_a_table_is_never_written_over(cloche: Cloche, table: Path) -> None:
    before = table.read_text()

    result = cloche("ids", "migrate", table, "--type", "thread", "--apply", "--out", table)

    assert result.exit_code == 1
    assert table.read_text() == before


def test_apply_without_a_place_is_refused(cloche: Cloche, table: Path) -> None:
    result = cloche("ids", "migrate", table, "--type", "thread", "--apply")

    assert "belong together" in result.stderr
