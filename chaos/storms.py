"""Every client at once: the server is killed while all are subscribed, and all come back as soon as it is there again.

Each client is a user with a thread of their own; on some of the threads runs stream when the server dies. A client comes
back by the rules of our own one: it waits twice as long after each failure, and never exactly as long as another.

A query is a read transaction of the server's database, as ``chaos.counted`` counts it: two for a client (may it still come
in, and where does its log stand), and one more for a client that has missed something. What the server asks of itself in the
meantime is counted when nobody comes, and taken off.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from chaos.clients import Follower, SocketStream, Trail, connect
from chaos.report import Findings, arguments, finish
from chaos.server import Server, open_many_files
from cloche.cli.returning import wait_s

SEND_TIMEOUT_S = 10.0
BACK_S = 25.0
QUERIES = 2
_ATTEMPT_S = 10.0
_LAST_S = 60.0
_AT_ONCE = 200
"""Connections that are made at the same time before the storm, and runs that are asked for after it."""
_STREAMED = "0 40 50 16"
_SAID = "0 1 0 16"
_SETTLE_S = 1.0
_SLACK = 20
"""Queries at a start, and by the one who reads the figures."""


class Client:
    """One client: its present connection, and when it was back."""

    def __init__(self, server: Server, follower: Follower, chance: random.Random) -> None:
        self.follower = follower
        self.stream = SocketStream(follower)
        self.back_s = 0.0
        self.attempts = 0
        self._server = server
        self._chance = chance

    async def join(self) -> None:
        if not (await connect(self._server, self.stream) and await self.stream.opened):
            raise RuntimeError(f"{self.follower.name} cannot follow: {await self.stream.ended}")

    async def come_back(self, since: float) -> None:
        """The connection has ended; the client tries until it is told that it has missed nothing, and has read that."""
        await self.stream.ended
        while not self.back_s and time.perf_counter() - since < _LAST_S:
            self.attempts += 1
            await asyncio.sleep(wait_s(self.attempts, self._chance.random()))
            self.stream = SocketStream(self.follower)
            try:
                async with asyncio.timeout(_ATTEMPT_S):
                    is_open = await connect(self._server, self.stream) and await self.stream.opened
            except TimeoutError:
                is_open = False
            if is_open and await self._has_caught_up():
                self.back_s = time.perf_counter() - since
            elif not self.stream.ended.done():
                self.stream.drop()

    async def _has_caught_up(self) -> bool:
        """Everything that the log had when the stream was opened was read."""
        while self.follower.position < self.follower.head:
            if self.stream.ended.done():
                return False
            await asyncio.sleep(0.01)
        return True

    def ask(self, text: str, name: str) -> None:
        thread_id = self.follower.person.thread_id
        self.stream.say(op="send", ref=1, thread_id=thread_id, text=text, client_message_id=name)

    async def hear(self, runs: int) -> None:
        """So many runs of the thread have ended."""
        while sum(b'"type":"agent_completed"' in body for body in self.follower.trail.bodies.values()) < runs:
            if self.stream.ended.done():
                raise RuntimeError(f"{self.follower.name}: {self.stream.ended.result()}")
            await asyncio.sleep(0.05)


async def _in_parts(clients: Sequence[Client], *, text: str, name: str, runs: int) -> None:
    """Each client asks for a run and hears its end; not all at once."""
    for start in range(0, len(clients), _AT_ONCE):
        some = clients[start : start + _AT_ONCE]
        for client in some:
            client.ask(text, name)
        async with asyncio.timeout(_LAST_S):
            await asyncio.gather(*(client.hear(runs) for client in some))


async def _measure(server: Server, *, clients: int, streaming: int, seed: int) -> Findings:
    findings = Findings(harness="storms")
    everybody: list[Client] = []
    for number, person in enumerate(server.people):
        follower = Follower(f"client {number}", person, Trail(person.thread_id))
        everybody.append(Client(server, follower, random.Random(f"{seed} {number}")))
    for start in range(0, clients, _AT_ONCE):
        await asyncio.gather(*(client.join() for client in everybody[start : start + _AT_ONCE]))
    await _in_parts(everybody, text=_SAID, name="before", runs=1)
    busy, idle = everybody[:streaming], everybody[streaming:]
    for client in busy:
        client.ask(_STREAMED, "during")
    await asyncio.sleep(_SETTLE_S)
    under_way = sum(client.follower.position > client.follower.head + 9 for client in busy)

    killed = time.perf_counter()
    returning = [asyncio.ensure_future(client.come_back(killed)) for client in everybody]
    server.kill()
    await asyncio.to_thread(server.start)
    started_s = time.perf_counter() - killed
    await asyncio.gather(*returning)
    figures = await server.figures()
    storm_s = time.perf_counter() - killed - started_s
    await asyncio.sleep(_SETTLE_S)
    looked = await server.figures()
    own_reads = _reads(looked) - _reads(figures)
    own_reads *= storm_s / (time.perf_counter() - killed - started_s - storm_s)

    back = sorted(client.back_s for client in everybody if client.back_s)
    findings.violations += [f"{client.follower.name} never came back" for client in everybody if not client.back_s]
    if back and not findings.violations:
        async with asyncio.timeout(_LAST_S):
            await asyncio.gather(*(client.hear(2) for client in busy))
        await _in_parts(idle[:_AT_ONCE], text=_SAID, name="after", runs=2)
    logs = server.read_logs()
    for client in everybody:
        follower = client.follower
        findings.violations += follower.violations
        findings.violations += follower.trail.compare(logs[follower.person.thread_id])
        client.stream.drop()
    missed = sum(client.follower.longest_replay > 0 for client in everybody)
    reads = _reads(figures) - own_reads
    findings.figures |= {
        "clients": clients,
        "runs_streaming_at_the_kill": under_way,
        "server_ready_after_s": round(started_s, 2),
        "back_p50_s": round(back[len(back) // 2], 2) if back else None,
        "back_p99_s": round(back[int(0.99 * len(back))], 2) if back else None,
        "all_back_s": round(back[-1], 2) if back else None,
        "attempts_per_client": round(sum(client.attempts for client in everybody) / clients, 2),
        "clients_that_missed_events": missed,
        "queries_per_client": round(reads / clients, 3),
        "queries_of_the_server_itself": round(own_reads),
        "statements_per_client_of_all": round(figures["cloche_storage_statements_total"] / clients, 2),
        "loop_lag_max_ms": round(1000 * figures["cloche_loop_lag_max_seconds"], 1),
    }
    if back and back[-1] > BACK_S:
        findings.violations.append(f"the last client was back after {back[-1]:.1f} s; the limit is {BACK_S} s")
    if reads > QUERIES * clients + missed + _SLACK:
        findings.violations.append(f"{reads / clients:.3f} queries a client; the limit is {QUERIES}")
    return findings


def _reads(figures: Mapping[str, float]) -> float:
    return figures["cloche_storage_reads_total"]


def run(folder: Path, *, clients: int, streaming: int, seed: int) -> Findings:
    """What happens to ``clients``, of whom ``streaming`` have a run under way, when the server is killed."""
    open_many_files()
    with Server(folder, people=clients, send_timeout_s=SEND_TIMEOUT_S) as server:
        return uvloop.run(_measure(server, clients=clients, streaming=streaming, seed=seed))


def main(argv: list[str]) -> int:
    options = arguments(
        "storms",
        {"clients": 0, "streaming": 50},
        {"clients": 100, "streaming": 10},
        argv,
    )
    worst = 0
    for clients in (options.clients,) if options.clients else (1_000, 5_000):
        with tempfile.TemporaryDirectory() as folder:
            found = run(Path(folder), clients=clients, streaming=options.streaming, seed=options.seed)
        to = options.json and options.json.with_stem(f"{options.json.stem}-{clients}")
        worst = max(worst, finish(found, to))
    return worst
