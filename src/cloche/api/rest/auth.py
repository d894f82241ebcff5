"""Signing in and out."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from cloche.api.rest.route import Admitted, Endpoint, no_content
from cloche.api.wire.access import Public, requires
from cloche.api.wire.auth import LoginBody, RefreshBody, SetUpBody, TicketAnswer, TokensAnswer, tokens_answer
from cloche.api.wire.parts import EdgeParts
from cloche.auth.opening import SignedIn
from cloche.domain.permissions import Permission


class AuthRoutes:
    """Passwords and tokens become tokens; a session becomes a ticket, or nothing."""

    def __init__(self, services: EdgeParts) -> None:
        self._sign_in = services.sign_in

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="POST", path="/v1/auth/login", run=self.login, answer=TokensAnswer, errors=(401, 409, 429)),
            Endpoint(method="POST", path="/v1/auth/refresh", run=self.refresh, answer=TokensAnswer, errors=(401,)),
            Endpoint(method="POST", path="/v1/auth/logout", run=self.logout, status=204),
            Endpoint(
                method="POST",
                path="/v1/auth/setup",
                run=self.set_up,
                answer=TokensAnswer,
                status=201,
                errors=(401, 409, 429),
            ),
            Endpoint(method="POST", path="/v1/ws-tickets", run=self.issue_ticket, answer=TicketAnswer, status=201),
        ]

    @requires(Public("the password is the credential"))
    async def login(self, request: Request, body: LoginBody) -> TokensAnswer:
        """Sign in with an e-mail address and a password."""
        signed_in = await self._sign_in.login(
            body.email,
            body.password,
            tenant=body.tenant,
            user_agent=user_agent(request),
            address=address(request),
        )
        return await self._answer(signed_in)

    @requires(Public("the refresh token is the credential"))
    async def refresh(self, body: RefreshBody) -> TokensAnswer:
        """Exchange a refresh token for new tokens.

        Each refresh token is good once. One that comes back after its successor was used ends the session.
        """
        return await self._answer(await self._sign_in.refresh(body.refresh_token))

    @requires(Permission.SESSIONS_MANAGE)
    async def logout(self, caller: Admitted) -> Response:
        """End this session; its live connections are closed."""
        await self._sign_in.logout(caller.principal)
        return no_content()

    @requires(Public("the set-up secret is the credential, and it is good once, while there is no user"))
    async def set_up(self, request: Request, body: SetUpBody) -> TokensAnswer:
        """Make the first administrator with the secret that the server printed at its first start."""
        signed_in = await self._sign_in.setup.complete_setup(
            body.secret,
            body.email,
            body.password,
            body.name,
            user_agent=user_agent(request),
            address=address(request),
        )
        return await self._answer(signed_in)

    @requires(Permission.THREADS_READ)
    async def issue_ticket(self, caller: Admitted) -> TicketAnswer:
        """Get a one-time ticket for a live connection: for browsers, which cannot send a header with it."""
        return TicketAnswer(ticket=await self._sign_in.tickets.issue_ticket(caller.principal))

    async def _answer(self, signed_in: SignedIn) -> TokensAnswer:
        return tokens_answer(signed_in, await self._sign_in.me(signed_in.principal))


def user_agent(request: Request) -> str:
    """What the client says that it is."""
    return request.headers.get("user-agent", "")


def address(request: Request) -> str:
    """Where the request comes from; behind a proxy, that is the proxy."""
    return "" if request.client is None else request.client.host
