"""The child process in which a plain function tool runs: one call, from standard input to a pipe.

Run as ``python -m cloche.tools.child``. The result goes to a descriptor of its own, so that what the function prints
cannot be mistaken for it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

RESULT_LIMIT = 4 * 1024 * 1024


def answer_call() -> None:
    """Read the call, run the function, write its outcome."""
    call = json.loads(sys.stdin.buffer.read())
    sys.path[:0] = [entry for entry in call["path"] if entry not in sys.path]
    outcome = _outcome(call)
    with os.fdopen(int(call["result_fd"]), "wb") as pipe:
        pipe.write(json.dumps(outcome).encode())


def _outcome(call: dict[str, Any]) -> dict[str, Any]:
    try:
        target: Any = importlib.import_module(call["module"])
        for name in call["function"].split("."):
            target = getattr(target, name)
        value = target(**call["arguments"])
    except Exception as error:  # noqa: BLE001 -- the boundary of foreign code; the parent tells of the failure
        code = getattr(error, "code", None)
        told = isinstance(code, str) and hasattr(error, "retryable")
        return {
            "ok": False,
            "error": type(error).__name__,
            "code": code if told else None,
            "message": str(error) if told else "",
        }
    if isinstance(value, str) and len(value) > RESULT_LIMIT:
        return {"ok": True, "value": value[:RESULT_LIMIT], "size": len(value)}
    encoded = json.dumps(value, default=str)
    if len(encoded) > RESULT_LIMIT:
        return {"ok": True, "value": encoded[:RESULT_LIMIT], "size": len(encoded)}
    return {"ok": True, "value": value}


if __name__ == "__main__":
    answer_call()
