"""Bursts, over WebSocket and over event streams: runs as fast as N users can ask for them, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target, middle, spread
from bench.servers import Server, bare_server, cloche_server, generate

_FUNCTION, _MODEL = "bench.agents:burst", "bench.model_agent:burst"
_AIM_USERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something that is measured: a server, and where on it. ``agent`` is None for the bare one."""

    name: str
    server: str
    agent: str | None
    prefix: str = ""


BARE = Subject(name="bare", server="bare", agent=None)
JOINED = Subject(name="bare, joined", server="bare", agent=None, prefix="/joined")
FUNCTION = Subject(name="function", server="function", agent=_FUNCTION)
MODEL = Subject(name="pydantic-ai", server="pydantic-ai", agent=_MODEL)


def over_websocket(folder: Path, plan: Plan, say: Say) -> Section:
    """Runs over WebSocket, with a plain agent and with one of pydantic-ai."""
    found = _measure(folder, plan, (BARE, JOINED, FUNCTION, MODEL), "ws", say)
    return _section("Bursts over WebSocket", found, _targets(found["rounds"]) if _AIM_USERS in plan.users else [])


def _targets(rows: Sequence[Found]) -> list[Target]:
    return [
        Target(what="runs/s with a function agent, 16 users", found=_at_aim(rows, FUNCTION, "runs_per_s"), wanted=700),
        Target(what="the same, ÷ bare", found=_ratio(_of(rows, _AIM_USERS, FUNCTION), rows, BARE), wanted=0.5),
        Target(what="runs/s with a pydantic-ai agent, 16 users", found=_at_aim(rows, MODEL, "runs_per_s"), wanted=70),
        *(
            Target(
                what=f"first event {share} in ms, function agent, 16 users",
                found=_at_aim(rows, FUNCTION, "first_event_ms", share),
                wanted=wanted,
                at_most=True,
            )
            for share, wanted in (("p50", 10), ("p99", 50))
        ),
    ]


def over_event_streams(folder: Path, plan: Plan, say: Say) -> Section:
    """Runs over plain HTTP: POST for the message, server-sent events for what follows."""
    found = _measure(folder, plan, (BARE, JOINED, FUNCTION), "sse", say)
    return _section("Bursts over server-sent events", found, [])


def _measure(folder: Path, plan: Plan, subjects: Sequence[Subject], wire: str, say: Say) -> Found:
    rounds: list[Found] = []
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for subject in subjects:
            if subject.server not in servers:
                servers[subject.server] = stack.enter_context(_server(folder, subject, max(plan.users)))
        ready_mb = {name: server.memory_mb for name, server in servers.items()}
        for users in plan.users:
            for number in range(plan.rounds):
                for subject in subjects:
                    say(f"{users:>3} users, round {number + 1}: {subject.name}")
                    seen = generate(
                        "load",
                        servers[subject.server],
                        prefix=subject.prefix,
                        bare=subject.agent is None,
                        wire=wire,
                        users=users,
                        seconds=plan.seconds,
                    )
                    rounds.append({"subject": subject.name, "round": number, **seen})
        memory = [
            f"{name} {ready_mb[name]:.0f} MB when ready and {server.memory_mb:.0f} after"
            for name, server in servers.items()
        ]
    return {"rounds": rounds, "memory": "; ".join(memory)}


def _server(folder: Path, subject: Subject, people: int) -> Server:
    if subject.agent is None:
        return bare_server(folder / subject.server, people)
    return cloche_server(subject.server, folder / subject.server, agent=subject.agent, people=people)


def _section(title: str, found: Found, targets: Sequence[Target]) -> Section:
    rounds: list[Found] = found["rounds"]
    rows = [
        _row(rounds, users, subject)
        for users in dict.fromkeys(one["users"] for one in rounds)
        for subject in dict.fromkeys(one["subject"] for one in rounds)
    ]
    return Section(
        title=title,
        about="A run is one tool call and 50 deltas: 57 events at their source. Times are p50 · p95 · p99 in ms. CPU/run "
        "is the server's, in ms; cores are the server's, of these its event loop's, and the generator's. The generator "
        "is not the bottleneck: it leaves a part of its own core unused in every row, and the row `bare, joined` shows "
        f"how many runs/s the same one takes from a server with less to do. Memory: {found['memory']}.",
        rows=rows,
        targets=targets,
        rounds=rounds,
    )


def _row(rounds: Sequence[Found], users: int, subject: str) -> Row:
    own = [one for one in rounds if one["users"] == users and one["subject"] == subject]
    return {
        "users": float(users),
        "subject": subject,
        "runs/s": middle(own, "runs_per_s"),
        "÷ bare": _ratio(own, rounds, BARE),
        "÷ joined": _ratio(own, rounds, JOINED),
        "events/run": middle(own, "events_per_run"),
        "frames/run": middle(own, "frames_per_run"),
        "events/s": middle(own, "events_per_s"),
        "first event": spread(own, "first_event_ms"),
        "run": spread(own, "run_ms"),
        "CPU/run": middle(own, "server_cpu_ms_per_run"),
        "cores": middle(own, "server_cpu"),
        "loop": middle(own, "server_loop_cpu"),
        "generator": middle(own, "load_cpu"),
    }


def _ratio(own: Sequence[Found], rounds: Sequence[Found], other: Subject) -> float:
    """Within a round, because the machine is not the same from one minute to the next."""
    beside = {(one["users"], one["round"]): one["runs_per_s"] for one in rounds if one["subject"] == other.name}
    return mean(one["runs_per_s"] / beside[one["users"], one["round"]] for one in own)


def _of(rounds: Sequence[Found], users: int, subject: Subject) -> list[Found]:
    return [one for one in rounds if one["users"] == users and one["subject"] == subject.name]


def _at_aim(rounds: Sequence[Found], subject: Subject, *names: str) -> float:
    return middle(_of(rounds, _AIM_USERS, subject), *names)
