"""Who sends a request, and what that caller may do."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers

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
    """The access token of ``Authorization: Bearer``, the only place where one is looked for.

    Raises:
        NotAuthenticatedError: there is no such header, or more than one.
    """
    found = headers.getlist("authorization")
    if len(found) != 1 or not found[0].lower().startswith(_SCHEME):
        raise NotAuthenticatedError("send an access token as `Authorization: Bearer <token>`")
    return found[0][len(_SCHEME) :].strip()


async def admit(services: EdgeParts, headers: Headers, permission: Permission) -> Caller:
    """The caller, who has the permission.

    Raises:
        NotAuthenticatedError: there is no valid access token, or its session is over.
        PermissionDeniedError: the permission is missing; the message names it.
    """
    principal = await services.sign_in.authenticate(bearer_token(headers))
    scope = await services.sign_in.scope_of(principal)
    scope.require(permission)
    return Caller(principal=principal, scope=scope)
