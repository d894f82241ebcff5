"""The child process of a plain function, spoken to directly: one call in, one line out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloche.tools import child
from cloche.tools.child import RESULT_LIMIT, answer_call
from support import process_tools

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """What the child answers to a call, in this process."""

    def asked(
        function: str, *, module: str = process_tools.__name__, path: tuple[str, ...] = (), **arguments: object
    ) -> dict[str, Any]:
        file = tmp_path / "answer"
        target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        call = {
            "module": module,
            "function": function,
            "arguments": arguments,
            "result_fd": target,
            "path": [*path, *sys.path],
        }
        monkeypatch.setattr(sys, "path", list(sys.path))
        answer_call(json.dumps(call).encode())
        line = file.read_bytes()
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        return json.loads(line)

    return asked


def test_a_call_is_answered_in_one_line(ask: Ask):
    assert ask("double", number=21) == {"ok": True, "value": 42}


def test_a_function_inside_a_class_is_found(ask: Ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_tools, "Inside", SimpleNamespace(double=process_tools.double), raising=False)

    assert ask("Inside.double", number=2) == {"ok": True, "value": 4}


def test_a_module_is_looked_for_where_the_parent_looks(ask: Ask, tmp_path: Path):
    (tmp_path / "gardening_tools.py").write_text("def rake():\n    return 'raked'\n")

    assert ask("rake", module="gardening_tools", path=(str(tmp_path),)) == {"ok": True, "value": "raked"}


@pytest.mark.parametrize(
    ("module", "function", "error"),
    [
        ("no_such_module", "rake", "ModuleNotFoundError"),
        (process_tools.__name__, "no_such_function", "AttributeError"),
        (process_tools.__name__, "double.deeper", "AttributeError"),
    ],
)
def test_a_function_that_is_not_there_is_a_failure_without_a_text(ask: Ask, module: str, function: str, error: str):
    assert ask(function, module=module) == {"ok": False, "error": error, "code": None, "message": ""}


def test_an_error_of_ours_keeps_its_code_and_text(ask: Ask):
    assert ask("reports", message="no such city") == {
        "ok": False,
        "error": "ToolFailedError",
        "code": "tool_failed",
        "message": "no such city",
    }


def test_an_error_of_others_keeps_its_text_to_itself(ask: Ask):
    assert ask("raises", message="a secret text") == {
        "ok": False,
        "error": "ValueError",
        "code": None,
        "message": "",
    }


@pytest.mark.parametrize(
    ("kind", "value"),
    [("date", "2031-01-01"), ("path", "a"), ("inside", {"day": ["2031-01-01"]}), ("half", "\ud83d")],
)
def test_a_value_without_a_json_form_comes_as_its_text(ask: Ask, kind: str, value: object):
    assert ask("odd", kind=kind) == {"ok": True, "value": value}


@pytest.mark.parametrize(("kind", "error"), [("circle", "ValueError"), ("key", "TypeError")])
def test_a_value_that_cannot_be_written_is_a_failure(ask: Ask, kind: str, error: str):
    assert ask("odd", kind=kind)["error"] == error


def test_a_text_is_cut_at_the_limit_and_tells_its_size_in_bytes(ask: Ask):
    answer = ask("huge", size=RESULT_LIMIT)

    assert len(answer["value"]) == RESULT_LIMIT
    assert answer["size"] == 2 * RESULT_LIMIT


def test_a_text_at_the_limit_is_whole(ask: Ask):
    answer = ask("huge", size=RESULT_LIMIT // 2)

    assert answer == {"ok": True, "value": "é" * (RESULT_LIMIT // 2)}


def test_a_list_is_cut_at_the_limit_as_text(ask: Ask):
    answer = ask("huge_list", length=5_000)

    assert answer["value"].startswith('["xxx')
    assert len(answer["value"]) == RESULT_LIMIT
    assert answer["size"] == len(json.dumps(["x" * 1000] * 5_000))


def test_the_module_runs_as_a_program_that_ends_with_its_standard_input():
    results, result = os.pipe()
    call = {
        "module": process_tools.__name__,
        "function": "says_and_sleeps",
        "arguments": {"result_fd": result},
        "result_fd": result,
        "path": sys.path,
    }
    with (
        os.fdopen(results, "rb") as told,
        subprocess.Popen(
            [sys.executable, "-m", child.__name__], stdin=subprocess.PIPE, pass_fds=(result,), start_new_session=True
        ) as process,
    ):
        os.close(result)
        assert process.stdin is not None
        process.stdin.write(json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        said = told.readline()
        process.stdin.close()
        code = process.wait(timeout=10)

    assert said == b"asleep, and standard input is empty\n"
    assert code == -signal.SIGKILL
