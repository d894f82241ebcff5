"""A browser's session: signing in and out with tokens that stay in cookies, where no script reads them."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from cloche.api.rest.auth import address, user_agent
from cloche.api.rest.errors import error_answer
from cloche.api.rest.route import Admitted, Endpoint, no_content
from cloche.api.wire.access import Public, requires
from cloche.api.wire.auth import LoginBody, SetUpBody
from cloche.api.wire.browser import BrowserSessionAnswer, browser_session_answer
from cloche.api.wire.callers import access_token
from cloche.api.wire.cookies import check_page, csrf_token, drop_tokens, keep_tokens, refresh_cookie
from cloche.api.wire.credentials import check_token
from cloche.api.wire.parts import EdgeParts
from cloche.auth.opening import SignedIn
from cloche.domain.permissions import Permission
from cloche.errors import NotAuthenticatedError

_PATH = "/v1/browser-session"


class BrowserRoutes:
    """What the page does in place of handling tokens itself."""

    def __init__(self, services: EdgeParts) -> None:
        self._services = services
        self._sign_in = services.sign_in

    def table(self) -> list[Endpoint]:
        """The routes."""
        answer, errors = BrowserSessionAnswer, (401, 403, 409, 429)
        return [
            Endpoint(
                method="POST", path=_PATH, run=self.open_browser_session, answer=answer, status=201, errors=errors
            ),
            Endpoint(method="GET", path=_PATH, run=self.get_browser_session, answer=answer),
            Endpoint(method="DELETE", path=_PATH, run=self.close_browser_session, status=204),
            Endpoint(
                method="POST",
                path=f"{_PATH}/refresh",
                run=self.refresh_browser_session,
                answer=answer,
                errors=(401, 403),
            ),
            Endpoint(
                method="POST",
                path=f"{_PATH}/setup",
                run=self.set_up_in_browser,
                answer=answer,
                status=201,
                errors=errors,
            ),
        ]

    @requires(Public("the password is the credential, and only a page of this server is heard"))
    async def open_browser_session(self, request: Request, response: Response, body: LoginBody) -> BrowserSessionAnswer:
        """Sign in with an e-mail address and a password; the tokens become cookies."""
        check_page(request.headers, self._services.origins, method=request.method)
        signed_in = await self._sign_in.login(
            body.email, body.password, tenant=body.tenant, user_agent=user_agent(request), address=address(request)
        )
        return await self._keep(response, signed_in)

    @requires(Permission.PROFILE_READ)
    async def get_browser_session(self, request: Request, caller: Admitted) -> BrowserSessionAnswer:
        """Get who is signed in in this browser, and the CSRF token of the session."""
        token = access_token(self._services, request.headers, method=request.method)
        credential = await check_token(self._services, token)
        left = credential.expires_at - self._services.clock.now()
        return browser_session_answer(
            await self._sign_in.me(caller.principal),
            session_id=caller.principal.session_id,
            permissions=caller.scope.permissions,
            csrf_token=csrf_token(self._services.keys, caller.principal.session_id),
            expires_in=int(left.total_seconds()),
        )

    @requires(
        Public("the refresh token in the browser's cookie is the credential, and only a page of this server is heard")
    )
    async def refresh_browser_session(self, request: Request, response: Response) -> BrowserSessionAnswer | Response:
        """Get new tokens for this browser's session, in its cookies; when the session is over, the cookies are gone.

        Each refresh token is good once. One that comes back after its successor was used ends the session.
        """
        check_page(request.headers, self._services.origins, method=request.method)
        try:
            signed_in = await self._sign_in.refresh(refresh_cookie(request.headers))
        except NotAuthenticatedError as error:
            refused = error_answer(error, request.scope)
            drop_tokens(refused)
            return refused
        return await self._keep(response, signed_in)

    @requires(Permission.SESSIONS_MANAGE)
    async def close_browser_session(self, caller: Admitted) -> Response:
        """Sign out: this browser's session ends, its live connections are closed, and its cookies are gone."""
        await self._sign_in.logout(caller.principal)
        response = no_content()
        drop_tokens(response)
        return response

    @requires(Public("the set-up secret is the credential, good once, and only a page of this server is heard"))
    async def set_up_in_browser(self, request: Request, response: Response, body: SetUpBody) -> BrowserSessionAnswer:
        """Make the first administrator with the secret that the server printed at its first start, and sign in."""
        check_page(request.headers, self._services.origins, method=request.method)
        signed_in = await self._sign_in.setup.complete_setup(
            body.secret,
            body.email,
            body.password,
            body.name,
            user_agent=user_agent(request),
            address=address(request),
        )
        return await self._keep(response, signed_in)

    async def _keep(self, response: Response, signed_in: SignedIn) -> BrowserSessionAnswer:
        principal = signed_in.principal
        scope = await self._sign_in.scope_of(principal)
        user = await self._sign_in.me(principal)
        keep_tokens(response, signed_in, refresh_s=signed_in.refresh_expires_in)
        return browser_session_answer(
            user,
            session_id=principal.session_id,
            permissions=scope.permissions,
            csrf_token=csrf_token(self._services.keys, principal.session_id),
            expires_in=signed_in.expires_in,
        )
