"""Where event streams are served: ``GET /v1/threads/{id}/events`` and ``GET /v1/runs/{id}/events``."""

from __future__ import annotations

from typing import TypeVar

from starlette.routing import Route

from cloche.api.sse.endpoint import EventEndpoint
from cloche.api.sse.source import Source, find_run
from cloche.api.wire.access import requires
from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.domain.scope import Scope
from cloche.errors import InvalidIdError
from cloche.ids import RunId, ThreadId, TypedId

T = TypeVar("T", bound=TypedId)


def sse_routes(services: EdgeParts, connections: Connections) -> list[Route]:
    """The routes of this edge; ``connections`` is the one registry of the process."""

    async def source_of_thread(scope: Scope, text: str) -> Source:
        return Source(services.log, scope, _path_id(ThreadId, text))

    async def source_of_run(scope: Scope, text: str) -> Source:
        run = await find_run(services.database, scope, _path_id(RunId, text))
        return Source(services.log, scope, run.thread_id, run)

    threads = EventEndpoint(services, connections, permission=Permission.THREADS_READ, find_source=source_of_thread)
    runs = EventEndpoint(services, connections, permission=Permission.RUNS_READ, find_source=source_of_run)
    return [
        Route(
            "/v1/threads/{id}/events", requires(Permission.THREADS_READ)(threads), methods=["GET"], name="thread_events"
        ),
        Route("/v1/runs/{id}/events", requires(Permission.RUNS_READ)(runs), methods=["GET"], name="run_events"),
    ]


def _path_id(kind: type[T], text: str) -> T:
    try:
        return kind.parse(text)
    except InvalidIdError as error:
        place = f"path.{kind.kind}_id"
        raise InvalidIdError(error.message, details={**error.details, "place": place}) from None
