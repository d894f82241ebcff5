"""The load: N users, each with a socket and a thread of its own, who send a message and wait for the run's end.

A process of its own. It reads frames by hand, because a comfortable client would be the slowest part of the measurement;
in exchange it reads one whole run of each user closely, before the clock starts. Prints its findings as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from bench.burst import ASKED, SAID
from bench.usage import cpu_time

WARM_UP_RUNS = 5
_LAST_WORDS_S = 15.0
_EVENT = b'{"seq":'
_OF_AGENT = b'"type":"agent_'
_COMPLETED = b'"type":"agent_completed"'
_BAD_ENDS = (b'"type":"agent_failed"', b'"type":"agent_timed_out"', b'"type":"agent_cancelled"')
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class Findings:
    """What all users saw while the clock ran."""

    def __init__(self) -> None:
        self.counting = False
        self.stopping = False
        self.runs = 0
        self.bad = 0
        self.events = 0
        self.frames = 0
        self.first_event_s: list[float] = []
        self.run_s: list[float] = []


class User(asyncio.Protocol):
    """One socket. ``ready`` is done when the first run was read closely, ``idle`` when no run is under way."""

    def __init__(self, token: str, path: str, *, has_threads: bool, label: str, findings: Findings) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.idle: asyncio.Future[None] = loop.create_future()
        self._token = token
        self._path = path
        self._has_threads = has_threads
        self._label = label
        self._findings = findings
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._upgraded = False
        self._thread: str | None = None
        self._kept: list[bytes] | None = []
        self._sent = 0
        self._sent_at = 0.0
        self._first_at: float | None = None
        self._run_events = 0
        self._run_frames = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        made = self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {self._path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: cloche.v1",
            f"Authorization: Bearer {self._token}",
        ]
        made.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.idle):
            if not future.done():
                future.set_exception(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._rest + data if self._rest else data
        if not self._upgraded:
            data = self._upgrade(data)
        at, end = 0, len(data)
        while end - at >= 2:
            length, body = data[at + 1], at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, body = int.from_bytes(data[body : body + size], "big"), body + size
            if body + length > end:
                break
            self._frame(data[at] & 15, data[body : body + length], now)
            at = body + length
        self._rest = data[at:]

    def send(self) -> None:
        """The next message is on its way."""
        self._sent += 1
        message = {"op": "send", "ref": self._sent, "client_message_id": f"{self._label}-{self._sent}", "text": ASKED}
        if self._thread is not None:
            message["thread_id"] = self._thread
        self._first_at = None
        self._run_events = self._run_frames = 0
        self._write(_TEXT, json.dumps(message).encode())
        self._sent_at = time.perf_counter()

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _upgrade(self, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return data
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"the upgrade was refused: {head!r} {rest!r}")
        self._upgraded = True
        self.send()
        return rest

    def _frame(self, opcode: int, frame: bytes, now: float) -> None:
        if opcode == _TEXT:
            events = frame.count(_EVENT)
            if events:
                self._events(frame, events, now)
            else:
                self._answer(frame)
        elif opcode == _PING:
            self._write(_PONG, frame)
        elif opcode == _CLOSE:
            raise ConnectionError(f"the server closed the connection: {frame!r}")

    def _events(self, frame: bytes, events: int, now: float) -> None:
        if self._first_at is None:
            self._first_at = now
        self._run_events += events
        self._run_frames += 1
        if self._kept is not None:
            self._kept.append(frame)
        if _OF_AGENT in frame:
            if _COMPLETED in frame:
                self._completed(now)
            elif any(end in frame for end in _BAD_ENDS):
                raise ConnectionError(f"a run did not complete: {frame!r}")

    def _completed(self, now: float) -> None:
        assert self._first_at is not None
        found = self._findings
        if found.counting:
            found.runs += 1
            found.events += self._run_events
            found.frames += self._run_frames
            found.first_event_s.append(self._first_at - self._sent_at)
            found.run_s.append(now - self._sent_at)
        if self._kept is not None:
            check_run(self._kept)
            self._kept = None
        if self._sent == WARM_UP_RUNS:
            self.ready.set_result(None)
        if found.stopping:
            self.idle.set_result(None)
        else:
            self.send()

    def _answer(self, frame: bytes) -> None:
        """An answer or a notice: the first one to a message names the thread, which is then followed."""
        said: dict[str, Any] = json.loads(frame)
        if said.get("ok") is False:
            raise ConnectionError(f"the server refused: {frame!r}")
        if self._has_threads and self._thread is None and "run_id" in said:
            self._thread = said["thread_id"]
            self._write(_TEXT, json.dumps({"op": "subscribe", "ref": 0, "thread_id": self._thread}).encode())

    def _write(self, opcode: int, payload: bytes) -> None:
        """A client masks its frames; with a mask of zeros that changes nothing."""
        assert self._transport is not None
        length = len(payload)
        head = bytes([0x80 | opcode, 0x80 | length]) if length < 126 else bytes([0x80 | opcode, 0x80 | 126])
        size = b"" if length < 126 else length.to_bytes(2, "big")
        self._transport.write(b"".join((head, size, b"\0\0\0\0", payload)))


def check_run(frames: Sequence[bytes]) -> None:
    """The frames are one whole run, and say what the agent said.

    Raises:
        ValueError: they are not, or do not.
    """
    events = [event for frame in frames for event in json.loads(frame)["events"]]
    types = [event["type"] for event in events]
    text = "".join(event["data"]["text"] for event in events if event["type"] == "message_delta")
    wanted = ["message_created", "run_queued", "agent_started", "tool_executing", "tool_completed", "message_delta"]
    wanted += ["message_completed", "agent_completed"]
    seen = list(dict.fromkeys(kind for kind in types if kind != "agent_thinking"))
    seqs = [event["seq"] for event in events]
    if seen != wanted or text != SAID or seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        raise ValueError(f"this is not the run that was asked for: {types} {text!r}")


def _quantiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        name: round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 3)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(options: argparse.Namespace, tokens: Sequence[str]) -> dict[str, Any]:
    """Everybody comes in and warms up; then the clock runs; then everybody finishes and leaves."""
    loop, findings = asyncio.get_running_loop(), Findings()
    broken: asyncio.Future[None] = loop.create_future()

    def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not broken.done():
            broken.set_exception(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(fail)
    address = urlsplit(options.url)
    users: list[User] = []
    for number, token in enumerate(tokens):
        user = User(
            token,
            options.path,
            has_threads=not options.bare,
            label=f"{time.time_ns()}-{number}",
            findings=findings,
        )
        await loop.create_connection(lambda user=user: user, address.hostname, address.port)
        users.append(user)
    await _all([user.ready for user in users], broken)

    server, own, started = cpu_time(options.pid), _own_cpu_s(), time.perf_counter()
    findings.counting = True
    await asyncio.wait({broken}, timeout=options.seconds)
    if broken.done():
        broken.result()
    findings.counting = False
    seconds = time.perf_counter() - started
    own, after = _own_cpu_s() - own, cpu_time(options.pid)
    findings.stopping = True
    async with asyncio.timeout(_LAST_WORDS_S):
        await _all([user.idle for user in users], broken)
    for user in users:
        user.leave()
    if not findings.runs:
        raise RuntimeError("no run completed while the clock ran")
    server_s = after.total_s - server.total_s
    return {
        "users": options.users,
        "seconds": round(seconds, 3),
        "runs": findings.runs,
        "runs_per_s": round(findings.runs / seconds, 1),
        "events_per_s": round(findings.events / seconds, 1),
        "events_per_run": round(findings.events / findings.runs, 2),
        "frames_per_run": round(findings.frames / findings.runs, 2),
        "first_event_ms": _quantiles(findings.first_event_s),
        "run_ms": _quantiles(findings.run_s),
        "server_cpu": round(server_s / seconds, 3),
        "server_loop_cpu": round((after.loop_s - server.loop_s) / seconds, 3),
        "server_cpu_ms_per_run": round(1000 * server_s / findings.runs, 3),
        "load_cpu": round(own / seconds, 3),
        "machine_load": round(os.getloadavg()[0], 2),
    }


async def _all(wanted: Sequence[asyncio.Future[None]], broken: asyncio.Future[None]) -> None:
    everything = asyncio.gather(*wanted)
    await asyncio.wait({everything, broken}, return_when=asyncio.FIRST_COMPLETED)
    if broken.done():
        everything.cancel()
        broken.result()
    everything.result()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", default="/v1/ws")
    parser.add_argument("--tokens", required=True, help="a file with a JSON list of access tokens")
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pid", type=int, required=True, help="of the server")
    parser.add_argument("--bare", action="store_true", help="the server has no threads and answers nothing")
    options = parser.parse_args()
    tokens: list[str] = json.loads(Path(options.tokens).read_text(encoding="ascii"))
    if len(tokens) < options.users:
        parser.error(f"{options.users} users have only {len(tokens)} tokens")
    json.dump(uvloop.run(measure(options, tokens[: options.users])), sys.stdout)
    print()


if __name__ == "__main__":
    main()
