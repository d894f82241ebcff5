"""The measure of everything: uvicorn with the server's own flags, which sends a run's bytes and keeps nothing.

``/v1/ws`` and ``/v1/threads/…/events`` send one frame for each event of the burst, the same under ``/joined`` one frame
with all of them. Under ``/paced/v1/ws`` a message is said at a pace to everybody who follows its thread; a message that
begins with a number and ``x`` has that many tokens in each frame.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import uvicorn
import uvloop

from bench.burst import source_events
from bench.pace import Pace
from cloche.api.wire.frames import SUBPROTOCOL
from cloche.clock import to_text

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODIES = source_events()
_FRAMES = {False: [b'{"events":[%b]}' % body for body in _BODIES], True: [b'{"events":[%b]}' % b",".join(_BODIES)]}
_LINES = [b"id: 1\ndata: %b\n\n" % body for body in _BODIES]
_CHUNKS = {False: _LINES, True: [b"".join(_LINES)]}
_DELTA = (
    '{"events":[{"seq":%d,"type":"message_delta","thread_id":"%s","run_id":"run_00000000000000000000000000",'
    '"at":"%s","data":{"message_id":"message_00000000000000000000000000","text":"%s"}}]}'
)
_END = '{"events":[{"seq":%d,"type":"agent_completed","thread_id":"%s","at":"%s","data":{}}]}'

_asked: defaultdict[str, asyncio.Queue[None]] = defaultdict(asyncio.Queue)
_followers: defaultdict[str, list[Send]] = defaultdict(list)
_talking: set[asyncio.Task[None]] = set()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    path = str(scope["path"])
    if scope["type"] == "websocket":
        if path.startswith("/paced"):
            await _follow(receive, send)
        else:
            await _burst(receive, send, [frame.decode() for frame in _FRAMES[path.startswith("/joined")]])
    elif scope["method"] == "POST":
        await _take(path, receive, send)
    else:
        await _stream(path, send, _CHUNKS[path.startswith("/joined")])


async def _accept(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []})


async def _burst(receive: Receive, send: Send, frames: list[str]) -> None:
    await _accept(receive, send)
    while (await receive())["type"] == "websocket.receive":
        for frame in frames:
            await send({"type": "websocket.send", "text": frame})


async def _take(path: str, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    places = path.split("/")
    thread_id = places[places.index("threads") + 1] if "threads" in places else str(len(_asked))
    _asked[thread_id].put_nowait(None)
    body = json.dumps({"thread_id": thread_id, "message_id": "m", "run_id": "r", "seq": 1, "replayed": False}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(path: str, send: Send, chunks: list[bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    asked = _asked[path.split("/")[-2]]
    while True:
        await asked.get()
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _follow(receive: Receive, send: Send) -> None:
    await _accept(receive, send)
    thread_id = ""
    while (message := await receive())["type"] == "websocket.receive":
        asked = json.loads(message["text"])
        thread_id = asked["thread_id"]
        if asked["op"] == "subscribe":
            _followers[thread_id].append(send)
            await send({"type": "websocket.send", "text": '{"ref":0,"ok":true,"head_seq":0}'})
        else:
            task = asyncio.get_running_loop().create_task(_talk(thread_id, asked["text"]))
            _talking.add(task)
            task.add_done_callback(_talking.discard)
    if send in _followers[thread_id]:
        _followers[thread_id].remove(send)


async def _talk(thread_id: str, text: str) -> None:
    joined, found, pace = text.rpartition("x ")
    each, seq, tokens = int(joined) if found else 1, 0, list[str]()
    followers = _followers[thread_id]

    async def tell(frame: str) -> None:
        for follower in tuple(followers):
            await follower({"type": "websocket.send", "text": frame})

    async def say(token: str) -> None:
        nonlocal seq
        number, _, due_us = token.strip().partition(":")
        for part in range(each):
            tokens.append(f" {int(number) * each + part}:{due_us}")
        seq += 1
        await tell(_DELTA % (seq, thread_id, to_text(datetime.now(UTC)), "".join(tokens)))
        tokens.clear()

    await Pace.parse(pace).walk(say)
    await tell(_END % (seq + 1, thread_id, to_text(datetime.now(UTC))))


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets is not None
        print(f"bare is ready at http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)


async def _serve(listener: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        loop="none",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    await _Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as bound:
        uvloop.run(_serve(bound))
