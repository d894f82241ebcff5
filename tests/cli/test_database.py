from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from typer.testing import Result

from cloche.storage.sqlite import owned, upgrade

Cloche = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.mark.slow
def test_an_empty_database_is_brought_up_once(cloche: Cloche, folder: Path) -> None:
    (folder / "cloche.db").touch()

    first, second = (cloche("db", "upgrade", "--data", folder) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "brought up" in first.stdout
    assert "nothing to do" in second.stdout
    assert "sound" in cloche("db", "verify", "--data", folder).stdout


@pytest.mark.parametrize("command", ["upgrade", "verify"])
def test_there_must_be_a_database(cloche: Cloche, tmp_path: Path, command: str) -> None:
    result = cloche("db", command, "--data", tmp_path / "none")

    assert result.exit_code == 1
    assert "there is no database" in result.stderr


def test_no_upgrade_while_a_server_owns_the_folder(cloche: Cloche, folder: Path) -> None:
    (folder / "cloche.db").touch()

    with owned(folder):
        result = cloche("db", "upgrade", "--data", folder)

    assert result.exit_code == 1
    assert "another Cloche process" in result.stderr


def test_a_database_of_a_newer_program_is_left_alone(cloche: Cloche, folder: Path) -> None:
    path = folder / "cloche.db"
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE schema_migrations (version_num TEXT); INSERT INTO schema_migrations VALUES ('9999')"
    )
    connection.close()

    for command in ("upgrade", "verify"):
        result = cloche("db", command, "--data", folder)

        assert result.exit_code == 1
        assert "newer Cloche" in result.stderr


def test_what_is_no_database_is_said_to_be_none(cloche: Cloche, folder: Path) -> None:
    (folder / "cloche.db").write_text("this is a letter, and a long one, to be sure that it is read\n" * 100)

    result = cloche("db", "verify", "--data", folder)

    assert result.exit_code == 1
    assert "no SQLite database" in result.stderr


@pytest.mark.slow
def test_a_damaged_database_is_found_out(cloche: Cloche, folder: Path) -> None:
    path = folder / "cloche.db"
    upgrade(path)
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(content)

    result = cloche("db", "verify", "--data", folder)

    assert result.exit_code == 1
    assert "damaged" in result.stderr
