"""A real local server that speaks OpenAI's chat completions, with faults that a test can order.

It answers every request with the next of its planned replies (the last one again and again), over plain HTTP/1.1 on a
free port of the loopback, and keeps what it was sent.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

MODEL = "local-model"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one request gets.

    Attributes:
        text: the answer, streamed word by word.
        thinking: reasoning, streamed before the answer, as vLLM and Ollama do.
        calls: tool calls: name and arguments as JSON text, streamed in two halves.
        finish: the finish reason; None leaves it and ``[DONE]`` out and ends the body properly.
        status, headers, body: an answer instead of a completion.
        stream_error: an error object sent inside the stream after the text.
        garbage: bytes sent as an event of the stream after the first word, or as the body of a whole answer.
        cut_after: after so many events the connection is aborted.
        stall_after: after so many events nothing comes any more.
        endless: the text is repeated for ever.
        drop: the connection is aborted before anything is answered.
        pause_s: the time between two events.
    """

    text: str = ""
    thinking: str = ""
    calls: Sequence[tuple[str, str]] = ()
    finish: str | None = "stop"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    stream_error: dict[str, Any] | None = None
    garbage: bytes | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    endless: bool = False
    drop: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What one request was."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class _AbortedError(Exception):
    """The connection is to be torn down."""


class OpenAIServer:
    """The running server: ``url`` is its base URL, ``plan`` orders replies, ``requests`` is what came."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.disconnected = asyncio.Event()
        self.events_sent = 0
        self.models: Sequence[str] = (MODEL,)
        self.models_status = 200
        self.models_stall = False
        self.models_body: bytes | None = None
        self._replies: list[Reply] = []
        self._port = 0
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    @property
    def url(self) -> str:
        """The base URL that a client is given."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def completions(self) -> list[Request]:
        """The requests for an answer, in order."""
        return [request for request in self.requests if request.path.endswith("/chat/completions")]

    def plan(self, *replies: Reply) -> None:
        """Order the replies to the following requests; the last one repeats."""
        self._replies = list(replies)

    async def aclose(self) -> None:
        """Abort every connection and wait until their tasks have ended."""
        ends = list(self._open.values())
        for writer in list(self._open):
            writer.transport.abort()
        for end in ends:
            await end.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self._open[writer] = asyncio.Event()
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer, reader)
        except (_AbortedError, ConnectionError, asyncio.IncompleteReadError):
            self.disconnected.set()
        finally:
            writer.transport.abort()
            self._open.pop(writer).set()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        if request.path.endswith("/models"):
            await self._answer_models(writer, reader)
            return
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if reply.drop:
            raise _AbortedError
        if reply.status != 200 or reply.body is not None:
            body = reply.body if reply.body is not None else _error_body(reply.status)
            await _send(writer, reply.status, body, reply.headers)
            return
        if not request.body.get("stream"):
            await _send(writer, 200, reply.garbage or _whole(reply, request), reply.headers)
            return
        await self._stream(reply, request, writer, reader)

    async def _answer_models(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        if self.models_stall:
            await _until_gone(reader)
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        body = self.models_body if self.models_body is not None else json.dumps(listed).encode()
        await _send(writer, self.models_status, body, {})

    async def _stream(
        self, reply: Reply, request: Request, writer: asyncio.StreamWriter, reader: asyncio.StreamReader
    ) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for sent, data in enumerate(_events(reply, request)):
            if sent == reply.cut_after:
                await writer.drain()
                raise _AbortedError
            if sent == reply.stall_after:
                await writer.drain()
                await _until_gone(reader)
            await _chunk(writer, b"data: " + data + b"\n\n")
            self.events_sent += 1
            if reply.pause_s or reply.endless:
                await asyncio.sleep(reply.pause_s)
        await _chunk(writer, b"")


@asynccontextmanager
async def openai_server() -> AsyncIterator[OpenAIServer]:
    """Run the server until the block is left."""
    state = OpenAIServer()
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    state._port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        await state.aclose()


def _error_body(status: int) -> bytes:
    error = {"message": f"a failure with a secret sk-test-key in it ({status})", "type": "test_error", "code": None}
    return json.dumps({"error": error}).encode()


def _events(reply: Reply, request: Request) -> Iterator[bytes]:
    envelope = _envelope(request, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return json.dumps({**envelope, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()

    for delta in _deltas(reply):
        yield delta if isinstance(delta, bytes) else chunk(delta)
    if reply.stream_error is not None:
        yield json.dumps({"error": reply.stream_error}).encode()
    if reply.finish is None:
        return
    yield chunk({}, "tool_calls" if reply.calls else reply.finish)
    if (request.body.get("stream_options") or {}).get("include_usage"):
        yield json.dumps({**envelope, "choices": [], "usage": _usage(reply)}).encode()
    yield b"[DONE]"


def _deltas(reply: Reply) -> Iterator[dict[str, Any] | bytes]:
    yield {"role": "assistant", "content": ""}
    for word in _words(reply.thinking):
        yield {"reasoning_content": word}
    for number, word in enumerate(_words(reply.text)):
        if number == 1 and reply.garbage is not None:
            yield reply.garbage
        yield {"content": word}
    while reply.endless:
        yield {"content": "and on "}
    for index, (name, arguments) in enumerate(reply.calls):
        half = len(arguments) // 2
        first = {"index": index, "id": f"call_{index}", "type": "function"}
        yield {"tool_calls": [{**first, "function": {"name": name, "arguments": ""}}]}
        for piece in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _whole(reply: Reply, request: Request) -> bytes:
    calls = [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (name, arguments) in enumerate(reply.calls)
    ]
    message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else reply.finish}
    return json.dumps({**_envelope(request, "chat.completion"), "choices": [choice], "usage": _usage(reply)}).encode()


def _envelope(request: Request, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-test", "object": kind, "created": 1, "model": request.body.get("model")}


def _usage(reply: Reply) -> dict[str, int]:
    completion = len(reply.text.split())
    return {"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion}


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, path=path, headers=headers, body=json.loads(body) if body else None)


async def _send(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    named = {"content-type": "application/json", **headers, "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    writer.write(f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body)
    await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    await reader.read()
    raise _AbortedError
