"""Clients that never read, while others get their events: each is given up in time, and nobody else notices.

What a healthy client waits for an event is counted from the moment that stands in it. A stuck client follows a thread whose
log is larger than every buffer on the way, and announces small segments, as clients do that are not on this machine.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import uvloop

from chaos.clients import EventStream, Follower, SocketStream, Stream, Trail, connect, until
from chaos.report import Findings, arguments, finish
from chaos.server import Server, open_many_files

SEND_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 10.0
_LATE_S = 1.5
"""What a busy machine may add to a time limit."""
_GONE_S = 20.0
_CLIENT_BYTES = 256 * 1024
_SLACK_MB = 16.0
_HEAP = "0 440 0 2200"
_HEAPS = 2
_STREAMED = "0 20000 33 16"
_RECEIVE_BYTES, _SEGMENT_BYTES = 4096, 1400
_SLOW = 4408
_LOOK_S = 0.1
_EARLY_S = 0.5
_AT = b'"at":"'


class Stuck:
    """A client that reads the answer to its request and nothing more, until it is woken."""

    def __init__(self, follower: Follower, kind: type[Stream]) -> None:
        self.follower = follower
        self.stream = kind(follower)
        self._transport: asyncio.Transport | None = None

    async def join(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        plug = socket.socket()
        plug.setblocking(False)
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        await loop.sock_connect(plug, (server.host, server.port))
        transport, _ = await loop.create_connection(lambda: self.stream, sock=plug)
        self._transport = cast("asyncio.Transport", transport)
        await asyncio.wait({self.stream.opened}, timeout=_GONE_S)
        self._transport.pause_reading()

    def wake(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    def violations(self) -> list[str]:
        """What is wrong with how the connection ended, as the client can see it who woke in time."""
        ending, name = self.stream.ended.result(), self.follower.name
        if ending.code != _SLOW:
            return [f"{name} woke in time and read {ending} after {self.follower.position}"]
        if json.loads(ending.reason) != {self.follower.person.thread_id: self.follower.position}:
            return [f"{name} stands at {self.follower.position} and was told {ending.reason}"]
        return []


class Waits:
    """How long healthy clients waited for their events, in seconds, by phase."""

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {}
        self.spans: dict[str, float] = {}
        self._began = time.perf_counter()
        self._now: list[float] = []

    def begin(self, phase: str) -> None:
        self._began, self._now = time.perf_counter(), self.phases.setdefault(phase, [])

    def end(self, phase: str) -> None:
        self.spans[phase] = time.perf_counter() - self._began

    def look(self, seq: int, body: bytes) -> None:
        start = body.index(_AT) + len(_AT)
        at = datetime.fromisoformat(body[start : body.index(b'"', start)].decode())
        self._now.append(time.time() - at.timestamp())

    def p99_ms(self, phase: str) -> float:
        ordered = sorted(self.phases[phase])
        return round(1000 * ordered[int(0.99 * len(ordered))], 2)

    def per_second(self, phase: str) -> float:
        return round(len(self.phases[phase]) / self.spans[phase])


async def _speak(server: Server, follower: Follower, texts: Sequence[str]) -> SocketStream:
    """Runs with these messages, all on their way, one after the other; followed by the one who asked."""
    stream = SocketStream(follower)
    if not (await connect(server, stream) and await stream.opened):
        raise RuntimeError(f"{follower.name} cannot follow: {await stream.ended}")
    for number, text in enumerate(texts):
        thread_id = follower.person.thread_id
        stream.say(op="send", ref=1, thread_id=thread_id, text=text, client_message_id=f"m{number}")
    return stream


async def _heap_up(server: Server, follower: Follower) -> None:
    """The thread's log is larger than all buffers between the server and a client."""
    left, done = _HEAPS, asyncio.Event()

    def look(seq: int, body: bytes) -> None:
        nonlocal left
        left -= b'"type":"agent_completed"' in body
        if not left:
            done.set()

    follower.on_event = look
    stream = await _speak(server, follower, [_HEAP] * _HEAPS)
    async with asyncio.timeout(_GONE_S):
        await done.wait()
    stream.drop()


