"""``make profile``: where the server's processor time goes while bursts run, as a flame graph and as a table by floor.

A sample belongs to the innermost floor of Cloche on its stack, together with the libraries which that floor called; one
without any belongs to the library that is nearest to its bottom, such as the event loop or uvicorn.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.__main__ import machine, under_watch, write
from bench.plan import Plan
from bench.report import Found, Row, Say, Section, show, shown
from bench.servers import ROOT, Server, cloche_server, generate
from bench.usage import thread_cpu_s

AGENTS = {"function": "bench.agents:burst", "pydantic-ai": "bench.model_agent:burst"}
_USERS = 16
_RATE_HZ = 250
_MARGIN_S = 4.0
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_FLOOR = re.compile(r"/src/cloche/(?P<floor>\w+)")
_LIBRARY = re.compile(r"/site-packages/(?P<library>\w+)")
_THREAD = re.compile(r"thread \((?P<number>\d+)\)")
_SPOTS = 15


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    options.to.mkdir(parents=True, exist_ok=True)
    progress, console = Console(stderr=True), Console(width=None if sys.stdout.isatty() else 160)
    sections: dict[str, Section] = {}
    with tempfile.TemporaryDirectory(prefix="cloche-profile-", dir=options.folder) as folder:
        for subject in options.agent or AGENTS:

            def measure(place: Path, _: Plan, say: Say, subject: str = subject) -> Section:
                return _profile(place, subject, options.seconds, options.to, say)

            name = f"profile-{subject}"
            sections[name] = under_watch(measure, Path(folder) / name, Plan(), progress.print)
    write(sections, options.to / "profile.json")
    for section in sections.values():
        show(section, console)
    console.print(f"flame graphs and profile.json are in {options.to}", highlight=False)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__)
    parser.add_argument("--agent", action="append", choices=AGENTS, help="only this one")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each of the two recordings")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "profile", help="where the flame graphs go")
    parser.add_argument("--folder", type=Path, help="where the data folders are made")
    return parser.parse_args(arguments)


def _profile(folder: Path, subject: str, seconds: float, to: Path, say: Say) -> Section:
    """py-spy writes one form at a time, so the load runs on while two recordings are made."""
    with cloche_server(subject, folder / "server", agent=AGENTS[subject], people=_USERS) as server:
        seen: list[Found] = []
        lasts_s = 2 * seconds + _MARGIN_S
        load = threading.Thread(
            target=lambda: seen.append(generate("load", server, users=_USERS, seconds=lasts_s)), name="load"
        )
        load.start()
        # The users come in and warm up.
        load.join(2.0)
        say(f"profile of {subject}: stacks")
        before = thread_cpu_s(server.pid)
        stacks = _record(server, "raw", seconds, folder / "stacks")
        used_s = {thread: after_s - before.get(thread, 0.0) for thread, after_s in thread_cpu_s(server.pid).items()}
        say(f"profile of {subject}: flame graph")
        _record(server, "flamegraph", seconds, to / f"{subject}.svg")
        load.join()
    if not seen:
        raise RuntimeError(f"the load on {subject} failed")
    return _section(subject, seen[0], stacks.read_text(encoding="utf-8").splitlines(), used_s)


def _record(server: Server, form: str, seconds: float, to: Path) -> Path:
    command = [str(Path(sys.executable).parent / "py-spy"), "record", "--pid", str(server.pid), "--format", form]
    command += ["--output", str(to), "--duration", str(max(round(seconds), 1)), "--rate", str(_RATE_HZ)]
    command += ["--threads", "--full-filenames", "--nolineno"] if form == "raw" else ["--threads"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"py-spy cannot look into the server (it may need root, or ptrace allowed):\n{done.stderr}")
    return to


def _section(subject: str, seen: Found, lines: Sequence[str], used_s: dict[int, float]) -> Section:
    per_run_ms: float = seen["server_cpu_ms_per_run"]
    floors, spots = defaultdict[str, float](float), defaultdict[str, float](float)
    threads = defaultdict[tuple[str, bool], float](float)
    samples = _samples(lines)
    of_thread = Counter[int]()
    for _, thread, count in samples:
        of_thread[thread] += count
    # A thread that waits is often taken for one that works, so each weighs what the system says that it used.
    scale = per_run_ms / sum(used_s.values())
    for frames, thread, count in samples:
        spent_ms = scale * used_s.get(thread, 0.0) * count / of_thread[thread]
        floor = _floor(frames)
        floors[floor] += spent_ms
        threads[floor, "MainThread" in frames[0]] += spent_ms
        spots[_spot(frames)] += spent_ms

    rows: list[Row] = [
        {
            "floor": floor,
            "CPU/run, ms": round(spent_ms, 3),
            "share, %": round(100 * spent_ms / per_run_ms, 1),
            "on the loop": round(threads[floor, True], 3),
            "on other threads": round(threads[floor, False], 3),
        }
        for floor, spent_ms in _largest(floors)
    ]
    hottest = ", ".join(f"`{spot}` {shown(spent_ms)}" for spot, spent_ms in _largest(spots)[:_SPOTS])
    return Section(
        title=f"Where a run's processor time goes: {subject}",
        about=f"{_USERS} users, bursts over WebSocket, {seen['runs_per_s']:.0f} runs/s and {per_run_ms:.2f} ms of CPU a run "
        f"while py-spy looked {_RATE_HZ} times a second ({of_thread.total()} samples). A floor's figure holds the libraries "
        f"that it calls. The functions in which most was spent, in ms per run: {hottest}.",
        rows=rows,
        rounds=[
            seen,
            {"machine": machine(), "spots": {spot: round(spent_ms, 4) for spot, spent_ms in _largest(spots)[:60]}},
        ],
    )


def _largest(spent: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(spent.items(), key=lambda item: item[1], reverse=True)


def _samples(lines: Sequence[str]) -> list[tuple[list[str], int, int]]:
    """Stacks from the outside in, the thread that had each, and how often it was seen."""
    found: list[tuple[list[str], int, int]] = []
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        thread = _THREAD.search(frames[0])
        assert thread is not None, "py-spy was asked to name the threads"
        found.append((frames, int(thread["number"]), int(count)))
    return found


def _floor(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        if found := _FLOOR.search(frame):
            return found["floor"]
    for frame in reversed(frames):
        if found := _LIBRARY.search(frame):
            return f"({found['library']})"
    return "(python)"


def _spot(frames: Sequence[str]) -> str:
    """The innermost function, with its module."""
    found = _FRAME.match(frames[-1])
    if found is None:
        return frames[-1]
    parts = Path(found["file"]).with_suffix("").parts
    return f"{'.'.join(parts[-2:])}.{found['name']}"


if __name__ == "__main__":
    sys.exit(main())
