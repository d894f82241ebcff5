"""The page that people see: its built files, read once and served from memory with what browsers should keep of them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cloche.errors import ConfigurationError, NotFoundError

BUILT = "built"
PAGE = "index.html"

# A name with a hash in it is never given to other bytes.
_match_hashed = re.compile(r"assets/.+-[A-Za-z0-9_-]{8}\.[a-z0-9]+").fullmatch
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_FOREVER = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"
_SMALLEST_PACKED = 512
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text becomes HTML in one place, by one library: anything else that tries is refused by the browser.
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
"""What the page may do: talk to its own server, and nothing that an answer could ask for.

Source: https://www.w3.org/TR/CSP3/ and https://www.w3.org/TR/trusted-types/
"""
_PAGE_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # A link in an answer is not looked up before a person has opened it.
    "X-DNS-Prefetch-Control": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    body: bytes
    tag: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class BuiltPages:
    """The ASGI application that serves the page and its parts. It knows its files: no path of a request reaches the disk.

    Raises:
        ConfigurationError: when made: the page was not built into this installation.
    """

    def __init__(self, folder: Traversable | None = None) -> None:
        root = folder or files("cloche.web") / BUILT
        self._files = {path: _file(path, body) for path, body in _contents(root, "")}
        self._packed: dict[str, bytes] = {}
        if PAGE not in self._files:
            raise ConfigurationError("the page is not built into this installation: run `make web`")

    @property
    def paths(self) -> list[str]:
        """The paths of everything that is served, as routes name them; the page itself is ``/``."""
        return ["/" if path == PAGE else f"/{path}" for path in self._files]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            NotFoundError: there is no such file.
        """
        path = str(scope["path"]).removeprefix("/") or PAGE
        found = self._files.get(path)
        if found is None:
            raise NotFoundError("there is nothing at this path")
        asked = Headers(scope=scope)
        is_packed = len(found.body) >= _SMALLEST_PACKED and _takes_gzip(asked)
        if is_packed and path not in self._packed:
            self._packed[path] = await asyncio.to_thread(gzip.compress, found.body, 9, mtime=0)
        await _answer(found, asked, self._packed[path] if is_packed else None)(scope, receive, send)


def _contents(folder: Traversable, place: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    if not folder.is_dir():
        return found
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{place}{entry.name}"
        if entry.is_dir():
            found += _contents(entry, f"{path}/")
        elif any(path.endswith(suffix) for suffix in _TYPES):
            found.append((path, entry.read_bytes()))
    return found


def _file(path: str, body: bytes) -> _File:
    kind = next(kind for suffix, kind in _TYPES.items() if path.endswith(suffix))
    own = _PAGE_HEADERS if path == PAGE else {}
    return _File(
        body=body,
        tag=hashlib.sha256(body).hexdigest()[:32],
        headers={
            "Content-Type": kind,
            "Cache-Control": _FOREVER if _match_hashed(path) else _ASK_EACH_TIME,
            "Vary": "Accept-Encoding",
            **own,
        },
    )


def _answer(found: _File, asked: Headers, packed: bytes | None) -> Response:
    # Two encodings are two representations, and each has its own tag.
    tag = f'"{found.tag}"' if packed is None else f'"{found.tag}-gz"'
    headers = {**found.headers, "ETag": tag, **({} if packed is None else {"Content-Encoding": "gzip"})}
    known = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    if tag in known:
        # A browser takes these in place of those that it has kept, the policy among them.
        return Response(status_code=304, headers=headers)
    return Response(found.body if packed is None else packed, headers=headers)


def _takes_gzip(asked: Headers) -> bool:
    # https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3
    for offered in ",".join(asked.getlist("accept-encoding")).split(","):
        coding, _, weight = offered.partition(";")
        if coding.strip().lower() in {"gzip", "x-gzip"}:
            return weight.replace(" ", "").lower() not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
