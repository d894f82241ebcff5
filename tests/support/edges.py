"""The edges over a world, served by a real uvicorn on loopback inside the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloche.api.rest.application import rest_app
from cloche.api.sse.routes import sse_routes
from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import EdgeParts
from cloche.api.ws.routes import websocket_routes
from cloche.domain.events import ThreadUpdated
from cloche.domain.scope import Scope
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.ids import ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.threads import ThreadRepository
from support.client import Live


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[str]:
    """The application answers on loopback inside the block; its address."""
    config = uvicorn.Config(
        app,
        loop="none",
        ws="websockets-sansio",
        ws_max_size=1024 * 1024,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Accepted sockets inherit it: a client that does not read is noticed after little.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        server = _Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(sockets=[listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True


class Edges:
    """The live edges of some services."""

    def __init__(self, services: EdgeParts) -> None:
        self.services = services
        self.connections = Connections(services.sign_in, services.clock)
        self.app = rest_app(
            services,
            extra_routes=[
                *websocket_routes(services, self.connections),
                *sse_routes(services, self.connections),
            ],
        )
        self.url = ""

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/v1/ws"

    @asynccontextmanager
    async def socket(
        self,
        token: str | None = None,
        *,
        offers: tuple[str, ...] = ("cloche.v1",),
        origin: str | None = None,
        query: str = "",
        **options: Any,
    ) -> AsyncGenerator[ClientConnection]:
        """An accepted socket. Raises InvalidStatus when the upgrade is refused."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with connect(
            self.socket_url + query,
            subprotocols=offers or None,  # type: ignore[arg-type]
            origin=origin,  # type: ignore[arg-type]
            additional_headers=headers,
            **{"max_size": None, **options},
        ) as opened:
            yield opened

    @asynccontextmanager
    async def live(self, token: str, **options: Any) -> AsyncGenerator[Live]:
        """A live connection, ready."""
        async with self.socket(token, **options) as opened:
            live = Live(opened)
            live.ready = await live.frame()
            yield live

    async def refusal(self, token: str | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
        """Status and error of an upgrade that is refused."""
        try:
            async with self.socket(token, **options):
                raise AssertionError("the upgrade was accepted")
        except InvalidStatus as refused:
            return refused.response.status_code, json.loads(refused.response.body or b"")["error"]


@asynccontextmanager
async def edges_over(services: EdgeParts) -> AsyncGenerator[Edges]:
    edges = Edges(services)
    async with served(edges.app) as url:
        edges.url = url
        yield edges


async def closing(opened: ClientConnection) -> tuple[int, str, list[dict[str, Any]]]:
    """Code and reason of the end, and the frames before it."""
    frames: list[dict[str, Any]] = []

    async def read() -> None:
        while True:
            frames.append(json.loads(await opened.recv()))

    with pytest.raises(ConnectionClosed) as closed:
        await read()
    received = closed.value.rcvd
    assert received is not None, "it ended without a close frame"
    return received.code, received.reason, frames


async def eventually(is_true: Callable[[], object]) -> None:
    """Others have their turns until it is true."""
    async with asyncio.timeout(10):
        while True:
            if is_true():
                return
            await asyncio.sleep(0)


async def make_thread(database: Database, scope: Scope, services: EdgeParts) -> ThreadId:
    thread_id = ThreadId.new()

    async def work(tx: Transaction) -> None:
        await ThreadRepository(scope).create(tx, thread_id, title="", metadata={}, at=services.clock.now())

    await database.write(work)
    return thread_id


async def append(log: EventLog, services: EdgeParts, scope: Scope, thread_id: ThreadId, *titles: str) -> None:
    """One event for each title, in one transaction."""
    now = services.clock.now()
    drafts = [
        draft(ThreadUpdated(title=title, status="idle"), thread_id=thread_id, run_id=None, at=now) for title in titles
    ]

    async def work(tx: Transaction) -> None:
        await log.append(tx, scope, thread_id, drafts, at=now)

    await services.database.write(work)