async def _join(server: Server, heap: Trail, count: int, wakers: int) -> list[Stuck]:
    """So many clients that do not read, one after the other; the last ones are to wake, and are on WebSockets."""
    everybody: list[Stuck] = []
    for number in range(count):
        kind = EventStream if number < count - wakers and number % 10 == 9 else SocketStream
        everybody.append(Stuck(Follower(f"stuck {kind.__name__} {number}", server.people[1], heap), kind))
        await everybody[-1].join(server)
    return everybody


async def _once_more(server: Server, heap: Trail, count: int, timeout_s: float, files: int) -> float:
    """The resident memory after as many again have come, stuck, and been given up."""
    before = (await server.figures())["cloche_slow_consumers_total"]
    everybody = await _join(server, heap, count, 0)
    await _given_up(server, before + count, time.perf_counter(), timeout_s)
    await until(lambda: server.descriptors <= files + 2, _CLOSE_TIMEOUT_S + _GONE_S)
    for client in everybody:
        client.stream.drop()
    return server.memory_mb


async def _given_up(server: Server, wanted: float, since: float, timeout_s: float) -> float | None:
    """The seconds since then until the server had counted that many slow clients; asked only when it is nearly time."""
    await asyncio.sleep(since + timeout_s - _EARLY_S - time.perf_counter())
    while (await server.figures())["cloche_slow_consumers_total"] < wanted:
        if time.perf_counter() - since > timeout_s + _GONE_S:
            return None
        await asyncio.sleep(_LOOK_S)
    return time.perf_counter() - since


async def _measure(
    server: Server, *, stuck: int, healthy: int, wakers: int, seconds: float, timeout_s: float
) -> Findings:
    findings, waits, heap = Findings(harness="slow_readers"), Waits(), Trail(server.people[1].thread_id)
    await _heap_up(server, Follower("heap", server.people[1], heap))
    followers: list[Follower] = []
    streams: list[Stream] = []
    for person in server.people[2:]:
        trail = Trail(person.thread_id)
        followers.append(Follower(f"speaker of {person.thread_id}", person, trail))
        streams.append(await _speak(server, followers[-1], [_STREAMED]))
        for number in range(healthy):
            follower = Follower(f"healthy {number} of {person.thread_id}", person, trail)
            followers.append(follower)
            streams.append(SocketStream(follower))
            await connect(server, streams[-1])
    for follower in followers:
        follower.on_event = waits.look

    waits.begin("settling")
    await asyncio.sleep(min(seconds, 2.0))
    waits.begin("alone")
    await asyncio.sleep(seconds)
    waits.end("alone")
    before_mb, files = server.memory_mb, server.descriptors
    server.forget_peak()

    waits.begin("joining")
    joined = time.perf_counter()
    everybody = await _join(server, heap, stuck, wakers)
    waits.end("joining")
    joining_s = time.perf_counter() - joined
    waits.begin("beside")
    last = time.perf_counter()
    # Those who came last: the others have been given up for longer than anybody is waited for.
    awake = everybody[stuck - wakers :]
    given_up_s = await _given_up(server, stuck, last, timeout_s)
    for client in awake:
        client.wake()
    released_s = await until(lambda: server.descriptors <= files + 2, _CLOSE_TIMEOUT_S + _GONE_S)
    waits.end("beside")

    peak_mb, after_mb = server.peak_memory_mb, server.memory_mb
    left = server.descriptors - files
    waits.begin("once more")
    again_mb = await _once_more(server, heap, stuck, timeout_s, files)
    await asyncio.wait({client.stream.ended for client in awake}, timeout=1)
    for client in awake:
        if client.stream.ended.done():
            findings.violations += client.violations()
        else:
            findings.violations.append(f"{client.follower.name} woke in time and its connection did not end")
    for follower in [*followers, *(client.follower for client in everybody)]:
        findings.violations += follower.violations
    for stream in (*streams, *(client.stream for client in everybody)):
        stream.drop()
    findings.figures |= {
        "stuck": stuck,
        "of_them_event_streams": sum(isinstance(client.stream, EventStream) for client in everybody),
        "healthy": len(followers),
        "events_per_s": waits.per_second("alone"),
        "events_per_s_beside_stuck_ones": waits.per_second("beside"),
        "p99_ms": waits.p99_ms("alone"),
        "p99_ms_while_they_join": waits.p99_ms("joining"),
        "p99_ms_beside_stuck_ones": waits.p99_ms("beside"),
        "joining_s": round(joining_s, 1),
        "last_given_up_after_s": given_up_s and round(given_up_s, 2),
        "all_released_after_s": given_up_s and released_s and round(given_up_s + released_s, 2),
        "descriptors_left_over": left,
        "memory_before_mb": before_mb,
        "memory_peak_mb": peak_mb,
        "memory_after_mb": after_mb,
        "memory_after_as_many_again_mb": again_mb,
        "woken": wakers,
    }
    _judge(findings, stuck, timeout_s, given_up_s, released_s)
    return findings


