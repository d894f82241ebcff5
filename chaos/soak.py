"""Many runs and many connections, one after the other: the server stays as large as it was, and nothing of them is left.

Each user comes in, follows their thread from its end, has one run, and leaves; half of them without a word.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from chaos.clients import Follower, SocketStream, Trail, connect, until
from chaos.report import Findings, arguments, finish
from chaos.server import Person, Server, open_many_files

SLOPE_MB = 1.0
"""For each thousand runs, once the first part of them is over."""
LAG_MS = 50.0
_WARM = 0.3
_RUN_S = 60.0
_LAST_S = 30.0
_LOOKS = 40
_ASKED = "What is 6 * 7?"


@dataclass(slots=True)
class Course:
    """How far everybody is, and what the server's memory was at which run."""

    name: str
    wanted: int
    begun: int = 0
    done: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def take(self) -> int | None:
        """The number of the next run; None when there were enough."""
        if self.begun == self.wanted:
            return None
        self.begun += 1
        return self.begun

    def look(self, server: Server) -> None:
        """One more run is done."""
        self.done += 1
        if self.done % max(self.wanted // _LOOKS, 1) == 0:
            self.memory.append((self.done, server.memory_mb))

    def slope_mb(self) -> float:
        """The memory's growth for each thousand runs after the warm-up: the line with the least squares."""
        kept = [(runs / 1000, mb) for runs, mb in self.memory if runs >= _WARM * self.wanted]
        mean_x = sum(x for x, _ in kept) / len(kept)
        mean_y = sum(y for _, y in kept) / len(kept)
        return sum((x - mean_x) * (y - mean_y) for x, y in kept) / sum((x - mean_x) ** 2 for x, _ in kept)


async def _visit(server: Server, follower: Follower, name: str, *, leaves: bool) -> None:
    """One connection with one run, whose message has that name."""
    stream = SocketStream(follower)
    done = asyncio.Event()

    def look(seq: int, body: bytes) -> None:
        if b'"type":"agent_completed"' in body:
            done.set()

    follower.on_event = look
    if not (await connect(server, stream) and await stream.opened):
        raise RuntimeError(f"{follower.name} was not let in: {await stream.ended}")
    thread_id = follower.person.thread_id
    stream.say(op="send", ref=1, thread_id=thread_id, text=_ASKED, agent="burst", client_message_id=name)
    async with asyncio.timeout(_RUN_S):
        await done.wait()
    follower.trail.bodies.clear()
    if leaves:
        stream.leave()
    else:
        stream.drop()
    await stream.ended


async def _stay(server: Server, person: Person, course: Course) -> list[str]:
    follower = Follower(f"user of {person.thread_id}", person, Trail(person.thread_id))
    while (number := course.take()) is not None:
        await _visit(server, follower, f"{course.name} {number}", leaves=number % 2 == 0)
        course.look(server)
    return [*follower.violations, *follower.trail.violations]


async def _measure(server: Server, *, runs: int) -> Findings:
    findings, course = Findings(harness="soak"), Course("soak", wanted=runs)
    # The first visit opens what stays open: readers of the database, threads, modules.
    warm = Course("warm-up", wanted=len(server.people) * 2)
    await asyncio.gather(*(_stay(server, person, warm) for person in server.people))
    await asyncio.sleep(1)
    files, threads, memory_mb = server.descriptors, server.threads, server.memory_mb
    at_first = await server.figures()

    started = time.perf_counter()
    for violations in await asyncio.gather(*(_stay(server, person, course) for person in server.people)):
        findings.violations += violations
    seconds = time.perf_counter() - started
    await until(lambda: server.descriptors <= files, _LAST_S)
    await asyncio.sleep(1)

    figures = await server.figures()
    slope_mb, lag_ms = course.slope_mb(), 1000 * figures["cloche_loop_lag_max_seconds"]
    opened = "cloche_connections_opened_total"
    findings.figures |= {
        "runs": course.done,
        "connections": round(figures[opened] - at_first[opened]),
        "runs_per_s": round(course.done / seconds, 1),
        "memory_before_mb": memory_mb,
        "memory_after_mb": server.memory_mb,
        "memory_by_runs_mb": dict(course.memory[:: max(len(course.memory) // 10, 1)]),
        "slope_mb_per_1000_runs": round(slope_mb, 3),
        "slope_mb_over_all_runs": round(slope_mb * runs / 1000, 2),
        "descriptors": (files, server.descriptors),
        "threads": (threads, server.threads),
        "connections_open": round(figures["cloche_connections_open"]),
        "runs_working": round(figures["cloche_runs_working"]),
        "loop_lag_max_ms": round(lag_ms, 1),
    }
    if "cloche_tasks" in figures:
        findings.figures["tasks"] = (round(at_first["cloche_tasks"]), round(figures["cloche_tasks"]))
    if slope_mb > SLOPE_MB:
        findings.violations.append(f"memory grows by {slope_mb:.2f} MB for each thousand runs; the limit is {SLOPE_MB}")
    for name, before, after in (
        ("descriptors", files, server.descriptors),
        ("threads", threads, server.threads),
        ("connections", 0, figures["cloche_connections_open"]),
        ("runs", 0, figures["cloche_runs_working"]),
        ("tasks", at_first.get("cloche_tasks", 0), figures.get("cloche_tasks", 0)),
    ):
        if after > before:
            findings.violations.append(f"{after - before} {name} are left over")
    if lag_ms > LAG_MS:
        findings.violations.append(f"the loop stood still for {lag_ms:.0f} ms; the limit is {LAG_MS} ms")
    return findings


def run(folder: Path, *, runs: int, users: int) -> Findings:
    """What is left of ``runs`` runs, each on a connection of its own, of so many users at a time."""
    open_many_files()
    with Server(folder, people=users) as server:
        return uvloop.run(_measure(server, runs=runs))


def main(argv: list[str]) -> int:
    options = arguments("soak", {"runs": 10_000, "users": 16}, {"runs": 400, "users": 8}, argv)
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), runs=options.runs, users=options.users)
    return finish(found, options.json)
