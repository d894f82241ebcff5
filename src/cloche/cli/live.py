"""One live connection as a client holds it.

What the server says is read tolerantly: fields, notices and event types that this version does not know are passed over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from cloche.api.wire.frames import (
    SUBPROTOCOL,
    AnyOperation,
    ConnectionReady,
    Draining,
    ErrorMembers,
    Ref,
    StreamClosed,
    StreamOpened,
    encode_frame,
)
from cloche.cli.rest import USER_AGENT, RefusedError, RestClient, UnreachableError, refusal_of, why
from cloche.clock import Clock
from cloche.domain.events import Envelope

_OPEN_S = 10.0
_CLOSE_S = 2.0
# One event may hold a whole answer, and a snapshot a hundred of them.
_MAX_FRAME_BYTES = 256 * 1024 * 1024


class ConnectionLostError(Exception):
    """The live connection has ended; ``code`` is its close code, 1006 when there was none."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection ended with {code}{f': {reason}' if reason else ''}")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The one answer to an operation; of what else it holds, the ids."""

    ref: Ref
    ok: bool
    error: ErrorMembers | None = None
    run_id: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Some events, and when they were read from the socket; ``at_s`` on the monotonic clock."""

    events: tuple[Envelope, ...]
    at: datetime
    at_s: float


Notices = ConnectionReady | StreamOpened | StreamClosed | Draining
Received = Arrived | Answer | Notices

_NOTICES = frozenset(
    str(kind.__struct_config__.tag) for kind in (ConnectionReady, StreamOpened, StreamClosed, Draining)
)


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    events: tuple[Envelope, ...] | None = None
    notice: str | None = None
    ok: bool | None = None


def decode_frame(frame: bytes, *, at: datetime, at_s: float) -> Received | None:
    """What the server says with this frame; None for what this version does not know.

    Raises:
        msgspec.DecodeError: it is no frame of this protocol.
    """
    found = msgspec.json.decode(frame, type=_Frame)
    if found.events is not None:
        return Arrived(events=found.events, at=at, at_s=at_s)
    if found.ok is not None:
        return msgspec.json.decode(frame, type=Answer)
    if found.notice in _NOTICES:
        return msgspec.json.decode(frame, type=Notices)
    return None


class LiveConnection:
    """One open socket of the account. Made by ``open_live``. One task receives; any may send."""

    def __init__(self, socket: ClientConnection, clock: Clock, heard: list[bytes] | None = None) -> None:
        self._socket = socket
        self._clock = clock
        self._heard = heard
        self._waiting: deque[Received] = deque()
        self._last_ref = 0

    async def receive(self) -> Received:
        """The next thing that the server says.

        Raises:
            ConnectionLostError: it says nothing more.
        """
        return self._waiting.popleft() if self._waiting else await self._read()

    async def send(self, operation: AnyOperation) -> None:
        """The operation is on its way.

        Raises:
            ConnectionLostError: it is not.
        """
        try:
            await self._socket.send(encode_frame(operation), text=True)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def call(self, operation: AnyOperation) -> Answer:
        """The answer to the operation; what else comes meanwhile is received afterwards. For who receives alone.

        Raises:
            RefusedError: the answer is an error.
            ConnectionLostError: there is none.
        """
        self._last_ref += 1
        ref = f"call-{self._last_ref}"
        await self.send(msgspec.structs.replace(operation, ref=ref))
        while True:
            found = await self._read()
            if not isinstance(found, Answer) or found.ref != ref:
                self._waiting.append(found)
            elif found.error is not None:
                raise RefusedError(found.error)
            else:
                return found

    def drop(self) -> None:
        """The socket is cut, without a goodbye."""
        self._socket.transport.abort()

    async def _read(self) -> Received:
        while True:
            try:
                frame = await self._socket.recv(decode=False)
            except ConnectionClosed as closed:
                raise _lost(closed) from closed
            if self._heard is not None:
                self._heard.append(frame)
            try:
                found = decode_frame(frame, at=self._clock.now(), at_s=self._clock.monotonic())
            except msgspec.DecodeError as error:
                raise ConnectionLostError(CloseCode.PROTOCOL_ERROR, f"a frame cannot be read: {error}") from error
            if found is not None:
                return found


def _lost(closed: ConnectionClosed) -> ConnectionLostError:
    if closed.rcvd is None:
        return ConnectionLostError(CloseCode.ABNORMAL_CLOSURE, "")
    return ConnectionLostError(closed.rcvd.code, closed.rcvd.reason)


@asynccontextmanager
async def open_live(
    rest: RestClient, clock: Clock, *, heard: list[bytes] | None = None
) -> AsyncGenerator[LiveConnection]:
    """A live connection of who has signed in; closed at the end of the block.

    Every frame that is read is added to ``heard``, as it came.

    Raises:
        RefusedError: the server does not take the upgrade.
        UnreachableError: see there.
        ConnectionLostError: it ended before it was ready.
    """
    socket = await _connect(rest)
    try:
        live = LiveConnection(socket, clock, heard)
        try:
            async with asyncio.timeout(_OPEN_S):
                first = await live.receive()
        except TimeoutError as error:
            raise UnreachableError("the server says nothing on the live connection") from error
        if not isinstance(first, ConnectionReady):
            raise UnreachableError("what answers on the live connection is no Cloche server")
        yield live
    finally:
        await socket.close()


async def _connect(rest: RestClient) -> ClientConnection:
    try:
        return await connect(
            f"{rest.address.ws}/v1/ws",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            additional_headers={"Authorization": f"Bearer {rest.access_token}"},
            user_agent_header=USER_AGENT,
            proxy=None if rest.address.is_loopback else True,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            max_size=_MAX_FRAME_BYTES,
        )
    except InvalidStatus as error:
        raise refusal_of(error.response.status_code, bytes(error.response.body or b"")) from error
    except (OSError, TimeoutError, WebSocketException) as error:
        raise UnreachableError(f"no live connection to {rest.address.ws}: {why(error)}") from error
