"""The HTTP application: every route, and what stands around them."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from cloche.api.rest.account import AccountRoutes
from cloche.api.rest.admin import AdminRoutes
from cloche.api.rest.approvals import ApprovalRoutes
from cloche.api.rest.auth import AuthRoutes
from cloche.api.rest.branches import BranchRoutes
from cloche.api.rest.browser import BrowserRoutes
from cloche.api.rest.checkups import CheckupRoutes
from cloche.api.rest.edge import RequestEdge
from cloche.api.rest.errors import ErrorEdge, add_exception_handlers, render_refusal
from cloche.api.rest.export import ExportRoutes
from cloche.api.rest.findings import FindingRoutes
from cloche.api.rest.member_runs import MemberRunRoutes
from cloche.api.rest.members import MemberRoutes
from cloche.api.rest.messages import MessageRoutes
from cloche.api.rest.operations import OperationRoutes
from cloche.api.rest.route import SECURITY_SCHEME, Endpoint, RestRoute
from cloche.api.rest.runs import RunRoutes
from cloche.api.rest.search import SearchRoutes
from cloche.api.rest.system import Document, SystemRoutes
from cloche.api.rest.threads import ThreadRoutes
from cloche.api.rest.usage import UsageRoutes
from cloche.api.wire.access import access_of_route
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.strict_body import StrictBody
from cloche.api.wire.strict_json import JsonLimits

_TITLE = "Cloche"
_SECURITY_SCHEMES = {SECURITY_SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}


def rest_app(
    services: EdgeParts, *, extra_routes: Sequence[BaseRoute] = (), last_routes: Sequence[BaseRoute] = ()
) -> FastAPI:
    """The application that serves the routes of this package, and those of the other edges.

    Args:
        services: what the routes work with.
        extra_routes: sockets and event streams; each is marked with ``requires`` and checks callers itself.
        last_routes: the page; looked up after everything else, and marked as well.

    Raises:
        ConfigurationError: a route does not declare what it needs.
    """
    routes: list[BaseRoute] = [*extra_routes]
    app = _RestApp(
        title=_TITLE,
        version=services.version,
        # No route of FastAPI's own: each of them would be one that declares nothing.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        middleware=[
            Middleware(RequestEdge, services.clock, services.telemetry),
            Middleware(ErrorEdge, services.telemetry),
            Middleware(StrictBody, render=render_refusal, limits=JsonLimits(max_bytes=services.limits.body_bytes)),
        ],
    )
    add_exception_handlers(app)
    for tag, table in _tables(services, app.openapi).items():
        routes += [RestRoute(services, tag, endpoint) for endpoint in table]
    routes += last_routes
    for route in routes:
        access_of_route(route)
    app.router.routes.extend(routes)
    return app


class _RestApp(FastAPI):
    def openapi(self) -> dict[str, object]:
        """The contract of the routes of this package, made once."""
        if not self.openapi_schema:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            document["components"]["securitySchemes"] = _SECURITY_SCHEMES
            self.openapi_schema = document
        return self.openapi_schema


def _tables(services: EdgeParts, openapi: Document) -> dict[str, list[Endpoint]]:
    """The routes by tag, the busiest first: they are looked up in this order."""
    return {
        "messages": MessageRoutes(services).table(),
        "threads": [*ThreadRoutes(services).table(), *BranchRoutes(services).table()],
        "search": SearchRoutes(services).table(),
        "runs": RunRoutes(services).table(),
        "approvals": ApprovalRoutes(services).table(),
        "auth": [*AuthRoutes(services).table(), *BrowserRoutes(services).table()],
        "account": AccountRoutes(services).table(),
        "export": ExportRoutes(services).table(),
        "usage": UsageRoutes(services).table(),
        "admin": [
            *AdminRoutes(services).table(),
            *MemberRoutes(services).table(),
            *MemberRunRoutes(services).table(),
            *OperationRoutes(services).table(),
            *FindingRoutes(services).table(),
            *CheckupRoutes(services).table(),
        ],
        "system": SystemRoutes(services, openapi=openapi).table(),
    }
