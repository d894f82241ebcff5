"""One route: what it needs, what it answers, and the check of its caller before it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from cloche.api.wire.access import Access, Public, access_of
from cloche.api.wire.callers import Caller, admit
from cloche.api.wire.credentials import refuse_credential_in_url
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import ErrorAnswer
from cloche.errors import InvalidIdError
from cloche.ids import TypedId
from cloche.storage.pages import DEFAULT_LIMIT, MAX_LIMIT

T = TypeVar("T", bound=TypedId)

SECURITY_SCHEME = "access_token"

_CALLER = "cloche.caller"
_JSON = "application/json"
_DONE = "Done."
_REASONS: Mapping[int, str] = {
    400: "A value is not acceptable; `details.place` names it.",
    401: "Nobody is signed in, or the token is over.",
    403: "The permission is missing.",
    404: "There is no such thing for this caller.",
    409: "The request contradicts the present state.",
    413: "The body, or a text in it, is too large.",
    429: "Too much for now; `Retry-After` says when to come back.",
    503: "The server cannot do it now; `Retry-After` says when to come back.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A line of a route table.

    Attributes:
        answer: the shape of success; None for no body, or for one without a model.
        errors: statuses beside those that the method, the path and the needed permission imply.
        other_answers: shapes of answers that are neither success nor an error, by status.
        media_type: of the answer.
    """

    method: str
    path: str
    run: Callable[..., Awaitable[object]]
    answer: type[BaseModel] | None = None
    status: int = 200
    errors: tuple[int, ...] = ()
    other_answers: Mapping[int, type[BaseModel]] = field(default_factory=dict[int, type[BaseModel]])
    media_type: str = _JSON


class RestRoute(APIRoute):
    """A route whose caller is checked before anything of the request is read.

    Raises:
        ConfigurationError: when made: the endpoint does not declare what it needs.
    """

    def __init__(self, services: EdgeParts, tag: str, endpoint: Endpoint) -> None:
        access = access_of(endpoint.run, endpoint.path)
        title, _, text = cleandoc(endpoint.run.__doc__ or "").partition("\n\n")
        super().__init__(
            endpoint.path,
            endpoint.run,
            response_model=endpoint.answer,
            response_class=JSONResponse if endpoint.media_type == _JSON else Response,
            response_description=_DONE,
            status_code=endpoint.status,
            methods=[endpoint.method],
            tags=[tag],
            summary=" ".join(title.split()).rstrip("."),
            description=text or " ",
            operation_id=getattr(endpoint.run, "__name__", None),
            responses=_responses(endpoint, access),
            openapi_extra=_security(access),
        )
        self._services = services
        self._access = access

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A HEAD request is a GET request whose body nobody wants."""
        return super().matches(_without_head(scope))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, when its caller may have the answer.

        Raises:
            InvalidInputError: a credential stands in the query.
            NotAuthenticatedError: the route needs a caller, and there is none.
            PermissionDeniedError: the caller lacks the permission.
        """
        refuse_credential_in_url(frozenset(Request(scope).query_params))
        if not isinstance(self._access, Public) and _without_head(scope)["method"] in self.methods:
            headers = Headers(scope=scope)
            scope[_CALLER] = await admit(self._services, headers, self._access, method=scope["method"])
        await super().handle(_without_head(scope), receive, send)


def caller_in(scope: Scope) -> Caller | None:
    """Who was admitted for this request; None before that, and on public routes."""
    found: object = scope.get(_CALLER)
    return found if isinstance(found, Caller) else None


async def _caller_of(request: Request) -> Caller:
    found = caller_in(request.scope)
    assert found is not None, "the route needs a permission, so somebody was admitted"
    return found


Admitted = Annotated[Caller, Depends(_caller_of)]
"""The parameter of an endpoint that gets its caller."""

LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="how many items")]
CursorQuery = Annotated[str | None, Query(description="`next_cursor` of the page before")]
FIRST_PAGE = DEFAULT_LIMIT


def path_id(kind: type[T], text: str) -> T:
    """The id in the path.

    Raises:
        InvalidIdError: it is no id, or one of another kind; ``details`` names the place.
    """
    try:
        return kind.parse(text)
    except InvalidIdError as error:
        place = f"path.{kind.kind}_id"
        raise InvalidIdError(error.message, details={**error.details, "place": place}) from None


def query_id(kind: type[T], text: str | None) -> T | None:
    """The id in the query, or None when there is none.

    Raises:
        InvalidIdError: it is no id, or one of another kind; ``details`` names the place.
    """
    try:
        return None if text is None else kind.parse(text)
    except InvalidIdError as error:
        place = f"query.{kind.kind}_id"
        raise InvalidIdError(error.message, details={**error.details, "place": place}) from None


def no_content() -> Response:
    """It is done, and there is nothing to say about it."""
    return Response(status_code=204)


def _without_head(scope: Scope) -> Scope:
    return {**scope, "method": "GET"} if scope["type"] == "http" and scope["method"] == "HEAD" else scope


def _responses(endpoint: Endpoint, access: Access) -> dict[int | str, dict[str, object]]:
    """The answers beside the modelled success. With a default one, FastAPI adds none of its own."""
    statuses = {400, 503, *endpoint.errors}
    if not isinstance(access, Public):
        statuses |= {401, 403}
    if endpoint.method != "GET":
        statuses |= {413}
    if "{" in endpoint.path:
        statuses |= {404}
    found: dict[int | str, dict[str, object]] = {
        status: {"model": ErrorAnswer, "description": _REASONS[status]} for status in sorted(statuses)
    }
    found["default"] = {"model": ErrorAnswer, "description": "Any other error."}
    for status, shape in endpoint.other_answers.items():
        found[status] = {"model": shape, "description": _REASONS[status]}
    if endpoint.media_type != _JSON:
        found[endpoint.status] = {"content": {endpoint.media_type: {}}, "description": _DONE}
    return found


def _security(access: Access) -> dict[str, object]:
    if isinstance(access, Public):
        return {"security": [], "x-public": access.reason}
    return {"security": [{SECURITY_SCHEME: []}], "x-permission": str(access)}
