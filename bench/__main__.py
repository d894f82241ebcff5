"""``make bench``: durable runs beside a bare uvicorn that sends the same bytes, in turn, on this machine.

Ratios are taken within a round, because the machine is not the same from one minute to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.servers import TARGETS, Server, Target, bare_server, cloche_server, load

_TOKENS_LAST_S = 12 * 60
_WARM_UP_S = 2

Measured = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and for how long."""

    users: tuple[int, ...]
    rounds: int
    seconds: float
    starts: int


QUICK = Plan(users=(2,), rounds=1, seconds=1.0, starts=1)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    plan = QUICK
    if not options.quick:
        plan = Plan(users=options.users, rounds=options.rounds, seconds=options.seconds, starts=3)
    targets = [target for target in TARGETS if not options.only or target.name in options.only]
    if len(targets) * len(plan.users) * plan.rounds * (plan.seconds + _WARM_UP_S) > _TOKENS_LAST_S:
        print("that takes longer than the users' tokens last: fewer rounds, or shorter ones", file=sys.stderr)
        return 2
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="cloche-bench-", dir=options.folder) as folder:
        found = {"machine": _machine(), **_measure(Path(folder), plan, targets, console)}
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _show(found, Console(width=None if sys.stdout.isatty() else 170))
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds: whether everything works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    parser.add_argument("--users", type=_numbers, default=(1, 16, 64), help="how many at once: 1,16,64")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument("--folder", type=Path, help="where the data folders are made; the disk counts")
    parser.add_argument("--only", type=lambda text: text.split(";"), help="; between names of targets")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _machine() -> Measured:
    return {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}


def _measure(folder: Path, plan: Plan, targets: Sequence[Target], console: Console) -> Measured:
    starts = _starts(folder / "starts", plan.starts)
    most = max(plan.users)
    rows: list[Measured] = []
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for target in targets:
            if target.server not in servers:
                place = folder / target.server
                servers[target.server] = stack.enter_context(
                    bare_server(place)
                    if target.agent is None
                    else cloche_server(
                        target.server, place, agent=target.agent, tokens=_tokens(folder, target), people=most
                    )
                )
        idle = {name: server.memory_mb for name, server in servers.items()}
        for users in plan.users:
            for number in range(plan.rounds):
                for target in targets:
                    console.print(f"{users:>3} users, round {number + 1}: {target.name}", highlight=False)
                    found = load(
                        target,
                        servers[target.server],
                        users=users,
                        seconds=plan.seconds,
                        tokens=_tokens(folder, target),
                    )
                    rows.append({"target": target.name, "round": number, **found})
        memory = {
            name: {"ready_s": server.ready_s, "idle_mb": idle[name], "after_mb": server.memory_mb}
            for name, server in servers.items()
        }
    return {"starts": starts, "servers": memory, "rounds": rows}


def _tokens(folder: Path, target: Target) -> Path:
    """The bare server takes any token, so all targets can share a file's shape; each data folder has its own people."""
    path = folder / f"{target.server}.tokens"
    if target.agent is None and not path.exists():
        path.write_text(json.dumps(["nobody"] * 1000), encoding="ascii")
    return path


def _starts(folder: Path, count: int) -> Measured:
    """Seconds from spawn to ready of a server as it comes: into an empty folder, and again."""
    first: list[float] = []
    again: list[float] = []
    for number in range(count):
        for found in (first, again):
            made = cloche_server("cloche", folder / str(number), agent=None, tokens=folder / "none", people=0)
            with made as server:
                found.append(server.ready_s)
    return {"first_s": median(first), "again_s": median(again)}


def _show(found: Measured, console: Console) -> None:
    table = Table(
        title="Runs of one tool call and 50 deltas: 57 events at their source",
        caption="Times are p50 · p95 · p99 in ms. CPU: of the server per run in ms, its cores, of these its event loop, "
        "and the cores of the load.",
    )
    table.add_column("users", justify="right")
    table.add_column("target", no_wrap=True)
    for name in ("runs/s", "÷ bare", "÷ joined", "events/run", "events/s", "first event", "run", "CPU/run", "cores"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("loop", "load"):
        table.add_column(name, justify="right", no_wrap=True)
    rows: list[Measured] = found["rounds"]
    for users in dict.fromkeys(row["users"] for row in rows):
        for target in dict.fromkeys(row["target"] for row in rows):
            table.add_row(*_cells(rows, users, target))
        table.add_section()
    console.print(table)
    starts = found["starts"]
    console.print(
        f"cold start to ready: {starts['first_s']:.2f} s into an empty folder, {starts['again_s']:.2f} s again"
    )
    for name, server in found["servers"].items():
        console.print(f"{name}: {server['idle_mb']} MB when ready, {server['after_mb']} MB after", highlight=False)


def _cells(rows: Sequence[Measured], users: int, target: str) -> list[str]:
    own = [row for row in rows if row["users"] == users and row["target"] == target]

    def average(name: str, digits: int = 1) -> str:
        return f"{mean(row[name] for row in own):.{digits}f}"

    def quantiles(name: str) -> str:
        return " · ".join(f"{mean(row[name][share] for row in own):.1f}" for share in ("p50", "p95", "p99"))

    return [
        str(users),
        target,
        average("runs_per_s"),
        _ratio(rows, own, "bare"),
        _ratio(rows, own, "bare, joined"),
        average("events_per_run"),
        average("events_per_s", 0),
        quantiles("first_event_ms"),
        quantiles("run_ms"),
        average("server_cpu_ms_per_run", 2),
        average("server_cpu", 2),
        average("server_loop_cpu", 2),
        average("load_cpu", 2),
    ]


def _ratio(rows: Sequence[Measured], own: Sequence[Measured], other: str) -> str:
    beside = {(row["users"], row["round"]): row["runs_per_s"] for row in rows if row["target"] == other}
    ratios = [row["runs_per_s"] / beside[key] for row in own if (key := (row["users"], row["round"])) in beside]
    return f"{mean(ratios):.2f}" if ratios else "–"


if __name__ == "__main__":
    sys.exit(main())
