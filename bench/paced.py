"""Paced streams: many messages at once, each a token every 20 ms, with real gaps."""

from __future__ import annotations

from pathlib import Path

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target, middle, spread
from bench.servers import Server, bare_server, cloche_server, generate

_GAP_MS = 20
_JOINED = 4
_SHARES = ("p50", "p99")
_WANTED_STREAMS, _WANTED_P99_MS = 1000, 100


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """Durable streams beside the bare server's, which says the same tokens at the same pace."""
    most = max(plan.streams)
    # A thread's log is followed from its beginning, so each measurement has people of its own.
    people = sum(plan.streams) + most
    rounds: list[Found] = []
    with (
        bare_server(folder / "bare", people) as bare,
        cloche_server("function", folder / "function", people=people, threads=1, concurrency=2 * most) as ours,
    ):
        for streams in plan.streams:
            for server in (bare, ours):
                say(f"{streams} streams: {server.name}")
                rounds.append({"subject": server.name, **_streams(plan, server, streams)})
                server.pass_over(streams)
        say(f"{most} streams: calibration")
        rounds.append({"subject": f"bare, {_JOINED} tokens a frame", **_streams(plan, bare, most, joined=_JOINED)})
    return Section(
        title="Paced streams: a token each 20 ms in every stream",
        about="Times are p50 · p99 in ms. due → client begins at the moment at which the pace wants the token, so it holds "
        "every delay there is, also the 30 ms for which deltas are joined; at → client begins at the event's `at`, which "
        "is set just before the commit and holds whole milliseconds, so it is the commit's time as well and up to 1 ms "
        "too long. deltas/token is how many events of the log the tokens became. lost and doubled count tokens and "
        "numbers of the log. The last row is the calibration: the same generator takes that many more tokens.",
        rows=[_row(one) for one in rounds],
        targets=_targets(rounds),
        rounds=rounds,
    )


def _streams(plan: Plan, server: Server, streams: int, joined: int = 1) -> Found:
    is_bare = server.name == "bare"
    return generate(
        "streams_load",
        server,
        prefix="/paced" if is_bare else "",
        bare=is_bare,
        streams=streams,
        count=60 if plan.quick else 600,
        gap_ms=_GAP_MS,
        ramp_s=0.2 if plan.quick else max(1.0, streams / 400),
        joined=joined,
    )


def _row(found: Found) -> Row:
    return {
        "streams": float(found["streams"]),
        "subject": found["subject"],
        "tokens/s": found["tokens_per_s"],
        "due → client": spread([found], "due_to_client_ms", _SHARES),
        "at → client": spread([found], "commit_to_client_ms", _SHARES),
        "deltas/token": found["deltas_per_token"],
        "lost": float(found["lost"]),
        "doubled": float(found["doubled"]),
        "cores": found["server_cpu"],
        "loop": found["server_loop_cpu"],
        "generator": found["load_cpu"],
    }


def _targets(rounds: list[Found]) -> list[Target]:
    ours = [one for one in rounds if one["subject"] == "function"]
    lost = sum(one["lost"] + one["doubled"] for one in ours)
    targets = [Target(what="tokens lost or doubled", found=lost, wanted=0, at_most=True)]
    for one in ours:
        if one["streams"] == _WANTED_STREAMS:
            found = middle([one], "due_to_client_ms", "p99")
            targets.append(
                Target(what="due → client p99 in ms, 1,000 streams", found=found, wanted=_WANTED_P99_MS, at_most=True)
            )
    return targets
