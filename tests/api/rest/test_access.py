"""Closed by default: every route declares what it needs, and nobody gets past the declaration."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from cloche.api.rest.application import rest_app
from cloche.api.rest.route import Endpoint, RestRoute
from cloche.api.sse.routes import sse_routes
from cloche.api.wire.access import Public, access_of_route, requires
from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import EdgeParts
from cloche.api.ws.routes import websocket_routes
from cloche.domain.permissions import Permission, Role, permissions_of
from cloche.errors import ConfigurationError
from cloche.ids import TypedId

PUBLIC = {
    "POST /v1/auth/login",
    "POST /v1/auth/refresh",
    "POST /v1/auth/setup",
    "POST /v1/browser-session",
    "POST /v1/browser-session/refresh",
    "POST /v1/browser-session/setup",
    "GET /healthz",
    "GET /readyz",
    "GET /openapi.json",
    "GET /asyncapi.json",
    "GET /.well-known/jwks.json",
}
SIGNS_OUT = {("POST", "/v1/auth/logout"), ("DELETE", "/v1/browser-session")}
ID_KINDS = {kind.kind.value: kind for kind in TypedId.__subclasses__()}


def routes_of(app: FastAPI) -> list[RestRoute]:
    return [route for route in app.routes if isinstance(route, RestRoute)]


def concrete(path: str) -> str:
    """The path with a fresh id of the right kind in each place."""
    for name, kind in ID_KINDS.items():
        path = path.replace("{" + name + "_id}", kind.new())
    assert "{" not in path
    return path


def test_every_route_declares_what_it_needs(app: FastAPI):
    declared = {
        f"{method} {route.path}": access_of_route(route) for route in routes_of(app) for method in route.methods or ()
    }

    assert {path for path, access in declared.items() if isinstance(access, Public)} == PUBLIC
    assert all(access.reason for access in declared.values() if isinstance(access, Public))
    assert len(routes_of(app)) == len(app.routes) > 35


async def test_a_stranger_gets_nothing_but_what_is_public(app: FastAPI, stranger: Any):
    for route in routes_of(app):
        for method in route.methods or ():
            answer = await stranger.request(method, concrete(route.path))

            if f"{method} {route.path}" not in PUBLIC:
                assert answer.status_code == 401, (method, route.path)
                assert answer.json()["error"]["code"] == "not_authenticated"
                assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_without_its_permission_every_route_refuses_and_with_it_none_does(app: FastAPI, ada: Any, switches: Any):
    for route in routes_of(app):
        needed = access_of_route(route)
        if isinstance(needed, Public):
            continue
        for method in route.methods or ():
            if (method, route.path) in SIGNS_OUT:
                continue
            switches.granted = frozenset(Permission) - {needed}
            without = await ada.request(method, concrete(route.path))
            switches.granted = frozenset({needed})
            with_it = await ada.request(method, concrete(route.path))

            assert without.status_code == 403, (method, route.path)
            assert without.json()["error"]["details"] == {"permission": str(needed)}
            assert with_it.status_code in {200, 201, 202, 204, 400, 404}, (method, route.path)


def test_members_may_use_everything_but_administration(app: FastAPI):
    member = permissions_of(Role.MEMBER)
    denied = {route.path for route in routes_of(app) if not is_open_to(route, member)}

    assert denied == {route.path for route in routes_of(app) if route.path.startswith("/v1/admin/")} | {"/metrics"}


def is_open_to(route: RestRoute, permissions: frozenset[str]) -> bool:
    access = access_of_route(route)
    return isinstance(access, Public) or str(access) in permissions


async def answering(request: Request) -> Response:
    return Response("here")


async def connecting(websocket: WebSocket) -> None:
    await websocket.accept()


async def mounted(scope: Any, receive: Any, send: Any) -> None:
    await Response("there")(scope, receive, send)


@pytest.mark.parametrize(
    "route", [Route("/x", answering), WebSocketRoute("/x", connecting), Mount("/x", mounted), Mount("/x", routes=[])]
)
def test_a_route_that_declares_nothing_is_not_served(services: EdgeParts, route: Any):
    with pytest.raises(ConfigurationError, match="/x"):
        rest_app(services, extra_routes=[route])


def test_a_method_of_a_table_that_declares_nothing_is_not_served(services: EdgeParts):
    with pytest.raises(ConfigurationError, match="/x"):
        RestRoute(services, "x", Endpoint(method="GET", path="/x", run=answering))


async def test_the_live_edges_declare_what_they_need_too(services: EdgeParts):
    connections = Connections(services.sign_in, services.clock)
    extra = [*websocket_routes(services, connections), *sse_routes(services, connections)]

    declared = {
        getattr(route, "path", ""): access_of_route(route) for route in rest_app(services, extra_routes=extra).routes
    }

    assert isinstance(declared["/v1/ws"], Public)
    assert declared["/v1/threads/{id}/events"] is Permission.THREADS_READ
    assert declared["/v1/runs/{id}/events"] is Permission.RUNS_READ
    assert len(declared) > 35


async def test_a_declared_route_of_another_edge_is_served_beside_ours(services: EdgeParts, people: Any):
    class Page:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await Response("page")(scope, receive, send)

    @requires(Public("a test's own route"))
    async def own(request: Request) -> Response:
        return Response("own")

    page = requires(Public("a test's own page"))(Page())
    app = rest_app(services, extra_routes=[Route("/v1/own", own), Mount("/page", page)])
    client = await people()
    client._transport.app = app

    assert (await client.get("/v1/own")).text == "own"
    assert (await client.get("/page/x")).text == "page"
    assert (await client.get("/v1/me")).status_code == 401
