"""Starts: from the process to ready, into an empty folder and into one that is there already."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target
from bench.servers import cloche_server

_EMPTY, _AGAIN = "an empty folder", "the same folder again"


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """The server as it comes, without a settings file of ours."""
    rounds: list[Found] = []
    for number in range(1 if plan.quick else 4):
        for name in (_EMPTY, _AGAIN):
            say(f"start {number + 1}: {name}")
            with cloche_server("cloche", folder / str(number), agent=None) as server:
                rounds.append({"subject": name, "ready_s": server.ready_s, "ready_mb": server.memory_mb})
    again = [one["ready_s"] for one in rounds if one["subject"] == _AGAIN]
    first = [one["ready_s"] for one in rounds if one["subject"] == _EMPTY]
    return Section(
        title="Starts",
        about="Seconds from the start of the process to its line that says it is ready: median, and the fastest.",
        rows=[_row(name, [one for one in rounds if one["subject"] == name]) for name in (_EMPTY, _AGAIN)],
        targets=[
            Target(what="seconds to ready, again", found=median(again), wanted=1.0, at_most=True),
            Target(what="seconds to ready, empty folder", found=median(first), wanted=1.0, at_most=True),
        ],
        rounds=rounds,
    )


def _row(name: str, own: list[Found]) -> Row:
    seconds = [one["ready_s"] for one in own]
    return {
        "start into": name,
        "ready, s": median(seconds),
        "fastest, s": min(seconds),
        "MB when ready": median(one["ready_mb"] for one in own),
    }
