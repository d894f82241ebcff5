"""Closing a connection: what was written is sent to whoever reads, and nobody is waited for who does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from cloche import server
from cloche.server import LingeringTransport
from support.faults import eventually

MEGABYTES = 8 * 1024 * 1024


class Sender(asyncio.Protocol):
    """Writes much and closes, as soon as somebody comes."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: LingeringTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = LingeringTransport(cast("asyncio.Transport", transport))
        self.transport.write(b"x" * MEGABYTES)
        self.transport.close()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


@asynccontextmanager
async def sending() -> AsyncGenerator[tuple[Sender, socket.socket]]:
    """A sender, and the socket of its client."""
    loop, senders = asyncio.get_running_loop(), []

    def make() -> Sender:
        senders.append(Sender())
        return senders[-1]

    async with await loop.create_server(make, "127.0.0.1", 0) as listening:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        with client:
            await loop.sock_connect(client, listening.sockets[0].getsockname())
            await eventually(lambda: senders and senders[0].transport is not None)
            yield senders[0], client


async def test_a_client_that_reads_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "_LINGER_S", 0.05)

    async with sending() as (sender, _), asyncio.timeout(5):
        await sender.lost

    assert sender.transport is not None
    assert sender.transport.is_closing()


async def test_a_client_that_reads_slowly_gets_everything():
    received, looks = 0, 0

    async with sending() as (sender, client), asyncio.timeout(15):
        transport: Any = sender.transport
        left = transport.get_write_buffer_size()
        while piece := await asyncio.get_running_loop().sock_recv(client, 65536):
            received += len(piece)
            before, left = left, transport.get_write_buffer_size()
            if 0 < left < before:
                # As the timer would, each time that something more was read, however little.
                transport._look()
                looks += 1
        await sender.lost

    assert received == MEGABYTES
    assert looks > 1


async def test_a_connection_with_nothing_left_to_send_ends_at_once():
    class Quiet(Sender):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = LingeringTransport(cast("asyncio.Transport", transport))
            assert self.transport.get_extra_info("peername") is not None  # type: ignore[operator]
            self.transport.close()

    loop = asyncio.get_running_loop()
    quiet = Quiet()
    async with await loop.create_server(lambda: quiet, "127.0.0.1", 0) as listening, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        assert await reader.read() == b""
        await quiet.lost
        writer.close()
        await writer.wait_closed()
