"""A server of somebody else's, over real HTTP, that takes a payment once for each ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2

from cloche.tools.tool import IdempotencyKey, ToolContext, idempotency_headers

# The first one imports the rest of the library: here, and not on the event loop.
httpx2.AsyncHTTPTransport(verify=False)


@dataclass
class Payments:
    """What was asked for and what took effect. The first request is carried out, and then left without an answer."""

    url: str = ""
    keys: list[str] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    paid: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            await reader.readexactly(int(fields.get("content-length", "0")))
            key = fields.get("idempotency-key", "none")
            self.keys.append(key)
            receipt = self.taken.setdefault(key, len(self.taken) + 1)
            if len(self.keys) == 1:
                self.paid.set()
                await reader.read()  # until the client is gone
                return
            body = f"receipt {receipt}".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def payments() -> AsyncGenerator[Payments]:
    made = Payments()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    async with server:
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/payments"
        yield made


async def pay(context: ToolContext, url: str) -> str:
    """Pay, on the event loop."""
    async with httpx2.AsyncClient(verify=False, trust_env=False) as client:
        return (await client.post(url, headers=idempotency_headers(context.idempotency_key))).text


def pay_in_process(url: str, key: IdempotencyKey) -> str:
    """Pay, in a child process."""
    request = urllib.request.Request(url, data=b"10", headers=idempotency_headers(key))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()
