"""Around every HTTP request: its id, its log line, its figure, and the headers that keep a browser careful."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloche.api.rest.route import caller_in
from cloche.api.wire.request_ids import begin_request
from cloche.clock import Clock
from cloche.telemetry import LogEvent, Telemetry, count

CLIENT_LEFT = 499
"""The status in the log of a request whose client went away before there was an answer."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class RequestEdge:
    """The outermost part of the application. What a route says of these headers itself counts.

    The log line and the figure name the route's template: never a path, a query or a body.
    """

    def __init__(self, app: ASGIApp, clock: Clock, telemetry: Telemetry) -> None:
        self._app = app
        self._clock = clock
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = begin_request(scope)
        has_body = scope["method"] != "HEAD"
        started, status = self._clock.monotonic(), CLIENT_LEFT

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ())]
                present = {name.lower() for name, _ in headers}
                headers += [header for header in _HEADERS if header[0] not in present]
                message = {**message, "headers": [*headers, (b"x-request-id", request_id.encode())]}
            elif not has_body and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, dressed)
        finally:
            self._tell(scope, request_id, status, self._clock.monotonic() - started)

    def _tell(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        route = _template(scope)
        caller = caller_in(scope)
        count(self._telemetry.figures.requests, f"{method} {route} {status}")
        self._telemetry.info(
            LogEvent.REQUEST_DONE,
            request=request_id,
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            user=None if caller is None else str(caller.scope.user_id),
        )


def _template(scope: Scope) -> str:
    """The path of the route that was matched, with its parameters' names. Only our own routes put themselves there."""
    route: object = scope.get("route")
    endpoint: object = scope.get("endpoint")
    if route is None and endpoint is not None:
        route = next(
            (one for one in scope["app"].routes if endpoint is getattr(one, "endpoint", getattr(one, "app", None))),
            None,
        )
    return str(getattr(route, "path", "unmatched"))
