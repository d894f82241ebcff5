"""Clients read by hand: a comfortable one would be the slowest part of every measurement."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10
_NO_MASK = b"\0\0\0\0"

OnFrame = Callable[[bytes, float], None]
OnOpen = Callable[[], None]


class Wire(asyncio.Protocol):
    """One connection; what goes wrong on it is raised into the loop's exception handler."""

    def __init__(self) -> None:
        self.has_left = False
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        waiting, self._waiting = self._waiting, []
        for part in waiting:
            self.write(part)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.has_left:
            raise exc or ConnectionError("the server closed the connection")

    def write(self, part: bytes) -> None:
        """The bytes are on their way, or go as soon as the connection is there."""
        if self._transport is None:
            self._waiting.append(part)
        else:
            self._transport.write(part)

    def leave(self) -> None:
        self.has_left = True
        if self._transport is not None:
            self._transport.close()


class Websocket(Wire):
    """``on_frame`` gets each text frame and the monotonic time at which its bytes were read."""

    def __init__(self, path: str, token: str, on_open: OnOpen, on_frame: OnFrame) -> None:
        super().__init__()
        self._on_open = on_open
        self._on_frame = on_frame
        self._upgraded = False
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: cloche.v1",
            f"Authorization: Bearer {token}",
        ]
        self.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def say(self, message: Mapping[str, object]) -> None:
        self._write_frame(_TEXT, json.dumps(message).encode())

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
            opcode = data[at] & 15
            if opcode == _TEXT:
                self._on_frame(data[body : body + length], now)
            else:
                self._control(opcode, data[body : body + length])
            at = body + length
        self._rest = data[at:]

    def _upgrade(self, data: bytes) -> bytes:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return data
        if not head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"the upgrade was refused: {head!r} {rest!r}")
        self._upgraded = True
        self._on_open()
        return rest

    def _control(self, opcode: int, body: bytes) -> None:
        if opcode == _PING:
            self._write_frame(_PONG, body)
        elif opcode == _CLOSE and not self.has_left:
            raise ConnectionError(f"the server closed the connection: {body!r}")

    def _write_frame(self, opcode: int, payload: bytes) -> None:
        """A client masks its frames; with a mask of zeros that changes nothing."""
        length = len(payload)
        head = bytes([0x80 | opcode, 0x80 | length]) if length < 126 else bytes([0x80 | opcode, 0x80 | 126])
        size = b"" if length < 126 else length.to_bytes(2, "big")
        self.write(b"".join((head, size, _NO_MASK, payload)))


class Posts(Wire):
    """A kept connection for JSON requests, one at a time. ``on_answer`` gets each answer's body."""

    def __init__(self, token: str, on_answer: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._token = token
        self._on_answer = on_answer

    def post(self, path: str, body: Mapping[str, object]) -> None:
        payload = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        self.write(head.encode() + payload)

    def data_received(self, data: bytes) -> None:
        data = self._rest = self._rest + data
        head, found, body = data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._rest = b""
        if not head.startswith(b"HTTP/1.1 20"):
            raise ConnectionError(f"the message was refused: {head!r} {body!r}")
        self._on_answer(json.loads(body))


class EventStream(Wire):
    """``on_chunk`` gets each chunk as the server wrote it, which is always a number of whole events."""

    def __init__(self, path: str, token: str, on_chunk: OnFrame) -> None:
        super().__init__()
        self._on_chunk = on_chunk
        self._begun = False
        self.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        data = self._rest + data if self._rest else data
        if not self._begun:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = data
                return
            if not head.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(f"the stream was refused: {head!r} {rest!r}")
            self._begun, data = True, rest
        at = 0
        while (line := data.find(b"\r\n", at)) >= 0:
            length, body = int(data[at:line], 16), line + 2
            if body + length + 2 > len(data):
                break
            if not length:
                raise ConnectionError("the server ended the stream")
            self._on_chunk(data[body : body + length], now)
            at = body + length + 2
        self._rest = data[at:]
