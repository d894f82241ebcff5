"""The wire seen from a client: signing in and asking over REST, and one live connection at a time.

What the server says is read tolerantly: fields, notices and event types that this version does not know are passed over.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from cloche import __version__
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
from cloche.clock import Clock
from cloche.domain.events import Envelope
from cloche.errors import InvalidInputError

T = TypeVar("T")

_USER_AGENT = f"cloche-cli/{__version__}"
_REQUEST_S = 30.0
_OPEN_S = 10.0
_CLOSE_S = 2.0
# One event may hold a whole answer, and a snapshot a hundred of them.
_MAX_FRAME_BYTES = 256 * 1024 * 1024


class UnreachableError(Exception):
    """Nobody answers at the address, or what answers there is no Cloche server."""


class RefusedError(Exception):
    """The server did not do what was asked, and said why. ``status`` is None on a live connection."""

    def __init__(self, error: ErrorMembers, status: int | None = None) -> None:
        self.error = error
        self.status = status
        super().__init__(f"{error.message} ({error.code})")


class ConnectionLostError(Exception):
    """The live connection has ended; ``code`` is its close code, 1006 when there was none."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection ended with {code}{f': {reason}' if reason else ''}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who signs in; the tenant's slug only where the address is known in several."""

    email: str
    password: str = field(repr=False)
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server is: ``http`` and ``ws`` without a slash at their ends."""

    http: str
    ws: str
    is_loopback: bool


def server_address(url: str) -> ServerAddress:
    """The addresses of the server at a URL that a person typed.

    Raises:
        InvalidInputError: it is no http or https address, or it holds a user or password.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidInputError("the address of a server is of the form http://host:port or https://host")
    if parts.username is not None or parts.password is not None:
        raise InvalidInputError("the address must not hold a user or password; give --email instead")
    place = f"{parts.netloc}{parts.path.rstrip('/')}"
    return ServerAddress(
        http=f"{parts.scheme}://{place}",
        ws=f"{'wss' if parts.scheme == 'https' else 'ws'}://{place}",
        is_loopback=_is_loopback(host),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Tokens(msgspec.Struct, frozen=True, kw_only=True):
    access_token: str
    refresh_token: str


class _ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    error: ErrorMembers


class ThreadFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a client needs to know of a thread."""

    id: str
    title: str
    archived_at: str | None


class RestClient:
    """Requests of one person. Made by ``open_rest``; ``sign_in`` first."""

    def __init__(self, http: httpx2.AsyncClient, address: ServerAddress) -> None:
        self._http = http
        self._tokens: _Tokens | None = None
        self.address = address

    @property
    def access_token(self) -> str:
        """The credential of the moment."""
        assert self._tokens is not None, "somebody has signed in"
        return self._tokens.access_token

    async def sign_in(self, account: Account) -> None:
        """Requests are the account's from now on.

        Raises:
            RefusedError: the e-mail address or the password is wrong, or a tenant must be named.
            UnreachableError: see there.
        """
        body: dict[str, object] = {"email": account.email, "password": account.password}
        if account.tenant is not None:
            body["tenant"] = account.tenant
        self._tokens = _read(_Tokens, await self._ask("POST", "/v1/auth/login", body))

    async def refresh(self) -> None:
        """There is a new access token.

        Raises:
            RefusedError: the session is over.
            UnreachableError: see there.
        """
        assert self._tokens is not None, "somebody has signed in"
        body: dict[str, object] = {"refresh_token": self._tokens.refresh_token}
        self._tokens = _read(_Tokens, await self._ask("POST", "/v1/auth/refresh", body))

    async def sign_out(self) -> None:
        """The session is over; without one, nothing is done.

        Raises:
            RefusedError: the server would not.
            UnreachableError: see there.
        """
        if self._tokens is not None:
            await self.request("POST", "/v1/auth/logout")
            self._tokens = None

    async def request(self, method: str, path: str, body: dict[str, object] | None = None) -> httpx2.Response:
        """The answer to a request of the account; an access token that is over is renewed on the way.

        Raises:
            RefusedError: the answer is an error.
            UnreachableError: see there.
        """
        try:
            return await self._ask(method, path, body, with_token=True)
        except RefusedError as refused:
            if refused.error.code != "token_expired":
                raise
        await self.refresh()
        return await self._ask(method, path, body, with_token=True)

    async def get(self, shape: type[T], path: str) -> T:
        """What stands at the path. Raises as ``request`` does."""
        return _read(shape, await self.request("GET", path))

    async def post(self, shape: type[T], path: str, body: dict[str, object] | None = None) -> T:
        """What the path answers. Raises as ``request`` does."""
        return _read(shape, await self.request("POST", path, body))

    async def look(self, path: str) -> tuple[int, bytes]:
        """Status and body of an answer that may be anything, without a credential.

        Raises:
            UnreachableError: see there.
        """
        response = await self._fetch("GET", path, None, {})
        return response.status_code, response.content

    async def set_up(self, secret: str, account: Account, name: str) -> None:
        """The account is the first administrator, and requests are theirs from now on.

        Raises:
            RefusedError: the secret is none or was used, or the address or password will not do.
            UnreachableError: see there.
        """
        body: dict[str, object] = {"secret": secret, "email": account.email, "password": account.password, "name": name}
        self._tokens = _read(_Tokens, await self._ask("POST", "/v1/auth/setup", body))

    async def _ask(
        self, method: str, path: str, body: dict[str, object] | None, *, with_token: bool = False
    ) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.access_token}"} if with_token else {}
        response = await self._fetch(method, path, body, headers)
        if response.status_code >= 400:
            raise _refusal(response.status_code, response.content)
        return response

    async def _fetch(
        self, method: str, path: str, body: dict[str, object] | None, headers: dict[str, str]
    ) -> httpx2.Response:
        try:
            return await self._http.request(method, self.address.http + path, json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise UnreachableError(f"nobody answers at {self.address.http}: {_why(error)}") from error


def _read(shape: type[T], response: httpx2.Response) -> T:
    try:
        return msgspec.json.decode(response.content, type=shape)
    except msgspec.DecodeError as error:
        raise UnreachableError(f"what answers is no Cloche server, or of another version: {error}") from error


def _refusal(status: int, body: bytes) -> RefusedError | UnreachableError:
    try:
        return RefusedError(msgspec.json.decode(body, type=_ErrorBody).error, status)
    except msgspec.DecodeError:
        return UnreachableError(f"what answers, with status {status}, is no Cloche server")


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__


@asynccontextmanager
async def open_rest(url: str) -> AsyncGenerator[RestClient]:
    """A client of the server at the URL; its connections are closed at the end of the block.

    Raises:
        InvalidInputError: the URL is none of a server.
    """
    address = server_address(url)
    async with httpx2.AsyncClient(
        timeout=_REQUEST_S, headers={"User-Agent": _USER_AGENT}, trust_env=not address.is_loopback
    ) as http:
        yield RestClient(http, address)


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

_NOTICES = frozenset(str(kind.__struct_config__.tag) for kind in (ConnectionReady, StreamOpened, StreamClosed, Draining))


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

    def __init__(self, socket: ClientConnection, clock: Clock) -> None:
        self._socket = socket
        self._clock = clock
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
async def open_live(rest: RestClient, clock: Clock) -> AsyncGenerator[LiveConnection]:
    """A live connection of who has signed in; closed at the end of the block.

    Raises:
        RefusedError: the server does not take the upgrade.
        UnreachableError: see there.
        ConnectionLostError: it ended before it was ready.
    """
    socket = await _connect(rest)
    try:
        live = LiveConnection(socket, clock)
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
            user_agent_header=_USER_AGENT,
            proxy=None if rest.address.is_loopback else True,
            open_timeout=_OPEN_S,
            close_timeout=_CLOSE_S,
            max_size=_MAX_FRAME_BYTES,
        )
    except InvalidStatus as error:
        raise _refusal(error.response.status_code, error.response.body or b"") from error
    except (OSError, TimeoutError, WebSocketException) as error:
        raise UnreachableError(f"no live connection to {rest.address.ws}: {_why(error)}") from error
