"""The id of the HTTP request that is being answered: made at the edge, never taken from the client."""

from __future__ import annotations

from starlette.types import Scope

from cloche.ids import RequestId

_KEY = "cloche.request_id"


def begin_request(scope: Scope) -> RequestId:
    """A new id, which belongs to this request from now on."""
    request_id = RequestId.new()
    scope[_KEY] = request_id
    return request_id


def request_id_of(scope: Scope) -> RequestId:
    """The request's id; a new one where no edge has given one yet."""
    found: object = scope.get(_KEY)
    return found if isinstance(found, RequestId) else begin_request(scope)
