"""The REST application over real services, and the people who use it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from cloche.agents.function import AgentRun
from cloche.api.rest.application import rest_app
from cloche.api.wire.parts import EdgeParts
from cloche.auth.opening import SignedIn
from cloche.domain.scope import Scope
from support.world import World


class Person(httpx2.AsyncClient):
    """Somebody at the other end of the wire; ``signed_in`` is None for a stranger."""

    def __init__(self, app: Any, signed_in: SignedIn | None = None) -> None:
        transport = httpx2.ASGITransport(app=app, client=("192.0.2.7", 4711))
        super().__init__(transport=transport, base_url="http://testserver")
        self.signed_in = signed_in
        if signed_in is not None:
            self.headers["Authorization"] = f"Bearer {signed_in.access_token}"

    @property
    def scope(self) -> Scope:
        """Whose rows these are."""
        assert self.signed_in is not None
        principal = self.signed_in.principal
        return Scope(tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id)

    async def make(self, path: str, status: int = 201, /, **body: Any) -> dict[str, Any]:
        """What a POST answers, which has this status."""
        answer = await self.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def see(self, path: str) -> dict[str, Any]:
        """What a GET answers, which succeeds."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def app(services: EdgeParts) -> FastAPI:
    return rest_app(services)


@pytest.fixture
async def people(
    app: FastAPI, enter: Callable[..., Awaitable[SignedIn]]
) -> AsyncGenerator[Callable[..., Awaitable[Person]]]:
    """Make a person: a stranger without a name."""
    async with AsyncExitStack() as stack:

        async def make(name: str | None = None, **options: str) -> Person:
            signed_in = None if name is None else await enter(name, **options)
            return await stack.enter_async_context(Person(app, signed_in))

        yield make


@pytest.fixture
async def stranger(people: Callable[..., Awaitable[Person]]) -> Person:
    return await people()


@pytest.fixture
async def ada(people: Callable[..., Awaitable[Person]]) -> Person:
    """A member of the tenant acme."""
    return await people("ada")


@pytest.fixture
async def bob(people: Callable[..., Awaitable[Person]]) -> Person:
    """Another member of the same tenant."""
    return await people("bob")


@pytest.fixture
async def eve(people: Callable[..., Awaitable[Person]]) -> Person:
    """An administrator of another tenant."""
    return await people("eve", tenant="elsewhere", role="admin")


@pytest.fixture
async def admin(people: Callable[..., Awaitable[Person]]) -> Person:
    """An administrator of the tenant acme."""
    return await people("root", role="admin")


@pytest.fixture
def echo(idle_world: World) -> None:
    """The default agent says what was said."""

    async def agent(run: AgentRun) -> str:
        return run.text

    idle_world.programs.add("echo", agent)
