"""Clients that are cut off at random bytes while runs stream, and come back with their position, again and again.

Every client must see each event of its thread once, in order and as it stands in the log, whatever was cut.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from chaos.clients import (
    EventStream,
    Follower,
    SocketStream,
    Stream,
    Trail,
    connect,
    random_cut,
)
from chaos.report import Findings, arguments, finish
from chaos.server import Person, Server, open_many_files

_STREAM_S = 0.6
"""A connection that its cut does not reach is dropped after this long at most."""
_AWAY_S = 0.3
_LAST_S = 240.0
_BACKWARDS = 0.04
_SAID = "0 30 100 40"
_LONGER = 10
"""How many times the usual history the first thread has."""


@dataclass(slots=True)
class Tally:
    """What all clients did."""

    resumes: int = 0
    cuts: int = 0
    early_cuts: int = 0
    cuts_in_frames: int = 0
    refused: list[str] = field(default_factory=list[str])


class Speaker:
    """Keeps runs streaming on one thread, one after the other, and follows it without ever being cut."""

    def __init__(self, server: Server, person: Person, trail: Trail, history: int) -> None:
        self.follower = Follower(f"speaker of {trail.thread_id}", person, trail)
        self.follower.on_event = self._look
        self.is_stopping = False
        self.runs = 0
        self.quiet: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._server = server
        self._stream = SocketStream(self.follower)
        self._history = history
        self._has_history: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        if not (await connect(self._server, self._stream) and await self._stream.opened):
            raise RuntimeError(f"{self.follower.name} cannot follow: {await self._stream.ended}")
        self._say(f"{self._history} 1 0 1")
        async with asyncio.timeout(_LAST_S):
            await self._has_history

    def stop(self) -> None:
        self._stream.drop()

    def _look(self, seq: int, body: bytes) -> None:
        if b'"type":"agent_completed"' in body:
            if not self._has_history.done():
                self._has_history.set_result(None)
            if self.is_stopping:
                self.quiet.set_result(None)
            else:
                self._say(_SAID)

    def _say(self, text: str) -> None:
        self.runs += 1
        thread_id = self.follower.person.thread_id
        self._stream.say(op="send", ref=1, thread_id=thread_id, text=text, client_message_id=f"m{self.runs}")


async def _live(
    server: Server, follower: Follower, kind: type[Stream], cuts: int, chance: random.Random, tally: Tally
) -> None:
    """One client's life: it is cut off until it has come back ``cuts`` times to a stream that began."""
    while follower.openings <= cuts:
        began = follower.openings
        cut = random_cut(chance)
        stream = kind(follower, cut)
        if await connect(server, stream):
            await asyncio.wait({stream.opened}, timeout=30)
            await asyncio.wait({stream.ended}, timeout=chance.random() * _STREAM_S)
            stream.drop()
            ending = await stream.ended
            if ending.status or ending.reason:
                tally.refused.append(f"{follower.name}: {ending}")
        tally.cuts += 1
        tally.early_cuts += follower.openings == began
        tally.cuts_in_frames += stream.was_in_frame
        tally.resumes += began > 0 and follower.openings > began
        if chance.random() < _BACKWARDS:
            # A client may also come back with an older position, as one that did not get to keep its last one.
            follower.position = chance.randrange(follower.position + 1)
        await asyncio.sleep(chance.random() * _AWAY_S)


async def _finish(server: Server, follower: Follower, kind: type[Stream], head: int) -> None:
    """The client comes back a last time and stays until it has seen everything."""
    stream = kind(follower)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(seq: int, body: bytes) -> None:
        if seq >= head and not done.done():
            done.set_result(None)

    follower.on_event = look
    await connect(server, stream)
    if follower.position < head:
        await asyncio.wait({done, stream.ended}, timeout=_LAST_S, return_when=asyncio.FIRST_COMPLETED)
    else:
        await stream.opened
    stream.drop()
    await stream.ended
    if follower.position != head:
        follower.violations.append(
            f"{follower.name} never saw the events after {follower.position}; the head is {head}"
        )


async def _measure(server: Server, *, clients: int, cuts: int, history: int, seed: int) -> Findings:
    trails = [Trail(person.thread_id) for person in server.people]
    speakers = [
        Speaker(server, person, trail, history if number else _LONGER * history)
        for number, (person, trail) in enumerate(zip(server.people, trails, strict=True))
    ]
    followers: list[tuple[Follower, type[Stream]]] = []
    for number in range(clients):
        person, trail = server.people[number % len(trails)], trails[number % len(trails)]
        kind = EventStream if number // len(trails) % 2 else SocketStream
        followers.append((Follower(f"{kind.__name__} {number}", person, trail), kind))

    async with asyncio.TaskGroup() as group:
        for speaker in speakers:
            group.create_task(speaker.start())
    tally, started = Tally(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, (follower, kind) in enumerate(followers):
            chance = random.Random(f"{seed} {number}")
            group.create_task(_live(server, follower, kind, cuts, chance, tally))
    seconds = time.perf_counter() - started
    for speaker in speakers:
        speaker.is_stopping = True
    async with asyncio.timeout(_LAST_S):
        await asyncio.gather(*(speaker.quiet for speaker in speakers))

    logs = server.read_logs()
    async with asyncio.TaskGroup() as group:
        for follower, kind in followers:
            group.create_task(_finish(server, follower, kind, logs[follower.person.thread_id][-1][0]))
    for speaker in speakers:
        speaker.stop()
    findings = Findings(harness="resumes")
    everybody = [*(follower for follower, _ in followers), *(speaker.follower for speaker in speakers)]
    for follower in everybody:
        findings.violations += follower.violations
    for trail in trails:
        findings.violations += trail.compare(logs[trail.thread_id])
    findings.violations += tally.refused
    findings.figures |= {
        "clients": clients,
        "resumes": tally.resumes,
        "cuts": tally.cuts,
        "cuts_before_the_opening": tally.early_cuts,
        "cuts_inside_a_frame": tally.cuts_in_frames,
        "runs": sum(speaker.runs for speaker in speakers),
        "events_in_the_logs": sum(map(len, logs.values())),
        "events_received": sum(follower.events for follower in everybody),
        "longest_replay": max(follower.longest_replay for follower in everybody),
        "resumes_per_s": round(tally.resumes / seconds, 1),
        "seconds": round(seconds, 1),
    }
    return findings


def run(folder: Path, *, clients: int, cuts: int, threads: int, history: int, seed: int) -> Findings:
    """What ``clients`` saw that were cut off ``cuts`` times each, half of them WebSockets, half event streams.

    Each thread has ``history`` events, and a few more, before the first client comes.
    """
    open_many_files()
    with Server(folder, people=threads) as server:
        return uvloop.run(_measure(server, clients=clients, cuts=cuts, history=history, seed=seed))


def main(argv: list[str]) -> int:
    options = arguments(
        "resumes",
        {"clients": 1_000, "cuts": 20, "threads": 20, "history": 400},
        {"clients": 40, "cuts": 5, "threads": 2, "history": 100},
        argv,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            Path(folder),
            clients=options.clients,
            cuts=options.cuts,
            threads=options.threads,
            history=options.history,
            seed=options.seed,
        )
    return finish(found, options.json)
