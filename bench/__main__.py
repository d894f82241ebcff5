"""``make bench``: durable runs beside a bare uvicorn that sends the same bytes, in turn, on this machine.

Ratios are taken within a round, because the machine is not the same from one minute to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench import bursts, checks, fanout, idle, long_thread, paced, starts
from bench.plan import QUICK, Plan
from bench.report import Found, Say, Section, show
from bench.usage import fsync_ms, machine_busy_s, ours_s

_FILES = 16_384

SCENARIOS: dict[str, Callable[[Path, Plan, Say], Section]] = {
    "starts": starts.measure,
    "checks": checks.measure,
    "bursts": bursts.over_websocket,
    "bursts-sse": bursts.over_event_streams,
    "paced": paced.measure,
    "fanout": fanout.measure,
    "idle": idle.measure,
    "long-thread": long_thread.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    plan = QUICK if options.quick else _plan(options)
    _allow_many_files()
    progress, console = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 190)
    sections: dict[str, Section] = {}
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cloche-bench-", dir=options.folder) as folder:
        for name in options.scenario or SCENARIOS:

            def say(line: str, name: str = name) -> None:
                progress.print(f"{name}: {line}", highlight=False, markup=False)

            try:
                sections[name] = under_watch(SCENARIOS[name], Path(folder) / name, plan, say)
            except RuntimeError as error:
                # The others are measured all the same.
                failed.append(name)
                say(str(error))
                continue
            write(sections, options.json)
            show(sections[name], console)
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def under_watch(measure: Callable[[Path, Plan, Say], Section], folder: Path, plan: Plan, say: Say) -> Section:
    """The scenario's findings, with what the machine did meanwhile."""
    folder.mkdir()
    fsync, busy_s, own_s, started = fsync_ms(folder), machine_busy_s(), ours_s(), time.perf_counter()
    section = measure(folder, plan, say)
    seconds = time.perf_counter() - started
    others = (machine_busy_s() - busy_s - (ours_s() - own_s)) / seconds
    section.conditions = {
        "seconds": round(seconds, 1),
        "others_cores": round(max(others, 0.0), 2),
        "fsync_ms": fsync,
        "machine": machine(),
    }
    return section


def write(sections: dict[str, Section], to: Path | None) -> None:
    """All findings are in the file, where one was asked for."""
    if to is not None:
        found: Found = {name: section.as_json() for name, section in sections.items()}
        to.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def machine() -> Found:
    return {"python": platform.python_version(), "system": platform.system(), "cpu": _cpu(), "cores": os.cpu_count()}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one; may be given again")
    parser.add_argument("--quick", action="store_true", help="a few seconds: whether everything works, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    parser.add_argument("--users", type=_numbers, help="of bursts, how many at once: 1,16,64")
    parser.add_argument("--rounds", type=int, help="of bursts and fan-out")
    parser.add_argument("--seconds", type=float, help="of each round of bursts")
    parser.add_argument("--streams", type=_numbers, help="of paced streams, how many at once: 100,500,1000")
    parser.add_argument("--connections", type=_numbers, help="that are idle: 1000,5000")
    parser.add_argument("--folder", type=Path, help="where the data folders are made; the disk counts")
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> Plan:
    names = ("users", "rounds", "seconds", "streams", "connections")
    return replace(Plan(), **{name: getattr(options, name) for name in names if getattr(options, name) is not None})


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _allow_many_files() -> None:
    """Every server and every load is a child of this process, and may hold thousands of sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
