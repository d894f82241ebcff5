"""The tenant's users and their sessions, for its administrators."""

from __future__ import annotations

from starlette.responses import Response

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, no_content, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.account import SessionPage, session_answer
from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.api.wire.members import MemberBody, MemberPage, MemberPatch, SessionsEndedAnswer, member_answer
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.ids import SessionId, UserId
from cloche.storage.pages import page_request


class MemberRoutes:
    """Who is in the tenant, as what, and from where."""

    def __init__(self, services: EdgeParts) -> None:
        self._members = services.sign_in.members

    def table(self) -> list[Endpoint]:
        """The routes."""
        users = "/v1/admin/users"
        user, sessions = f"{users}/{{user_id}}", f"{users}/{{user_id}}/sessions"
        return [
            Endpoint(method="GET", path=users, run=self.list_users, answer=MemberPage),
            Endpoint(method="POST", path=users, run=self.create_user, answer=UserAnswer, status=201, errors=(409, 429)),
            Endpoint(method="PATCH", path=user, run=self.update_user, answer=UserAnswer, errors=(409,)),
            Endpoint(method="POST", path=f"{user}/disable", run=self.disable_user, answer=UserAnswer, errors=(409,)),
            Endpoint(method="POST", path=f"{user}/enable", run=self.enable_user, answer=UserAnswer),
            Endpoint(method="GET", path=sessions, run=self.list_member_sessions, answer=SessionPage),
            Endpoint(method="DELETE", path=sessions, run=self.revoke_member_sessions, answer=SessionsEndedAnswer),
            Endpoint(method="DELETE", path=f"{sessions}/{{session_id}}", run=self.revoke_member_session, status=204),
        ]

    @requires(Permission.ADMIN_USERS)
    async def list_users(
        self, caller: Admitted, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None
    ) -> MemberPage:
        """List the tenant's users, newest first."""
        found = await self._members.list(caller.scope, page_request("users", limit=limit, cursor=cursor))
        seen = await self._members.seen(caller.scope, [user.id for user in found.items])
        return MemberPage(
            items=[member_answer(user, seen[user.id]) for user in found.items], next_cursor=found.next_cursor
        )

    @requires(Permission.ADMIN_USERS)
    async def create_user(self, caller: Admitted, body: MemberBody) -> UserAnswer:
        """Add a user, who can sign in at once."""
        user = await self._members.add(
            caller.scope, email=body.email, password=body.password, role=body.role.value, name=body.name
        )
        return user_answer(user)

    @requires(Permission.ADMIN_USERS)
    async def disable_user(self, caller: Admitted, user_id: str) -> UserAnswer:
        """Disable a user: no sign-in, and every session ends."""
        return user_answer(await self._members.disable(caller.scope, path_id(UserId, user_id)))

    @requires(Permission.ADMIN_USERS)
    async def enable_user(self, caller: Admitted, user_id: str) -> UserAnswer:
        """Let a user sign in again."""
        return user_answer(await self._members.enable(caller.scope, path_id(UserId, user_id)))

    @requires(Permission.ADMIN_USERS)
    async def update_user(self, caller: Admitted, user_id: str, body: MemberPatch) -> UserAnswer:
        """Change a user's role or name. A role counts from the next request on, in every session."""
        wanted = path_id(UserId, user_id)
        role = None if body.role is None else body.role.value
        return user_answer(await self._members.change(caller.scope, wanted, role=role, name=body.name))

    @requires(Permission.ADMIN_USERS)
    async def list_member_sessions(self, caller: Admitted, user_id: str) -> SessionPage:
        """List a user's live sessions, the last used first."""
        found = await self._members.list_sessions(caller.scope, path_id(UserId, user_id))
        return SessionPage(items=[session_answer(session, caller.principal.session_id) for session in found])

    @requires(Permission.ADMIN_USERS)
    async def revoke_member_session(self, caller: Admitted, user_id: str, session_id: str) -> Response:
        """End a user's session: its tokens are refused and its live connections are closed."""
        await self._members.revoke_session(caller.scope, path_id(UserId, user_id), path_id(SessionId, session_id))
        return no_content()

    @requires(Permission.ADMIN_USERS)
    async def revoke_member_sessions(self, caller: Admitted, user_id: str) -> SessionsEndedAnswer:
        """End every session of a user, who may sign in again; an administrator's own are ended like any other's."""
        ended = await self._members.revoke_sessions(caller.scope, path_id(UserId, user_id))
        return SessionsEndedAnswer(sessions_ended=ended)
