"""Around every request: ids, headers, log lines, and one shape for every error."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from cloche.api.rest.application import rest_app
from cloche.api.wire.access import Public, requires
from cloche.api.wire.parts import EdgeParts
from cloche.errors import NotFoundError, StorageUnavailableError
from cloche.ids import RequestId
from support.world import World

SECRET = "what nobody may read in a log"
SHAPE = {"code", "message", "retryable", "details", "request_id"}


async def test_every_answer_has_an_id_of_its_own_whatever_the_client_says(stranger: Any):
    answers = [await stranger.get("/healthz", headers={"X-Request-Id": "mine"}) for _ in range(2)]

    ids = [answer.headers.get_list("X-Request-Id") for answer in answers]
    assert [RequestId.parse(one) for (one,) in ids]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/threads/", 404, "not_found"),
        ("GET", "//v1/threads", 404, "not_found"),
        ("GET", "/v1/me", 401, "not_authenticated"),
        ("GET", "/docs", 404, "not_found"),
        ("DELETE", "/v1/threads", 405, "invalid_input"),
        ("POST", "/v1/auth/login", 400, "invalid_input"),
        ("GET", "/healthz?%00", 400, "invalid_input"),
        ("POST", "/nowhere", 404, "not_found"),
    ],
)
async def test_every_error_has_the_one_shape(stranger: Any, method: str, path: str, status: int, code: str):
    answer = await stranger.request(method, path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == SHAPE
    assert answer.json()["error"]["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Content-Type"] == "application/json"


async def test_a_wrong_method_is_told_all_the_right_ones(stranger: Any):
    answer = await stranger.delete("/v1/threads")
    options = await stranger.options("/v1/threads")

    assert answer.headers["Allow"] == options.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert (options.status_code, options.content) == (204, b"")
    assert (await stranger.options("/nowhere")).status_code == 404


async def test_a_head_request_is_a_get_request_without_a_body(ada: Any, stranger: Any):
    got, asked = await ada.get("/v1/me"), await ada.head("/v1/me")

    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["Content-Length"] == got.headers["Content-Length"]
    assert (await stranger.head("/v1/me")).status_code == 401
    assert (await stranger.head("/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/v1/me", "/nowhere", "/v1/me?%00"])
async def test_a_browser_is_told_to_be_careful(stranger: Any, path: str):
    headers = (await stranger.get(path)).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert not {"server", "set-cookie", "access-control-allow-origin"} & set(headers)


async def test_one_line_tells_of_a_request_and_nothing_of_what_was_in_it(ada: Any, idle_world: World, echo: None):
    answer = await ada.post(f"/v1/messages?note={SECRET}", json={"text": SECRET})

    ((level, event, fields),) = [line for line in idle_world.log_book.lines if line[1].startswith("request.")]
    assert (level, event) == ("info", "request.done")
    assert isinstance(fields["ms"], float)
    assert {name: value for name, value in fields.items() if name != "ms"} == {
        "request": answer.headers["X-Request-Id"],
        "method": "POST",
        "route": "/v1/messages",
        "status": 202,
        "user": str(ada.scope.user_id),
    }
    assert SECRET not in str(idle_world.log_book.lines)


@requires(Public("a test's own route"))
async def broken(request: Request) -> Response:
    raise RuntimeError(SECRET)


@requires(Public("a test's own route"))
async def broken_off(request: Request) -> Response:
    async def pieces() -> AsyncGenerator[bytes]:
        yield b"half an answer"
        raise RuntimeError(SECRET)

    return StreamingResponse(pieces())


@requires(Public("a test's own route"))
async def unavailable(request: Request) -> Response:
    raise StorageUnavailableError("the database is closed")


@requires(Public("a test's own route"))
async def own_headers(request: Request) -> Response:
    return Response("page", headers={"Content-Security-Policy": "default-src 'self'", "Cache-Control": "no-cache"})


@requires(Public("a test's own page"))
class Page:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Response("page")(scope, receive, send)


@requires(Public("a test's own route"))
async def teapot(request: Request) -> Response:
    raise HTTPException(418, "short and stout")


@requires(Public("a test's own socket"))
async def working_socket(websocket: WebSocket) -> None:
    await websocket.accept()


@requires(Public("a test's own socket"))
async def broken_socket(websocket: WebSocket) -> None:
    await websocket.accept()
    raise NotFoundError("never told")


@pytest.fixture
def failing(services: EdgeParts, stranger: Any) -> Any:
    """A client of an application with routes that fail."""
    endpoints = {
        "/broken": broken,
        "/broken-off": broken_off,
        "/unavailable": unavailable,
        "/own-headers": own_headers,
        "/teapot": teapot,
    }
    routes: list[BaseRoute] = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    routes += [Route("/own/{name}", Page()), Mount("/pages", Page())]
    sockets = [WebSocketRoute("/broken", broken_socket), WebSocketRoute("/working", working_socket)]
    stranger._transport.app = rest_app(services, extra_routes=[*routes, *sockets])
    return stranger


async def test_what_nobody_expected_is_logged_with_its_id_and_not_told(failing: Any, idle_world: World):
    answer = await failing.get("/broken")

    (fields,) = [fields for _, event, fields in idle_world.log_book.lines if event == "request.failed"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert SECRET not in answer.text
    assert fields["request"] == answer.headers["X-Request-Id"] == answer.json()["error"]["request_id"]
    assert isinstance(fields["exc_info"], RuntimeError)
    assert fields["exc_info"].__traceback__ is not None
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_answer_that_has_begun_is_broken_off(failing: Any, idle_world: World):
    with pytest.raises(RuntimeError, match=SECRET):
        await failing.get("/broken-off")

    assert {"request.failed", "request.done"} <= {event for _, event, _ in idle_world.log_book.lines}


async def test_an_error_that_will_pass_says_when_to_come_back(failing: Any):
    answer = await failing.get("/unavailable")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert answer.json()["error"]["retryable"] is True
    assert answer.headers["Retry-After"] == "1"


async def test_the_line_names_the_template_of_another_edge_s_route_too(failing: Any, idle_world: World):
    for path in ("/own-headers", "/own/1", "/pages/a/b", "/nowhere"):
        await failing.get(path)

    routes = [fields["route"] for _, event, fields in idle_world.log_book.lines if event == "request.done"]
    assert routes == ["/own-headers", "/own/{name}", "/pages", "unmatched"]


async def test_a_page_s_own_headers_count(failing: Any):
    headers = (await failing.get("/own-headers")).headers

    assert headers.get_list("Content-Security-Policy") == ["default-src 'self'"]
    assert headers.get_list("Cache-Control") == ["no-cache"]
    assert headers["X-Frame-Options"] == "DENY"


async def open_socket(app: Any, path: str) -> list[Any]:
    """What an application sends to a client that opens a socket."""
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": path, "headers": [], "query_string": b"", "subprotocols": []}
    await app(scope, receive, send)
    return sent


async def test_a_socket_and_its_errors_are_left_to_its_edge(failing: Any):
    assert await open_socket(failing._transport.app, "/working") == ["websocket.accept"]
    with pytest.raises(NotFoundError):
        await open_socket(failing._transport.app, "/broken")


async def test_what_the_framework_refuses_has_the_one_shape_and_not_its_words(failing: Any):
    answer = await failing.get("/teapot")

    assert (answer.status_code, answer.json()["error"]["message"]) == (418, "the request cannot be read")
    assert set(answer.json()["error"]) == SHAPE


async def test_every_problem_of_a_body_is_named_and_none_of_its_values(stranger: Any):
    answer = await stranger.post("/v1/auth/login", json={"password": [SECRET], SECRET * 50: SECRET})

    details = answer.json()["error"]["details"]
    assert [problem["place"][:10] for problem in details["problems"]] == ["$.email", "$.password", f"$.{SECRET}"[:10]]
    assert all(len(problem["place"]) <= 100 for problem in details["problems"])
    assert re.fullmatch(r"\$\.email: .*", answer.json()["error"]["message"])


async def test_a_client_that_goes_away_leaves_a_line_and_no_error(services: EdgeParts, idle_world: World):
    app = rest_app(services)

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("there is nobody to answer")

    scope = {"type": "http", "method": "POST", "path": "/v1/auth/login", "headers": [], "query_string": b""}
    await app(scope, receive, send)

    ((_, event, fields),) = idle_world.log_book.lines
    assert (event, fields["status"]) == ("request.done", 499)
