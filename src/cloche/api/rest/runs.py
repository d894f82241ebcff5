"""Runs: how they stand, and stopping them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id, query_id
from cloche.api.wire.access import requires
from cloche.api.wire.messages import AcceptedAnswer, accepted_answer
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.request_ids import request_id_of
from cloche.api.wire.runs import CancelBody, CancelledAnswer, RetryBody, RunAnswer, RunPage, run_answer
from cloche.domain.permissions import Permission
from cloche.domain.runs import Run
from cloche.execution.intake import Retrying
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, page_request
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository


class RunRoutes:
    """What a person sees of the own runs, and the ways to stop one and to try one again."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._cancellation = services.cancellation
        self._intake = services.intake

    def table(self) -> list[Endpoint]:
        """The routes."""
        one = "/v1/runs/{run_id}"
        return [
            Endpoint(method="GET", path="/v1/runs", run=self.list_runs, answer=RunPage, errors=(404,)),
            Endpoint(method="GET", path=one, run=self.get_run, answer=RunAnswer),
            Endpoint(method="POST", path=f"{one}/cancel", run=self.cancel_run, answer=CancelledAnswer, status=202),
            Endpoint(
                method="POST",
                path=f"{one}/retry",
                run=self.retry_run,
                answer=AcceptedAnswer,
                status=202,
                errors=(409, 429),
            ),
        ]

    @requires(Permission.RUNS_READ)
    async def list_runs(
        self,
        caller: Admitted,
        thread_id: Annotated[str | None, Query(description="only the runs of this thread")] = None,
        limit: LimitQuery = FIRST_PAGE,
        cursor: CursorQuery = None,
    ) -> RunPage:
        """List runs, newest first."""
        wanted, scope = query_id(ThreadId, thread_id), caller.scope
        page = page_request("runs", limit=limit, cursor=cursor)

        async def work(tx: Transaction) -> Page[Run]:
            if wanted is not None:
                await ThreadRepository(scope).get(tx, wanted)
            return await RunRepository(scope).list(tx, page, thread_id=wanted)

        found = await self._database.read(work)
        return RunPage(items=[run_answer(run) for run in found.items], next_cursor=found.next_cursor)

    @requires(Permission.RUNS_READ)
    async def get_run(self, caller: Admitted, run_id: str) -> RunAnswer:
        """Get how one run stands, or how it ended."""
        wanted, scope = path_id(RunId, run_id), caller.scope

        async def work(tx: Transaction) -> Run:
            return await RunRepository(scope).get(tx, wanted)

        return run_answer(await self._database.read(work))

    @requires(Permission.RUNS_WRITE)
    async def cancel_run(self, caller: Admitted, run_id: str, body: CancelBody | None = None) -> CancelledAnswer:
        """Cancel a run, in any state.

        A run at work is `cancelling` until its model stream, its tools and their children have stopped; its
        `agent_cancelled` event is the receipt. A run that is over stays as it is.
        """
        wanted = path_id(RunId, run_id)
        state = await self._cancellation.cancel(caller.scope, wanted, reason=(body or CancelBody()).reason)
        return CancelledAnswer(run_id=wanted, state=state)

    @requires(Permission.RUNS_WRITE)
    async def retry_run(
        self, request: Request, response: Response, caller: Admitted, run_id: str, body: RetryBody | None = None
    ) -> AcceptedAnswer:
        """Try a run again that failed, timed out, died or was cancelled.

        A fresh run answers the same message on the same thread, with the agent as it is declared now; it waits behind
        others as a message would. Its first event is `run_queued` with `retry_of`. A run that has not ended, or that
        completed, is refused with `retry_refused`.
        """
        wished = body or RetryBody()
        retrying = Retrying(
            run_id=path_id(RunId, run_id),
            client_message_id=wished.client_message_id,
            on_busy=wished.on_busy,
            on_pending_approval=wished.on_pending_approval,
        )
        accepted = await self._intake.retry(caller.scope, retrying, request_id=request_id_of(request.scope))
        response.headers["Location"] = f"/v1/runs/{accepted.run_id}"
        return accepted_answer(accepted)
