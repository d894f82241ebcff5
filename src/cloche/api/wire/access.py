"""What a route needs: a permission, or a stated reason why it needs none. A route that says neither is not served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.routing import BaseRoute

from cloche.domain.permissions import Permission
from cloche.errors import ConfigurationError

E = TypeVar("E", bound=Callable[..., object])

_MARK = "cloche_access"


@dataclass(frozen=True, slots=True)
class Public:
    """Anybody may call it, and why that is right. A route that looks at credentials by itself says so here too."""

    reason: str


Access = Permission | Public


def requires(access: Access) -> Callable[[E], E]:
    """Declare what an endpoint (a function, a method, or an ASGI application) needs."""

    def mark(endpoint: E) -> E:
        setattr(endpoint, _MARK, access)
        return endpoint

    return mark


def access_of(endpoint: object, path: str) -> Access:
    """What the endpoint at this path was declared to need.

    Raises:
        ConfigurationError: nothing was declared.
    """
    access: object = getattr(endpoint, _MARK, None)
    if not isinstance(access, Permission | Public):
        raise ConfigurationError(f"the route {path} does not declare which permission it needs")
    return access


def access_of_route(route: BaseRoute) -> Access:
    """What the route's endpoint, or the application mounted there, was declared to need.

    Raises:
        ConfigurationError: nothing was declared.
    """
    endpoint: object = getattr(route, "endpoint", None) or getattr(route, "app", None)
    return access_of(endpoint, str(getattr(route, "path", route)))
