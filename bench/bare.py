"""The measure of everything: uvicorn with the server's own flags, which sends a run's bytes and keeps nothing.

``/v1/ws`` sends one frame for each event, ``/v1/ws/joined`` one frame with all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
import uvloop

from bench.burst import source_events
from cloche.api.wire.frames import SUBPROTOCOL

Message = MutableMapping[str, Any]
_BODIES = source_events()
_APART = [b'{"events":[%b]}' % body for body in _BODIES]
_JOINED = [b'{"events":[%b]}' % b",".join(_BODIES)]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    assert scope["type"] == "websocket"
    frames = [frame.decode() for frame in (_JOINED if scope["path"].endswith("/joined") else _APART)]
    await receive()
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []})
    while (await receive())["type"] == "websocket.receive":
        for frame in frames:
            await send({"type": "websocket.send", "text": frame})


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
