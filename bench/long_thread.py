"""The 500th run on a thread against the first."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target, middle
from bench.servers import cloche_server, generate

_WANTED = 1.1


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """Blocks of runs on a thread of 490 and more, in turn with as many first runs, each on an empty thread."""
    runs, block, blocks = (20, 3, 2) if plan.quick else (490, 10, 6)
    rounds: list[Found] = []
    for name, agent in (("function", "bench.agents:burst"), ("pydantic-ai", "bench.model_agent:burst")):
        threads = 2 + block * blocks
        with cloche_server(name, folder / name, agent=agent, people=1, threads=threads) as server:
            say(f"a thread of {runs} runs: {name}")
            seen = generate("thread_load", server, runs=runs, block=block, blocks=blocks)
            rounds.append({"subject": name, **seen})
    return Section(
        title=f"Run {runs} on a thread against the first",
        about="CPU is the server's in ms per run; × is the median over the blocks of one block over the one beside it. The "
        "pydantic-ai agent reads the thread's last 40 messages each time, the function agent reads none.",
        rows=[_row(one) for one in rounds],
        targets=[
            Target(
                what=f"CPU of a late run ÷ a first one, {one['subject']}",
                found=_cost(one),
                wanted=_WANTED,
                at_most=True,
            )
            for one in rounds
        ],
        rounds=rounds,
    )


def _cost(found: Found) -> float:
    pairs = zip(found["late"], found["first"], strict=True)
    return round(median(late["cpu_ms_per_run"] / first["cpu_ms_per_run"] for late, first in pairs), 3)


def _row(found: Found) -> Row:
    return {
        "subject": found["subject"],
        "runs before": float(found["runs_before"]),
        "first: CPU/run": middle(found["first"], "cpu_ms_per_run"),
        "late: CPU/run": middle(found["late"], "cpu_ms_per_run"),
        "× CPU": _cost(found),
        "first: run p50": middle(found["first"], "run_ms", "p50"),
        "late: run p50": middle(found["late"], "run_ms", "p50"),
        "generator": middle(found["late"], "load_cpu"),
    }