def _judge(
    findings: Findings, stuck: int, timeout_s: float, given_up_s: float | None, released_s: float | None
) -> None:
    figures = {name: value for name, value in findings.figures.items() if isinstance(value, int | float)}
    found = findings.violations
    if given_up_s is None or given_up_s > timeout_s + _LATE_S:
        found.append(f"the last stuck client was given up after {given_up_s} s; the limit is {timeout_s} s")
    if released_s is None or released_s > _CLOSE_TIMEOUT_S + _LATE_S:
        found.append(f"{figures['descriptors_left_over']} sockets of clients that were given up are still open")
    grown_mb = figures["memory_peak_mb"] - figures["memory_before_mb"]
    if grown_mb > stuck * _CLIENT_BYTES / 2**20 + _SLACK_MB:
        found.append(f"memory grew by {grown_mb:.1f} MB for {stuck} stuck clients")
    # What the first ones needed stays with the allocator, and the pages of their log with the database.
    if figures["memory_after_as_many_again_mb"] > 1.1 * figures["memory_after_mb"] + _SLACK_MB:
        found.append(f"memory grew again, to {figures['memory_after_as_many_again_mb']} MB")
    if figures["p99_ms_beside_stuck_ones"] > 2 * figures["p99_ms"]:
        found.append(f"p99 rose from {figures['p99_ms']} to {figures['p99_ms_beside_stuck_ones']} ms")


def run(
    folder: Path, *, stuck: int, threads: int, healthy: int, wakers: int, seconds: float, timeout_s: float
) -> Findings:
    """What ``healthy`` clients of each of ``threads`` threads notice of ``stuck`` others.

    Args:
        folder: an empty one.
        stuck: clients that do not read.
        threads: on which runs stream, about 30 events a second each.
        healthy: clients of each thread.
        wakers: how many of the stuck ones read again, right after they were given up.
        seconds: of undisturbed streams, to compare with.
        timeout_s: after which the server gives a client up; other than 10 s only for a short test.
    """
    open_many_files()
    plain = None if timeout_s == SEND_TIMEOUT_S else timeout_s
    with Server(folder, people=2 + threads, send_timeout_s=plain) as server:
        return uvloop.run(
            _measure(server, stuck=stuck, healthy=healthy, wakers=wakers, seconds=seconds, timeout_s=timeout_s)
        )


def main(argv: list[str]) -> int:
    options = arguments(
        "slow_readers",
        {"stuck": 1_000, "threads": 10, "healthy": 17, "wakers": 50, "seconds": 10},
        {"stuck": 40, "threads": 3, "healthy": 5, "wakers": 5, "seconds": 2},
        argv,
    )
    with tempfile.TemporaryDirectory() as folder:
        found = run(
            Path(folder),
            stuck=options.stuck,
            threads=options.threads,
            healthy=options.healthy,
            wakers=options.wakers,
            seconds=options.seconds,
            timeout_s=SEND_TIMEOUT_S,
        )
    return finish(found, options.json)
