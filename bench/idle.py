"""Idle connections: what an authenticated socket that follows a thread weighs, and what it costs while it rests."""

from __future__ import annotations

from pathlib import Path

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target
from bench.servers import Server, bare_server, cloche_server, generate

_WARM_UP = 10
_CPU_AT, _MEMORY_AT = 1000, 5000


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """Each connection is another user's, with a thread of its own."""
    people = _WARM_UP + max(plan.connections)
    rounds: list[Found] = []
    for make in (
        lambda: bare_server(folder / "bare", people),
        lambda: cloche_server("function", folder / "function", people=people, threads=1),
    ):
        with make() as server:
            say(f"{max(plan.connections)} idle connections: {server.name}")
            rounds += [{"subject": server.name, **step} for step in _rest(plan, server)["steps"]]
    return Section(
        title="Idle connections",
        about="KiB is what the server's resident memory has grown by, over the connections; the kernel's buffers are not in "
        "it. CPU at rest is in % of a core over a time in which each connection is pinged once. Connects are 50 at a "
        "time, from the request to the followed thread; the generator's cores are those while it connects.",
        rows=[_row(one) for one in rounds],
        targets=_targets([one for one in rounds if one["subject"] == "function"]),
        rounds=rounds,
    )


def _rest(plan: Plan, server: Server) -> Found:
    is_bare = server.name == "bare"
    return generate(
        "idle_load",
        server,
        prefix="/paced" if is_bare else "",
        bare=is_bare,
        counts=",".join(str(count) for count in plan.connections),
        seconds=0.5 if plan.quick else 20,
    )


def _row(found: Found) -> Row:
    return {
        "connections": float(found["connections"]),
        "subject": found["subject"],
        "KiB each": found["kib_per_connection"],
        "CPU at rest, %": 100 * found["server_cpu"],
        "connects/s": found["connects_per_s"],
        "CPU/connect, ms": found["cpu_ms_per_connect"],
        "generator": found["connecting_load_cpu"],
    }


def _targets(own: list[Found]) -> list[Target]:
    targets: list[Target] = []
    for one in own:
        if one["connections"] == _CPU_AT:
            found = 100 * one["server_cpu"]
            targets.append(Target(what="% of a core with 1,000 at rest", found=found, wanted=1, at_most=True))
        if one["connections"] == _MEMORY_AT:
            found = one["kib_per_connection"]
            targets.append(Target(what="KiB per connection at 5,000", found=found, wanted=40, at_most=True))
    return targets
