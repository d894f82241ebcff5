from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from cloche.cli.credentials import asked_email, asked_password, given_password
from cloche.errors import InvalidInputError


def test_nothing_is_read_unless_asked_for() -> None:
    assert given_password(from_stdin=False) is None


def test_the_first_line_of_standard_input_is_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(" with blanks \r\nthe next line\n"))

    found = given_password(from_stdin=True)

    assert found == " with blanks "
    assert sys.stdin.readline() == "the next line\n"


def test_a_file_that_only_its_owner_reads_gives_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a secret\nmore\n")
    file.chmod(0o600)

    assert given_password(from_stdin=False, file=file) == "a secret"


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a secret\n")
    file.chmod(0o640)

    with pytest.raises(InvalidInputError, match="chmod 600") as refused:
        given_password(from_stdin=False, file=file)

    assert "a secret" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        given_password(from_stdin=False, file=tmp_path / "none")


def test_an_empty_line_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))

    with pytest.raises(InvalidInputError, match="no password in standard input"):
        given_password(from_stdin=True)


def test_there_is_one_source(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="either"):
        given_password(from_stdin=True, file=tmp_path / "password")


def test_nobody_is_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ada@example.org\n"))

    with pytest.raises(InvalidInputError, match="--password-stdin"):
        asked_password()
    with pytest.raises(InvalidInputError, match="--email"):
        asked_email(None)
    assert asked_email("ada@example.org") == "ada@example.org"
