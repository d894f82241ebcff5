"""Approvals: tool calls that wait for a person."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.approvals import ApprovalAnswer, ApprovalPage, DecideBody, approval_answer
from cloche.api.wire.parts import EdgeParts
from cloche.domain.approvals import Approval
from cloche.domain.permissions import Permission
from cloche.ids import ApprovalId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, page_request

Wanted = Literal["pending", "all"]


class ApprovalRoutes:
    """What waits for the caller's word, and giving it."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._decisions = services.decisions

    def table(self) -> list[Endpoint]:
        """The routes."""
        one = "/v1/approvals/{approval_id}"
        return [
            Endpoint(method="GET", path="/v1/approvals", run=self.list_approvals, answer=ApprovalPage),
            Endpoint(method="GET", path=one, run=self.get_approval, answer=ApprovalAnswer),
            Endpoint(
                method="POST", path=f"{one}/decide", run=self.decide_approval, answer=ApprovalAnswer, errors=(409,)
            ),
        ]

    @requires(Permission.RUNS_READ)
    async def list_approvals(
        self,
        caller: Admitted,
        state: Annotated[Wanted, Query(description="those that wait, or all")] = "pending",
        limit: LimitQuery = FIRST_PAGE,
        cursor: CursorQuery = None,
    ) -> ApprovalPage:
        """List approvals, newest first."""
        page, scope = page_request("approvals", limit=limit, cursor=cursor), caller.scope

        async def work(tx: Transaction) -> Page[Approval]:
            return await ApprovalRepository(scope).list(tx, page, pending_only=state == "pending")

        found = await self._database.read(work)
        return ApprovalPage(items=[approval_answer(one) for one in found.items], next_cursor=found.next_cursor)

    @requires(Permission.RUNS_READ)
    async def get_approval(self, caller: Admitted, approval_id: str) -> ApprovalAnswer:
        """Get one approval, decided or not."""
        wanted, scope = path_id(ApprovalId, approval_id), caller.scope

        async def work(tx: Transaction) -> Approval:
            return await ApprovalRepository(scope).get(tx, wanted)

        return approval_answer(await self._database.read(work))

    @requires(Permission.APPROVALS_DECIDE)
    async def decide_approval(self, caller: Admitted, approval_id: str, body: DecideBody) -> ApprovalAnswer:
        """Say yes or no to a tool call; with a yes, its arguments may be edited. The first decision counts."""
        decided = await self._decisions.decide(
            caller.scope, path_id(ApprovalId, approval_id), body.decision, arguments=body.arguments
        )
        return approval_answer(decided)
