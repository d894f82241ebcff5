"""Fan-out: one thread that speaks, and many sockets of its user that follow it."""

from __future__ import annotations

from pathlib import Path

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target, middle, spread
from bench.servers import Server, bare_server, cloche_server, generate

_GAP_MS = 100
_SHARES = ("p50", "p95", "p99")


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """An event each 100 ms to everybody, in turn with the bare server."""
    rounds: list[Found] = []
    with (
        bare_server(folder / "bare", 1) as bare,
        cloche_server("function", folder / "function", people=plan.rounds, threads=1) as ours,
    ):
        for number in range(plan.rounds):
            for server in (bare, ours):
                say(f"{plan.subscribers} subscribers, round {number + 1}: {server.name}")
                rounds.append({"subject": server.name, "round": number, **_listen(plan, server)})
            ours.pass_over(1)
    own = [one for one in rounds if one["subject"] == "function"]
    return Section(
        title=f"Fan-out: one publisher, {plan.subscribers} subscribers of one thread",
        about="Times are p50 · p95 · p99 in ms. at → client begins at the event's `at`, which is set just before the commit "
        "and holds whole milliseconds: it is the time of the commit as well, and up to 1 ms too long. first → client "
        "begins when the first of the subscribers had read the event: what the fan-out alone costs. One process reads "
        "for all of them; the bare row holds the same generator's share.",
        rows=[_row([one for one in rounds if one["subject"] == name]) for name in ("bare", "function")],
        targets=[
            Target(
                what=f"at → client {share} in ms",
                found=middle(own, "commit_to_client_ms", share),
                wanted=wanted,
                at_most=True,
            )
            for share, wanted in (("p50", 5), ("p99", 25))
        ],
        rounds=rounds,
    )


def _listen(plan: Plan, server: Server) -> Found:
    is_bare = server.name == "bare"
    return generate(
        "streams_load",
        server,
        prefix="/paced" if is_bare else "",
        bare=is_bare,
        streams=1,
        sockets=plan.subscribers,
        count=15 if plan.quick else 100,
        gap_ms=_GAP_MS,
    )


def _row(own: list[Found]) -> Row:
    return {
        "subject": own[0]["subject"],
        "subscribers": float(own[0]["sockets"]),
        "events/s to clients": middle(own, "tokens_per_s"),
        "at → client": spread(own, "commit_to_client_ms", _SHARES),
        "first → client": spread(own, "first_to_client_ms", _SHARES),
        "lost": float(sum(one["lost"] for one in own)),
        "cores": middle(own, "server_cpu"),
        "generator": middle(own, "load_cpu"),
    }
