from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from cloche import __version__
from cloche.api.wire.frames import ErrorMembers
from cloche.cli.main import told_errors
from cloche.cli.rest import RefusedError, UnreachableError
from cloche.errors import InvalidInputError

Cloche = Callable[..., Result]


def test_the_version_is_told(cloche: Cloche) -> None:
    assert cloche("--version").stdout == f"cloche {__version__}\n"


def test_no_command_is_a_wrong_call_that_helps(cloche: Cloche) -> None:
    result = cloche()

    assert result.exit_code == 2
    assert "doctor" in result.output


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InvalidInputError("it is wrong"), "cloche: it is wrong\n"),
        (UnreachableError("nobody is there"), "cloche: nobody is there\n"),
        (
            RefusedError(ErrorMembers(code="not_found", message="no", retryable=False, details={}, request_id=None)),
            "cloche: no (not_found)\n",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, told_errors():
        raise error

    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == line


def test_leaving_a_prompt_is_an_interruption() -> None:
    with pytest.raises(typer.Exit) as ended, told_errors():
        raise typer.Abort

    assert ended.value.exit_code == 130


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), told_errors():
        raise ZeroDivisionError


@pytest.mark.slow
def test_the_module_is_the_program(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cloche", "ids", "parse", "no id"],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr == "cloche: expected an id, got text that is no id ('no id')\n"


def test_a_port_that_is_none_is_a_wrong_call(cloche: Cloche) -> None:
    assert cloche("up", "--port", "70000").exit_code == 2
