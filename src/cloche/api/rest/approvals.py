"""Approvals: tool calls that wait for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, no_content, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.approvals import ApprovalAnswer, ApprovalPage, DecideBody, DelegateBody, approval_answer
from cloche.api.wire.parts import EdgeParts
from cloche.auth.emails import normalise_email
from cloche.domain.approvals import Approval
from cloche.domain.permissions import Permission
from cloche.domain.scope import Scope
from cloche.errors import InvalidIdError
from cloche.ids import ApprovalId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import page_request
from cloche.storage.users import MemberRepository, User

Wanted = Literal["pending", "all"]


class ApprovalRoutes:
    """What waits for the caller's word, giving it, and letting somebody else give it."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._decisions = services.decisions

    def table(self) -> list[Endpoint]:
        """The routes."""
        one = "/v1/approvals/{approval_id}"
        decide, delegate = f"{one}/decide", f"{one}/delegate"
        answer, errors = ApprovalAnswer, (409,)
        return [
            Endpoint(method="GET", path="/v1/approvals", run=self.list_approvals, answer=ApprovalPage),
            Endpoint(method="GET", path=one, run=self.get_approval, answer=answer),
            Endpoint(method="POST", path=decide, run=self.decide_approval, answer=answer, errors=errors),
            Endpoint(method="POST", path=delegate, run=self.delegate_approval, answer=answer, errors=errors),
            Endpoint(method="DELETE", path=delegate, run=self.take_approval_back, status=204, errors=errors),
        ]

    @requires(Permission.RUNS_READ)
    async def list_approvals(
        self,
        caller: Admitted,
        state: Annotated[Wanted, Query(description="those that wait, or all")] = "pending",
        limit: LimitQuery = FIRST_PAGE,
        cursor: CursorQuery = None,
    ) -> ApprovalPage:
        """List the approvals of the caller's runs, and those that others gave to the caller, newest first."""
        page, scope = page_request("approvals", limit=limit, cursor=cursor), caller.scope

        async def work(tx: Transaction) -> ApprovalPage:
            found = await ApprovalRepository(scope).list(tx, page, pending_only=state == "pending")
            return ApprovalPage(items=await _answers(tx, scope, found.items), next_cursor=found.next_cursor)

        return await self._database.read(work)

    @requires(Permission.RUNS_READ)
    async def get_approval(self, caller: Admitted, approval_id: str) -> ApprovalAnswer:
        """Get one approval, decided or not."""
        wanted, scope = path_id(ApprovalId, approval_id), caller.scope

        async def work(tx: Transaction) -> Approval:
            return await ApprovalRepository(scope).get(tx, wanted)

        return await self._answer(scope, await self._database.read(work))

    @requires(Permission.APPROVALS_DECIDE)
    async def decide_approval(self, caller: Admitted, approval_id: str, body: DecideBody) -> ApprovalAnswer:
        """Say yes or no to a tool call; with a yes, its arguments may be edited. The first decision counts.

        Edited arguments fit `argument_schema`, or nothing is decided: the answer names each place that does not fit.
        """
        decided = await self._decisions.decide(
            caller.scope, path_id(ApprovalId, approval_id), body.decision, arguments=body.arguments
        )
        return await self._answer(caller.scope, decided)

    @requires(Permission.APPROVALS_DECIDE)
    async def delegate_approval(self, caller: Admitted, approval_id: str, body: DelegateBody) -> ApprovalAnswer:
        """Let another user of the tenant decide, too, in place of the one who could before.

        That user sees the approval and nothing else of the thread or the run, which goes on as the caller's.
        """
        wanted = path_id(ApprovalId, approval_id)
        user_id = None if body.user_id is None else _user_id(body.user_id)
        email = None if body.email is None else normalise_email(body.email)
        given = await self._decisions.delegate(caller.scope, wanted, user_id=user_id, email=email)
        return await self._answer(caller.scope, given)

    @requires(Permission.APPROVALS_DECIDE)
    async def take_approval_back(self, caller: Admitted, approval_id: str) -> Response:
        """Let nobody else decide any more."""
        await self._decisions.take_back(caller.scope, path_id(ApprovalId, approval_id))
        return no_content()

    async def _answer(self, scope: Scope, approval: Approval) -> ApprovalAnswer:
        async def work(tx: Transaction) -> ApprovalAnswer:
            return (await _answers(tx, scope, [approval]))[0]

        return await self._database.read(work)


async def _answers(tx: Transaction, scope: Scope, approvals: Sequence[Approval]) -> list[ApprovalAnswer]:
    """The approvals together with who is named in them: people of the caller's own tenant."""
    named = {user_id for one in approvals for user_id in (one.user_id, one.delegate_id) if user_id is not None}
    members = MemberRepository(scope)
    people: dict[UserId, User] = {user_id: await members.get(tx, user_id) for user_id in named}
    return [approval_answer(one, people) for one in approvals]


def _user_id(text: str) -> UserId:
    try:
        return UserId.parse(text)
    except InvalidIdError as error:
        raise InvalidIdError(error.message, details={**error.details, "place": "$.user_id"}) from None
