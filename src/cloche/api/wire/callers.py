"""Who sends a request, and what that caller may do."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers

from cloche.api.wire.cookies import SAFE_METHODS, access_cookie, check_csrf, check_page
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.domain.scope import Principal, Scope
from cloche.errors import NotAuthenticatedError

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated principal with the scope of this one request."""

    principal: Principal
    scope: Scope


def bearer_token(headers: Headers) -> str:
    """The access token of ``Authorization: Bearer``.

    Raises:
        NotAuthenticatedError: there is no such header, or more than one.
    """
    found = headers.getlist("authorization")
    if len(found) != 1 or not found[0].lower().startswith(_SCHEME):
        raise NotAuthenticatedError("send an access token as `Authorization: Bearer <token>`")
    return found[0][len(_SCHEME) :].strip()


def access_token(services: EdgeParts, headers: Headers, *, method: str) -> str:
    """The access token of the request: of its ``Authorization`` header, or else of a browser's cookie.

    Raises:
        NotAuthenticatedError: there is none.
        OriginRefusedError: it is a cookie, and no page of this server made the request.
    """
    cookie = None if "authorization" in headers else access_cookie(headers)
    if cookie is None:
        return bearer_token(headers)
    check_page(headers, services.origins, method=method)
    return cookie


async def admit(services: EdgeParts, headers: Headers, permission: Permission, *, method: str) -> Caller:
    """The caller, who has the permission.

    Raises:
        NotAuthenticatedError: there is no valid access token, or its session is over.
        PermissionDeniedError: the permission is missing, as the message says; or a browser's request proves too little.
    """
    principal = await services.sign_in.authenticate(access_token(services, headers, method=method))
    if method not in SAFE_METHODS and "authorization" not in headers:
        check_csrf(services.keys, principal.session_id, headers)
    scope = await services.sign_in.scope_of(principal)
    scope.require(permission)
    return Caller(principal=principal, scope=scope)
