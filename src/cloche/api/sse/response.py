"""One HTTP response that goes on: server-sent events with time limits on each write.

Starlette's streaming response can neither limit the time of one write nor be ended from outside.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Send

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class ClientLeftError(Exception):
    """Nobody reads any more."""


class SlowReaderError(Exception):
    """Somebody reads too slowly to wait for."""


class EventResponse:
    """The bytes of one stream, on their way to one client."""

    def __init__(self, receive: Receive, send: Send, *, send_timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._send_timeout_s = send_timeout_s
        self.is_begun = False

    async def begin(self) -> None:
        """The headers are out."""
        self.is_begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})

    async def write(self, chunk: bytes, *, is_last: bool = False) -> None:
        """The chunk is on its way.

        Raises:
            SlowReaderError: the client did not read for too long.
            ClientLeftError: the connection is gone.
        """
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
        except TimeoutError:
            raise SlowReaderError from None
        except OSError:
            raise ClientLeftError from None

    async def watch(self) -> None:
        """Wait for the client to leave.

        Raises:
            ClientLeftError: it left.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientLeftError
