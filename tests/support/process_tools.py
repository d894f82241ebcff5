"""Plain functions that run as tools in a child process, and behave in every way that a tool may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from cloche.errors import ToolFailedError


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def describe(number: int, day: date, note: str = "none") -> str:
    """Say what was given."""
    return f"{number!r} {day!r} {note!r}"


def reports(message: str) -> None:
    """Fail with a text for the model."""
    raise ToolFailedError(message)


def raises(message: str) -> None:
    """Fail with an error of its own."""
    raise ValueError(message)


def leaves() -> None:
    """Leave."""
    sys.exit(3)


def dies() -> None:
    """Be gone at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def prints() -> str:
    """Print a lot, and answer."""
    sys.stdout.write('{"ok": true, "value": "not this"}\n' * 10_000)
    sys.stderr.write("x" * 1_000_000)
    sys.stdout.flush()
    os.write(1, b"y" * 100_000)
    return "this"


def reads_its_input() -> str:
    """Give what is left on standard input."""
    return sys.stdin.read()


def huge(size: int) -> str:
    """Give a long text."""
    return "é" * size


def huge_list(length: int) -> list[str]:
    """Give a long list."""
    return ["x" * 1000] * length


def odd(kind: str) -> object:
    """Give something that is no JSON value."""
    circle: list[object] = []
    circle.append(circle)
    return {
        "date": date(2031, 1, 1),
        "path": Path("a"),
        "inside": {"day": [date(2031, 1, 1)]},
        "nan": float("nan"),
        "half": "\ud83d",
        "circle": circle,
        "key": {(1, 2): 3},
        "bytes": b"abc",
    }[kind]


def leaves_a_child_behind(file: str) -> str:
    """Answer, while a forked child keeps everything open."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    Path(file).write_text(str(child))
    return "answered"


def dies_and_leaves_a_child_behind(file: str) -> None:
    """Be gone without an answer, while a forked child keeps everything open."""
    leaves_a_child_behind(file)
    os.kill(os.getpid(), signal.SIGKILL)


def will_not_go(file: str) -> None:
    """Start children, ignore every request to end, and stay; as do the children."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"]
    )
    forked = os.fork()
    if forked == 0:
        time.sleep(60)
        os._exit(0)
    whole = Path(f"{file}.part")
    whole.write_text(f"{os.getpid()} {child.pid} {forked}")
    whole.rename(file)
    time.sleep(60)


def notes_the_request_to_end(file: str) -> None:
    """Say that it runs, and that it was asked to end; and stay."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: Path(f"{file}.asked").touch())
    whole = Path(f"{file}.part")
    whole.write_text(str(os.getpid()))
    whole.rename(file)
    while True:
        time.sleep(60)


def says_and_sleeps(result_fd: int) -> None:
    """Tell that standard input is empty, and go to sleep."""
    is_empty = sys.stdin.read() == ""
    os.write(result_fd, f"asleep, and standard input is {'empty' if is_empty else 'not empty'}\n".encode())
    time.sleep(60)
