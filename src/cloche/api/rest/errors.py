"""Errors as HTTP answers, all in one shape; and the edge that nothing unexpected passes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloche.api.wire.errors import error_body, error_headers, row_of, visible
from cloche.api.wire.request_ids import request_id_of
from cloche.errors import ClocheError, InvalidInputError, NotFoundError
from cloche.telemetry import LogEvent, Telemetry

MAX_PROBLEMS = 20
MAX_PLACE = 100


class _Problem(TypedDict):
    """What pydantic says of one value. What the client sent is in there too, and is never shown."""

    type: str
    loc: Sequence[int | str]
    msg: str


def error_answer(
    error: ClocheError, scope: Scope, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The error as the answer to this request, with the status of its class unless another one is given."""
    body = json.dumps(error_body(error, request_id_of(scope)), ensure_ascii=False, separators=(",", ":"), default=str)
    return Response(
        body,
        row_of(type(error)).status if status is None else status,
        {**error_headers(error), **(headers or {})},
        "application/json",
    )


def render_refusal(scope: Scope, error: ClocheError) -> ASGIApp:
    """The answer for a request that does not even reach the routes."""
    return error_answer(error, scope)


def add_exception_handlers(app: Starlette) -> None:
    """Each kind of error that an endpoint or the routing raises becomes an answer in the one shape."""
    app.add_exception_handler(ClocheError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_routing)


class ErrorEdge:
    """Turns whatever passed all handlers into an ``internal_error`` with the request's id, and logs its traceback."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Once an answer has begun, an error can only break it off: it travels on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            self._telemetry.error(LogEvent.REQUEST_FAILED, error, request=request_id_of(scope))
            if has_begun:
                raise
            await error_answer(visible(error), scope)(scope, receive, send)


async def _answer_ours(connection: HTTPConnection, error: Exception) -> Response:
    if not isinstance(connection, Request) or not isinstance(error, ClocheError):
        raise error  # a socket is closed by its own edge
    return error_answer(error, connection.scope)


async def _answer_invalid(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class"
    found = cast("Sequence[_Problem]", error.errors())[:MAX_PROBLEMS]
    problems = [{"place": _place(problem["loc"]), "message": _message(problem)} for problem in found]
    refusal = InvalidInputError(
        f"{problems[0]['place']}: {problems[0]['message']}",
        details={"place": problems[0]["place"], "problems": problems},
    )
    return error_answer(refusal, connection.scope)


async def _answer_routing(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    scope = connection.scope
    if error.status_code == 405:
        return _answer_method(scope)
    if error.status_code == 404:
        return error_answer(NotFoundError("there is nothing at this path"), scope)
    return error_answer(InvalidInputError("the request cannot be read"), scope, status=error.status_code)


def _answer_method(scope: Scope) -> Response:
    allowed = ", ".join(sorted({*_methods_of_path(scope), "OPTIONS"}))
    if scope["method"] == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allowed})
    refusal = InvalidInputError(
        "this path does not take this method", details={"place": "method", "allowed": allowed.split(", ")}
    )
    return error_answer(refusal, scope, status=405, headers={"Allow": allowed})


def _methods_of_path(scope: Scope) -> set[str]:
    """The methods of every route at this path: the router itself only tells those of the first one."""
    routes: Sequence[BaseRoute] = scope["app"].routes
    found: set[str] = set()
    for route in routes:
        methods: set[str] | None = getattr(route, "methods", None)
        if methods and route.matches(scope)[0] is not Match.NONE:
            found |= methods | ({"HEAD"} if "GET" in methods else set())
    return found


def _place(loc: Sequence[int | str]) -> str:
    """``$.parts[0].text`` for a body, ``query.limit`` for anything else."""
    head, *rest = loc
    if head != "body":
        return ".".join(map(str, loc))[:MAX_PLACE]
    return ("$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest))[:MAX_PLACE]


def _message(problem: _Problem) -> str:
    match problem["type"]:
        case "missing":
            return "a value is needed here"
        case "extra_forbidden":
            return "there is no such field"
        case _:
            return problem["msg"][:1].lower() + problem["msg"][1:]
