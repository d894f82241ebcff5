"""Schedules: the core of the server under a hundred thousand orders of what happens, each replayed by its seed.

The real log, hub, intake, executor, worker, journal, cancellation, decisions and recovery run over real SQLite in one
thread, on a loop that draws which callback is next, how long the disk takes and whether it answers, who hangs up, and when
the process is killed, or frozen while another takes over and thawed afterwards. At the end every promise is checked.

``python -m chaos schedules --seed 4711 --schedules 1`` plays one schedule again; ``--plant NAME`` breaks the core first.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import cache

from chaos.report import Findings, arguments, finish
from chaos.schedule_plants import PLANTS, planted
from chaos.simulated_schedule import Outcome, play
from chaos.simulated_store import SimulatedDisk

DEFAULTS = {"schedules": 100_000, "workers": 2}
QUICK = {"schedules": 300, "workers": 1}
CHUNK = 200


def run(
    *, seed: int = 1, schedules: int, workers: int = 1, plant: str | None = None, until_found: bool = False
) -> Findings:
    """Play so many schedules, from that seed on; with ``until_found``, none after the first that breaks a promise."""
    started = time.perf_counter()
    findings = Findings(harness="schedules" if plant is None else f"schedules, with {plant} planted")
    played = runs = events = steps = deaths = swept = 0
    orders: set[str] = set()
    for outcome in _outcomes(seed, schedules, workers, plant):
        played += 1
        runs += outcome.runs
        events += outcome.events
        steps += outcome.steps
        deaths += outcome.deaths
        swept += outcome.swept > 0
        orders.add(outcome.order)
        findings.violations += [f"seed {outcome.seed}: {violation}" for violation in outcome.violations]
        if outcome.violations and until_found:
            break
    seconds = time.perf_counter() - started
    findings.figures = {
        "schedules": played,
        "first seed": seed,
        "distinct": len(orders),
        "callbacks": steps,
        "runs": runs,
        "events": events,
        "processes killed or frozen": deaths,
        "schedules that ended by a sweep": swept,
        "seconds": round(seconds, 1),
        "schedules/s": round(played / seconds, 1),
    }
    return findings


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--plant", choices=tuple(PLANTS))
    own, others = parser.parse_known_args(argv)
    options = arguments("schedules", DEFAULTS, QUICK, others)
    findings = run(
        seed=options.seed,
        schedules=options.schedules,
        workers=options.workers if options.schedules > CHUNK else 1,
        plant=own.plant,
        until_found=own.plant is not None,
    )
    return finish(findings, options.json)


def _outcomes(seed: int, schedules: int, workers: int, plant: str | None) -> Generator[Outcome]:
    seeds = range(seed, seed + schedules)
    if workers < 2:
        with planted(plant), _without_collections():
            yield from _played(seeds)
        return
    chunks = [(seeds[start : start + CHUNK], plant) for start in range(0, schedules, CHUNK)]
    with multiprocessing.get_context("fork").Pool(workers, initializer=_begin_worker) as pool:
        for outcomes in pool.imap_unordered(_play_chunk, chunks):
            yield from outcomes


def _play_chunk(chunk: tuple[Iterable[int], str | None]) -> list[Outcome]:
    seeds, plant = chunk
    with planted(plant):
        return list(_played(seeds))


def _played(seeds: Iterable[int]) -> Generator[Outcome]:
    for number, seed in enumerate(seeds):
        yield play(seed, _disk())
        if number % 50 == 49:
            gc.collect()


@cache
def _disk() -> SimulatedDisk:
    return SimulatedDisk()


def _begin_worker() -> None:
    os.nice(10)
    gc.freeze()
    gc.disable()


@contextmanager
def _without_collections() -> Generator[None]:
    """What a schedule leaves behind is collected between schedules."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
