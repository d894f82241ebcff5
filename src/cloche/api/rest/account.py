"""The caller's own account: profile, password, sessions, agents to choose from, usage."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from cloche.api.rest.route import Admitted, Endpoint, no_content, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.account import (
    AgentPage,
    MeAnswer,
    PasswordBody,
    SessionPage,
    UsageAnswer,
    UsageLine,
    UsageTotal,
    agent_answer,
    session_answer,
)
from cloche.api.wire.auth import user_answer
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import Instant
from cloche.domain.permissions import Permission
from cloche.ids import SessionId
from cloche.storage.database import Transaction
from cloche.storage.usage import UsageRepository, UsageRow

USAGE_PERIOD = timedelta(days=30)


class AccountRoutes:
    """What concerns the caller as a person rather than a conversation."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._sign_in = services.sign_in
        self._agents = services.agents
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/me", run=self.get_me, answer=MeAnswer),
            Endpoint(method="POST", path="/v1/me/password", run=self.change_password, status=204, errors=(409, 429)),
            Endpoint(method="GET", path="/v1/sessions", run=self.list_sessions, answer=SessionPage),
            Endpoint(method="DELETE", path="/v1/sessions/{session_id}", run=self.revoke_session, status=204),
            Endpoint(method="GET", path="/v1/agents", run=self.list_agents, answer=AgentPage),
            Endpoint(method="GET", path="/v1/usage", run=self.get_usage, answer=UsageAnswer),
        ]

    @requires(Permission.PROFILE_READ)
    async def get_me(self, caller: Admitted) -> MeAnswer:
        """Get who is signed in, and what that person may do."""
        user = await self._sign_in.me(caller.principal)
        return MeAnswer(
            user=user_answer(user),
            session_id=caller.principal.session_id,
            permissions=sorted(map(str, caller.scope.permissions)),
        )

    @requires(Permission.PROFILE_WRITE)
    async def change_password(self, caller: Admitted, body: PasswordBody) -> Response:
        """Change the password; every session but this one ends."""
        await self._sign_in.change_password(caller.principal, current=body.current_password, wanted=body.new_password)
        return no_content()

    @requires(Permission.SESSIONS_MANAGE)
    async def list_sessions(self, caller: Admitted) -> SessionPage:
        """List the live sessions, the last used first."""
        found = await self._sign_in.list_sessions(caller.principal)
        return SessionPage(items=[session_answer(session, caller.principal.session_id) for session in found])

    @requires(Permission.SESSIONS_MANAGE)
    async def revoke_session(self, caller: Admitted, session_id: str) -> Response:
        """End a session: its tokens are refused and its live connections are closed."""
        await self._sign_in.revoke_session(caller.principal, path_id(SessionId, session_id))
        return no_content()

    @requires(Permission.AGENTS_READ)
    async def list_agents(self, _caller: Admitted) -> AgentPage:
        """List the agents that can be asked, the default one first."""
        return AgentPage(items=[agent_answer(spec) for spec in self._agents()])

    @requires(Permission.USAGE_READ)
    async def get_usage(
        self, caller: Admitted, since: Annotated[Instant | None, Query(description="30 days ago")] = None
    ) -> UsageAnswer:
        """Get what the caller's runs used, by agent and model."""
        start, scope = since or self._clock.now() - USAGE_PERIOD, caller.scope

        async def work(tx: Transaction) -> list[UsageRow]:
            return await UsageRepository(scope).summary(tx, since=start)

        lines = [UsageLine.model_validate(row._asdict()) for row in await self._database.read(work)]
        total = UsageTotal(
            calls=sum(line.calls for line in lines),
            input_tokens=sum(line.input_tokens for line in lines),
            output_tokens=sum(line.output_tokens for line in lines),
        )
        return UsageAnswer(since=start, items=lines, total=total)
