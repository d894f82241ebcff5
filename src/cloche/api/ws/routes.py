"""Where the live protocol is served."""

from __future__ import annotations

from starlette.routing import WebSocketRoute

from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import EdgeParts
from cloche.api.ws.endpoint import LiveEndpoint

PATH = "/v1/ws"


def websocket_routes(services: EdgeParts, connections: Connections) -> list[WebSocketRoute]:
    """The routes of this edge; ``connections`` is the one registry of the process."""
    return [WebSocketRoute(PATH, LiveEndpoint(services, connections), name="live")]
