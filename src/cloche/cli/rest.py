"""A server's REST interface as one person uses it: signing in, asking, signing out.

What the server says is read tolerantly: fields that this version does not know are passed over.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec

from cloche import __version__
from cloche.api.wire.frames import ErrorMembers
from cloche.errors import InvalidInputError

T = TypeVar("T")

USER_AGENT = f"cloche-cli/{__version__}"
_REQUEST_S = 30.0


class UnreachableError(Exception):
    """Nobody answers at the address, or what answers there is no Cloche server."""


class RefusedError(Exception):
    """The server did not do what was asked, and said why. ``status`` is None on a live connection."""

    def __init__(self, error: ErrorMembers, status: int | None = None) -> None:
        self.error = error
        self.status = status
        super().__init__(f"{error.message} ({error.code})")


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
            raise refusal_of(response.status_code, response.content)
        return response

    async def _fetch(
        self, method: str, path: str, body: dict[str, object] | None, headers: dict[str, str]
    ) -> httpx2.Response:
        try:
            return await self._http.request(method, self.address.http + path, json=body, headers=headers)
        except httpx2.HTTPError as error:
            raise UnreachableError(f"nobody answers at {self.address.http}: {why(error)}") from error


def _read(shape: type[T], response: httpx2.Response) -> T:
    try:
        return msgspec.json.decode(response.content, type=shape)
    except msgspec.DecodeError as error:
        raise UnreachableError(f"what answers is no Cloche server, or of another version: {error}") from error


def refusal_of(status: int, body: bytes) -> RefusedError | UnreachableError:
    """The error that an answer of this status and body stands for."""
    try:
        return RefusedError(msgspec.json.decode(body, type=_ErrorBody).error, status)
    except msgspec.DecodeError:
        return UnreachableError(f"what answers, with status {status}, is no Cloche server")


def why(error: Exception) -> str:
    """What an error of a library says, or at least what it is called."""
    return str(error) or type(error).__name__


@asynccontextmanager
async def open_rest(url: str) -> AsyncGenerator[RestClient]:
    """A client of the server at the URL; its connections are closed at the end of the block.

    Raises:
        InvalidInputError: the URL is none of a server.
    """
    address = server_address(url)
    # It reads the certificates of authorities, which would hold the loop.
    http = await asyncio.to_thread(
        httpx2.AsyncClient,
        timeout=_REQUEST_S,
        headers={"User-Agent": USER_AGENT},
        trust_env=not address.is_loopback,
    )
    async with http:
        yield RestClient(http, address)
