"""What the server tells of itself: whether it is well, its figures, its keys, and how to talk to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from cloche.api.rest.metrics import FiguresCollector, metrics_text
from cloche.api.rest.route import Admitted, Endpoint
from cloche.api.wire.access import Public, requires
from cloche.api.wire.asyncapi import asyncapi_document
from cloche.api.wire.health import CheckAnswer, HealthAnswer, ReadinessAnswer
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission

Document = Callable[[], Mapping[str, object]]

_CACHED = {"Cache-Control": "public, max-age=300"}


class SystemRoutes:
    """For probes, scrapers and clients that read contracts.

    Args:
        services: what the answers come from.
        openapi: makes the contract of the routes.
    """

    def __init__(self, services: EdgeParts, *, openapi: Document) -> None:
        self._services = services
        self._openapi = openapi

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/healthz", run=self.get_health, answer=HealthAnswer),
            Endpoint(
                method="GET",
                path="/readyz",
                run=self.get_readiness,
                answer=ReadinessAnswer,
                other_answers={503: ReadinessAnswer},
            ),
            Endpoint(method="GET", path="/metrics", run=self.get_metrics, media_type="text/plain"),
            Endpoint(method="GET", path="/openapi.json", run=self.get_openapi),
            Endpoint(method="GET", path="/asyncapi.json", run=self.get_asyncapi),
            Endpoint(method="GET", path="/.well-known/jwks.json", run=self.get_keys),
        ]

    @requires(Public("a probe has no credential, and learns only that the process answers"))
    async def get_health(self) -> HealthAnswer:
        """Tell that the process answers."""
        return HealthAnswer(version=self._services.version)

    @requires(Public("a probe has no credential; what it learns holds no secret and no address"))
    async def get_readiness(self, response: Response) -> ReadinessAnswer:
        """Tell whether the server can do its work now: 200, or 503 with what is missing.

        It says so when no language model is configured and the scripted one answers.
        """
        found = await readiness_of(self._services)
        response.status_code = 200 if found.status == "ready" else 503
        return found

    @requires(Permission.METRICS_READ)
    async def get_metrics(self, _caller: Admitted) -> Response:
        """Get the figures of this process in the format that Prometheus reads."""
        services = self._services
        collector = FiguresCollector(
            services.telemetry.figures,
            version=services.version,
            runs=await services.run_counts(),
            writer=services.writer_figures(),
        )
        return Response(metrics_text(collector), media_type=CONTENT_TYPE_LATEST)

    @requires(Public("a contract holds nothing of anybody"))
    async def get_openapi(self) -> Response:
        """Get the contract of this interface as OpenAPI."""
        return _document(self._openapi())

    @requires(Public("a contract holds nothing of anybody"))
    async def get_asyncapi(self) -> Response:
        """Get the contract of the live connections as AsyncAPI."""
        return _document(asyncapi_document(self._services.version))

    @requires(Public("public keys are for everybody who checks a token"))
    async def get_keys(self) -> Response:
        """Get the keys that access tokens are signed with, as a JSON Web Key Set."""
        return _document(self._services.keys.jwks())


async def readiness_of(services: EdgeParts) -> ReadinessAnswer:
    """Whether the server can do its work now, and each thing that it needs for that."""
    if services.is_draining():
        check = CheckAnswer(ok=False, detail="the server is shutting down", latency_ms=None)
        return ReadinessAnswer(status="draining", checks={"process": check})
    found = await services.readiness()
    return ReadinessAnswer(
        status="ready" if all(check.ok for check in found.values()) else "not_ready",
        checks={
            name: CheckAnswer(ok=check.ok, detail=check.detail, latency_ms=check.latency_ms)
            for name, check in found.items()
        },
    )


def _document(members: Mapping[str, object]) -> Response:
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":"))
    return Response(body, headers=_CACHED, media_type="application/json")
