"""One WebSocket as frames in and out, over ASGI. Knows nothing of what the frames say."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cloche.api.wire.errors import close_reason, error_body, error_headers, row_of
from cloche.api.wire.frames import SUBPROTOCOL, encode_frame
from cloche.errors import ClocheError
from cloche.ids import RequestId

CLOSE_TIMEOUT_S = 5.0
"""How long a client has to read what comes before the close frame, and the close frame."""


class ClientGoneError(Exception):
    """There is nobody to send to, or to hear from, any more."""


class Channel:
    """A WebSocket between the upgrade request and the close frame."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._is_accepted = False
        self._is_over = False
        self.code = 0
        """The close code: the client's, or else the one that was sent to it; 0 before the end."""

    async def begin(self) -> None:
        """The upgrade request is complete."""
        message = await self._receive()
        if message["type"] != "websocket.connect":
            self._is_over = True
            raise ClientGoneError

    async def accept(self) -> None:
        """The upgrade is granted. Of the subprotocols only our own is ever named: a ticket may be among the offers."""
        await self._pass({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []})
        self._is_accepted = True

    async def receive(self) -> str | bytes:
        """The next frame: text, or the bytes of a binary one.

        Raises:
            ClientGoneError: the client, or the server beneath us, closed the socket.
        """
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._is_over = True
            self.code = message.get("code", 1005)
            raise ClientGoneError
        text: str | None = message.get("text")
        return message["bytes"] if text is None else text

    async def send(self, frame: bytes) -> None:
        """The frame is on its way, as text. Waits while the client does not read.

        Raises:
            ClientGoneError: the socket is closed.
        """
        await self._pass({"type": "websocket.send", "text": frame.decode()})

    async def refuse(self, error: ClocheError, request_id: RequestId) -> None:
        """The upgrade is answered with the error, as an HTTP response where the server beneath us can send one.

        Source: https://asgi.readthedocs.io/en/latest/extensions.html#websocket-denial-response
        """
        if self._is_over:
            return
        self._is_over = True
        row = row_of(type(error))
        try:
            if "websocket.http.response" in self._scope.get("extensions", {}):
                headers = {"Cache-Control": "no-store", **error_headers(error)}
                body = encode_frame(error_body(error, request_id))
                await Response(body, row.status, headers, "application/json")(self._scope, self._receive, self._send)
            else:
                await self._send({"type": "websocket.close", "code": row.close_code})
        except OSError:
            pass  # nobody waits for the answer any more

    async def close(self, code: int, reason: str, last_frames: list[bytes]) -> None:
        """The last frames and the close frame are on their way, unless the client has not read for too long."""
        if self._is_over or not self._is_accepted:
            return
        self.code = code
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for frame in last_frames:
                    await self.send(frame)
                await self._pass({"type": "websocket.close", "code": code, "reason": close_reason(reason)})
        except (ClientGoneError, TimeoutError):
            pass
        self._is_over = True

    @property
    def is_accepted(self) -> bool:
        """The upgrade was granted."""
        return self._is_accepted

    async def _pass(self, message: dict[str, object]) -> None:
        if self._is_over:
            raise ClientGoneError
        try:
            await self._send(message)
        except OSError:
            self._is_over = True
            raise ClientGoneError from None
