"""The gate before every HTTP route: no body, path or query passes that a route could not handle.

It reads the body once, bounded in bytes and time, and hands the same bytes on. What the JSON means is not its matter.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloche.api.wire.strict_json import DEFAULT, JsonLimits, parse
from cloche.errors import ClocheError, InvalidInputError, LimitExceededError, PayloadTooLargeError

RenderError: TypeAlias = Callable[[Scope, ClocheError], ASGIApp]

_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DIGITS = re.compile(r"[0-9]+")
_JSON_MEDIA_TYPE = re.compile(
    r'application/json[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?;?[ \t]*', re.IGNORECASE
)


def _no_path_is_exempt(_scope: Scope) -> bool:
    return False


class StrictBody:
    """An ASGI application that lets through to ``app`` only what is acceptable.

    A path or query with control characters, NUL or percent-encoded bytes that are not UTF-8 is refused for every
    HTTP request. A body is refused unless it is uncompressed ``application/json`` that ``strict_json.parse`` takes;
    an empty body passes, whether a route needs one is the route's matter. GET, HEAD and OPTIONS bodies are not read.
    Anything but HTTP passes untouched.

    Args:
        app: gets the original body as one message; its later ``receive`` calls are the server's.
        render: makes the answer to a refusal.
        is_exempt: true for a request whose body the app reads by itself, such as an upload.
        limits: of the body.
        deadline: for the whole body to arrive.

    Guarantees: nothing more is read after a refusal; a client that leaves during its body never reaches the app.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        render: RenderError,
        is_exempt: Callable[[Scope], bool] = _no_path_is_exempt,
        limits: JsonLimits = DEFAULT,
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:
        self._app = app
        self._render = render
        self._is_exempt = is_exempt
        self._limits = limits
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let it through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            _check_target(scope)
            if scope["method"] not in _WITHOUT_BODY and not self._is_exempt(scope):
                receive = await self._checked(scope, receive)
        except _ClientLeftError:
            return
        except ClocheError as error:
            await self._render(scope, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        body = await self._read(scope, receive)
        if body:
            parse(body, self._limits)
        return _replay(body, receive)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        _check_encoding(scope)
        length = _declared_length(scope, self._limits)
        # Before the first read: a client that sent "Expect: 100-continue" then need not send its body.
        if length or _header(scope, b"transfer-encoding"):
            _check_media_type(scope)
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                body = await _receive_all(receive, self._limits)
        except TimeoutError:
            raise _too_slow(self._deadline) from None
        if body:
            _check_media_type(scope)
        if length is not None and length != len(body):
            raise _refusal("the body is not as long as Content-Length says", "content_length", "header content-length")
        return body


class _ClientLeftError(Exception):
    """There is nobody to answer."""


async def _receive_all(receive: Receive, limits: JsonLimits) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _ClientLeftError
        body += message.get("body", b"")
        if len(body) > limits.max_bytes:
            raise _too_large(limits)
        more = message.get("more_body", False)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _refusal(message: str, reason: str, place: str) -> InvalidInputError:
    return InvalidInputError(message, details={"place": place, "reason": reason})


def _too_large(limits: JsonLimits) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"the body is too large: at most {limits.max_bytes} bytes are taken",
        details={"place": "body", "reason": "size", "limit_bytes": limits.max_bytes},
    )


def _too_slow(deadline: timedelta) -> LimitExceededError:
    return LimitExceededError(
        f"the body did not arrive within {deadline.total_seconds():g} s",
        details={"place": "body", "reason": "too_slow", "limit_s": deadline.total_seconds()},
    )


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key.lower() == name]


def _check_encoding(scope: Scope) -> None:
    codings = ",".join(_header(scope, b"content-encoding")).lower().split(",")
    if any(coding.strip() not in {"", "identity"} for coding in codings):
        raise _refusal("a compressed body is not taken", "content_encoding", "header content-encoding")


def _check_media_type(scope: Scope) -> None:
    found = _header(scope, b"content-type")
    if len(found) != 1 or not _JSON_MEDIA_TYPE.fullmatch(found[0]):
        raise _refusal("the body must be application/json in UTF-8", "content_type", "header content-type")


def _declared_length(scope: Scope, limits: JsonLimits) -> int | None:
    found = _header(scope, b"content-length")
    if not found:
        return None
    # Source: https://www.rfc-editor.org/rfc/rfc9112#section-6.3: disagreement about the length smuggles requests.
    if len(found) > 1 or _header(scope, b"transfer-encoding"):
        raise _refusal("the length of the body is given more than once", "content_length", "header content-length")
    if not _DIGITS.fullmatch(found[0]):
        raise _refusal("Content-Length must be a number", "content_length", "header content-length")
    digits = found[0].lstrip("0")
    if len(digits) > len(str(limits.max_bytes)) or int(digits or "0") > limits.max_bytes:
        raise _too_large(limits)
    return int(digits or "0")


def _check_target(scope: Scope) -> None:
    """Both forms of the path: servers decode ``path`` leniently, so bytes that are not UTF-8 show in ``raw_path``."""
    _check_text(scope["path"].encode("utf-8", "surrogatepass"), "path")
    _check_text(unquote_to_bytes(scope.get("raw_path") or b""), "path")
    _check_text(unquote_to_bytes(scope["query_string"]), "query")


def _check_text(encoded: bytes, place: str) -> None:
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        raise _refusal(f"the {place} is not UTF-8", "encoding", place) from None
    found = _CONTROL_CHARACTER.search(text)
    if found is not None:
        reason = "nul" if found.group() == "\x00" else "control_character"
        raise _refusal(f"the {place} holds a control character", reason, place)
