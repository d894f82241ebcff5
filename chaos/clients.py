"""Clients that check every byte: a follower keeps a position over many connections, WebSockets or event streams.

They read the wire by hand, so that they can be cut at any byte, and so that thousands of them cost little.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from chaos.server import Person, Server
from cloche.domain.event_order import check_gapless

_EVENTS = b'{"events":['
_SEQ = len(b'{"seq":')
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_UNCLOSED = 1006
_LOOK_S = 0.1


class _Frame(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw]


_FRAMES = msgspec.json.Decoder(_Frame)


def seq_of(body: bytes) -> int:
    """The number of an event, as it stands in its bytes."""
    return int(body[_SEQ : body.index(b",", _SEQ)])


@dataclass(slots=True)
class Trail:
    """One thread as all of its followers saw it: each event's bytes are the same for everybody."""

    thread_id: str
    bodies: dict[int, bytes] = field(default_factory=dict[int, bytes])
    violations: list[str] = field(default_factory=list[str])

    def see(self, seq: int, body: bytes) -> None:
        known = self.bodies.setdefault(seq, body)
        if known != body:
            self.violations.append(f"{self.thread_id} {seq}: {body!r} for one, {known!r} for another")

    def compare(self, log: Sequence[tuple[int, bytes]]) -> list[str]:
        """The violations, and every place where the log is not what was seen. Everybody has seen everything."""
        stored = dict(log)
        wrong = (seq for seq in sorted(stored.keys() | self.bodies.keys()) if stored.get(seq) != self.bodies.get(seq))
        return [
            *self.violations,
            *(f"{self.thread_id} {seq}: log {stored.get(seq)!r}, seen {self.bodies.get(seq)!r}" for seq in wrong),
        ]


