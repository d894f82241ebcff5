"""The child process in which a plain function tool runs: one call, from standard input to a pipe.

Run as ``python -m cloche.tools.child``. The call is one line; standard input then stays open as long as the server lives,
and when it ends, however the server was killed, so does this process with everything that it started. The result goes to
a descriptor of its own, so that what the function prints cannot be mistaken for it, and is one line, so that it ends
although a process left behind keeps the descriptor open.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

RESULT_LIMIT = 4 * 1024 * 1024


def answer_call(line: bytes) -> None:
    """Run the call's function, and write its outcome."""
    call = json.loads(line)
    sys.path[:0] = [entry for entry in call["path"] if entry not in sys.path]
    answer = _answer(call)
    with os.fdopen(int(call["result_fd"]), "wb") as pipe:
        pipe.write(answer.encode() + b"\n")


def end_with_the_server() -> None:
    """This process and its group are killed when its standard input ends; the function finds an empty one."""
    server = os.dup(sys.stdin.fileno())
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())

    def watch() -> None:
        while os.read(server, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="server-watch", daemon=True).start()


def _answer(call: dict[str, Any]) -> str:
    try:
        target: Any = importlib.import_module(call["module"])
        for name in call["function"].split("."):
            target = getattr(target, name)
        return _told(target(**call["arguments"]))
    except Exception as error:  # noqa: BLE001 -- the boundary of foreign code; the parent tells of the failure
        code = getattr(error, "code", None)
        told = isinstance(code, str) and hasattr(error, "retryable")
        failure = {
            "ok": False,
            "error": type(error).__name__,
            "code": code if told else None,
            "message": str(error) if told else "",
        }
        return json.dumps(failure)


def _told(value: object) -> str:
    """The value as JSON, cut at the limit; what has no JSON form comes as its text.

    Raises:
        ValueError | TypeError: it cannot be written at all (a circle, keys that are no text).
    """
    if isinstance(value, str):
        size = len(value.encode(errors="surrogatepass"))
        if size > RESULT_LIMIT:
            return json.dumps({"ok": True, "value": value[:RESULT_LIMIT], "size": size})
        return json.dumps({"ok": True, "value": value})
    encoded = json.dumps(value, default=str)
    if len(encoded) > RESULT_LIMIT:
        return json.dumps({"ok": True, "value": encoded[:RESULT_LIMIT], "size": len(encoded)})
    return f'{{"ok": true, "value": {encoded}}}'


if __name__ == "__main__":
    call = sys.stdin.buffer.readline()
    end_with_the_server()
    answer_call(call)