class Follower:
    """One client of one thread: where it stands, and what went wrong."""

    def __init__(self, name: str, person: Person, trail: Trail) -> None:
        self.name = name
        self.person = person
        self.trail = trail
        self.position = 0
        self.head = 0
        """The log's last number when the latest stream was opened."""
        self.openings = 0
        self.events = 0
        self.longest_replay = 0
        self.violations: list[str] = []
        self.on_event: Callable[[int, bytes], None] | None = None

    def opened(self, told: Mapping[str, Any]) -> None:
        """A stream says where it begins: exactly behind the position."""
        self.openings += 1
        self.head = told["head_seq"]
        self.longest_replay = max(self.longest_replay, self.head - self.position)
        if not told["recovered"] or told["from_seq"] != self.position + 1:
            self.violations.append(f"{self.name} came back after {self.position} and was told {told}")

    def take(self, bodies: Sequence[bytes]) -> None:
        """Events came: each is one more than the one before."""
        seqs = [seq_of(body) for body in bodies]
        for wrong in check_gapless(seqs, after=self.position):
            self.violations.append(f"{self.name}: {wrong.detail}")
        for seq, body in zip(seqs, bodies, strict=True):
            self.trail.see(seq, body)
            if self.on_event is not None:
                self.on_event(seq, body)
        self.events += len(seqs)
        self.position = seqs[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where a client drops its connection: so many bytes after the stream's opening, or after the first byte of all."""

    bytes: int
    is_early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a connection ended: a close code (1006 without one), or the status of a refused request."""

    code: int = _UNCLOSED
    reason: str = ""
    status: int = 0


class Stream(asyncio.Protocol):
    """One connection of a follower. What came before a cut counts, up to the last whole event; the rest is lost.

    ``opened`` is done when the stream's opening was read, or its connection has ended before; ``ended`` at the end.
    """

    def __init__(self, follower: Follower, cut: Cut | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[Ending] = loop.create_future()
        self.was_in_frame = False
        """The cut fell inside of a frame or an event."""
        self._follower = follower
        self._cut = cut
        self._left = cut.bytes if cut is not None and cut.is_early else None
        self._ending = Ending()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._has_head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)
        if not self.ended.done():
            self.ended.set_result(self._ending)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._buffer = self._buffer + data if self._buffer else data
        if not self._has_head:
            self._read_head()
        if self._has_head:
            self._read_body()
        if self._left is not None and self._left <= 0:
            self.was_in_frame = self._is_in_frame()
            self.drop()

    def drop(self) -> None:
        """The client is gone, without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _request(self) -> bytes:
        raise NotImplementedError

    def _begin(self) -> None:
        """The response's head was read."""
        raise NotImplementedError

    def _read_body(self) -> None:
        raise NotImplementedError

    def _is_in_frame(self) -> bool:
        return bool(self._buffer)

    def _read_head(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        status = int(head[9:12])
        if status not in {101, 200}:
            self._ending = Ending(status=status, reason=rest.decode(errors="replace"))
            self.drop()
            return
        self._has_head = True
        self._buffer = rest
        self._begin()

    def _open(self, told: Mapping[str, Any]) -> None:
        """From here on the bytes are counted for a cut."""
        self._follower.opened(told)
        if self._cut is not None and not self._cut.is_early:
            self._buffer = self._buffer[: self._cut.bytes]
            self._left = self._cut.bytes - len(self._buffer)
        if not self.opened.done():
            self.opened.set_result(True)


class SocketStream(Stream):
    """A WebSocket that follows the thread."""

    def say(self, **operation: object) -> None:
        """An operation is on its way. Its frame is masked with zeros, which changes nothing."""
        payload = json.dumps(operation).encode()
        self._write(_TEXT, payload)

    def leave(self) -> None:
        """The client says that it goes; the server closes the connection."""
        self._write(_CLOSE, (1000).to_bytes(2, "big"))

    def _request(self) -> bytes:
        lines = (
            "GET /v1/ws HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: cloche.v1",
            f"Authorization: Bearer {self._follower.person.token}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _begin(self) -> None:
        self.say(op="subscribe", ref=0, thread_id=self._follower.person.thread_id, after=self._follower.position)

    def _read_body(self) -> None:
        while True:
            data = self._buffer
            if len(data) < 2:
                return
            length, body = data[1], 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, body = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
            if len(data) < body + length:
                return
            self._buffer = data[body + length :]
            self._frame(data[0] & 15, data[body : body + length])

    def _frame(self, opcode: int, frame: bytes) -> None:
        if opcode == _TEXT and frame.startswith(_EVENTS):
            self._follower.take([bytes(body) for body in _FRAMES.decode(frame).events])
        elif opcode == _TEXT:
            self._notice(json.loads(frame))
        elif opcode == _PING:
            self._write(_PONG, frame)
        elif opcode == _CLOSE:
            self._ending = Ending(code=int.from_bytes(frame[:2], "big"), reason=frame[2:].decode())
            self.drop()

    def _notice(self, said: dict[str, Any]) -> None:
        if "recovered" in said:
            self._open(said)
        elif said.get("ok") is False:
            self._follower.violations.append(f"{self._follower.name} was refused: {said}")

    def _write(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        length = len(payload)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self._transport.write(b"".join((bytes([0x80 | opcode]), size, b"\0\0\0\0", payload)))


class EventStream(Stream):
    """Server-sent events of the thread. A piece of a chunk counts as soon as it is there, as it does for a browser."""

    def __init__(self, follower: Follower, cut: Cut | None = None) -> None:
        super().__init__(follower, cut)
        self._chunk_left = 0
        self._text = b""

    def _request(self) -> bytes:
        follower = self._follower
        path, position = f"/v1/threads/{follower.person.thread_id}/events", ""
        if follower.openings % 2:
            position = f"Last-Event-ID: {follower.position}\r\n"
        elif follower.position:
            path += f"?after={follower.position}"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{position}"
        return f"{head}Authorization: Bearer {follower.person.token}\r\n\r\n".encode()

    def _begin(self) -> None:
        pass

    def _is_in_frame(self) -> bool:
        return bool(self._buffer or self._text or self._chunk_left)

    def _read_body(self) -> None:
        while self._buffer:
            if not self._chunk_left:
                size, found, rest = self._buffer.lstrip(b"\r\n").partition(b"\r\n")
                if not found:
                    return
                self._buffer, self._chunk_left = rest, int(size, 16)
                if not self._chunk_left:
                    self.drop()  # the last chunk
                    return
            piece = self._buffer[: self._chunk_left]
            self._buffer = self._buffer[len(piece) :]
            self._chunk_left -= len(piece)
            self._take(piece)

    def _take(self, piece: bytes) -> None:
        *events, self._text = (self._text + piece).split(b"\n\n")
        bodies = [body for body in map(self._event, events) if body]
        if bodies:
            self._follower.take(bodies)

    def _event(self, text: bytes) -> bytes:
        """The bytes of an event of the log; none for anything else."""
        lines = (line.partition(b": ") for line in text.split(b"\n"))
        fields = {name: value for name, _, value in lines}
        match fields.get(b"event"):
            case b"stream_opened":
                self._open(json.loads(fields[b"data"]))
            case None if b"data" in fields:
                if int(fields[b"id"]) != seq_of(fields[b"data"]):
                    self._follower.violations.append(f"{self._follower.name}: the id is not the number: {text!r}")
                return fields[b"data"]
            case b"stream_closed":
                self._ending = Ending(reason=fields[b"data"].decode())
            case _:
                pass
        return b""


async def connect(server: Server, stream: Stream) -> bool:
    """The connection is made; whether there was anybody to make it with."""
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, server.host, server.port)
    except OSError:
        return False
    return True


def random_cut(chance: random.Random) -> Cut:
    """One in eight before the stream has begun, the others somewhere behind that: most in its first frames."""
    if chance.random() < 0.125:
        return Cut(bytes=chance.randrange(1, 600), is_early=True)
    return Cut(bytes=chance.randrange(1, chance.choice((60, 600, 6_000, 60_000))))


async def until(is_so: Callable[[], bool], limit_s: float) -> float | None:
    """The seconds until it was so; None when it was not within the limit."""
    began = time.perf_counter()
    while not is_so():
        if time.perf_counter() - began > limit_s:
            return None
        await asyncio.sleep(_LOOK_S)
    return time.perf_counter() - began
