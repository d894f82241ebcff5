"""Runs of the whole tenant, for who operates it: how each stands, and nothing of what was said in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id, query_id
from cloche.api.wire.access import requires
from cloche.api.wire.member_runs import (
    MemberCancelBody,
    MemberEventPage,
    MemberRunPage,
    RunLogAnswer,
    RunStory,
    RunStoryAnswer,
    member_event_answer,
    member_run_answer,
    run_log_answer,
    run_story_answer,
)
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.runs import CancelledAnswer
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState
from cloche.errors import InvalidInputError
from cloche.ids import RunId, UserId
from cloche.storage.database import Transaction
from cloche.storage.pages import MAX_LIMIT, Page, page_request
from cloche.storage.run_stories import RunStoryRepository
from cloche.storage.tenant_runs import NEWEST, STUCK, MemberRun, RunChoice, TenantRunRepository


class RunOrder(StrEnum):
    """Newest first; or live ones by how long nothing happened, and behind them those that wait for a person."""

    NEWEST = "newest"
    STUCK = "stuck"


class MemberRunRoutes:
    """What an operator sees of everybody's runs: ids, names, states, times and counts."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._cancellation = services.cancellation
        self._clock = services.clock
        self._logs = services.logs

    def table(self) -> list[Endpoint]:
        """The routes."""
        runs = "/v1/admin/runs"
        one = f"{runs}/{{run_id}}"
        return [
            Endpoint(method="GET", path=runs, run=self.list_member_runs, answer=MemberRunPage),
            Endpoint(method="GET", path=one, run=self.get_member_run, answer=RunStoryAnswer),
            Endpoint(method="GET", path=f"{one}/events", run=self.list_member_events, answer=MemberEventPage),
            Endpoint(method="GET", path=f"{one}/logs", run=self.get_member_run_log, answer=RunLogAnswer),
            Endpoint(
                method="POST", path=f"{one}/cancel", run=self.cancel_member_run, answer=CancelledAnswer, status=202
            ),
        ]

    @requires(Permission.ADMIN_RUNS)
    async def list_member_runs(
        self,
        caller: Admitted,
        *,
        state: Annotated[list[ExecutionState] | None, Query(description="in one of these states")] = None,
        live: Annotated[bool | None, Query(description="those that are not over, or those that are")] = None,
        agent: Annotated[str | None, Query(max_length=200, description="of this agent")] = None,
        user_id: Annotated[str | None, Query(description="of this user")] = None,
        order: RunOrder = RunOrder.NEWEST,
        limit: LimitQuery = FIRST_PAGE,
        cursor: CursorQuery = None,
    ) -> MemberRunPage:
        """List the tenant's runs without their content, and count its live ones by state.

        Newest first; or with `order=stuck` the live ones by how long nothing happened (no event, no change of state),
        longest first, and those that wait for a person behind all that should move.
        """
        is_stuck = order is RunOrder.STUCK
        if is_stuck and live is False:
            raise InvalidInputError("only live runs can be stuck", details={"place": "query.live"})
        choice = RunChoice(states=frozenset(state or ()), is_live=live, agent=agent, user_id=query_id(UserId, user_id))
        page = page_request(STUCK if is_stuck else NEWEST, limit=limit, cursor=cursor)
        runs = TenantRunRepository(caller.scope)

        async def work(tx: Transaction) -> tuple[Page[MemberRun], dict[ExecutionState, int]]:
            return await runs.list(tx, page, choice, stuck_first=is_stuck), await runs.count_live(tx)

        (found, counts), now = await self._database.read(work), self._clock.now()
        return MemberRunPage(
            items=[member_run_answer(run, now) for run in found.items], next_cursor=found.next_cursor, live=counts
        )

    @requires(Permission.ADMIN_RUNS)
    async def get_member_run(self, caller: Admitted, run_id: str) -> RunStoryAnswer:
        """Get how one run of the tenant stands, and its attempts, steps and approvals without their content."""
        wanted, scope = path_id(RunId, run_id), caller.scope

        async def work(tx: Transaction) -> RunStory:
            found, stories = await TenantRunRepository(scope).get(tx, wanted), RunStoryRepository(scope)
            ref = found.run.ref
            return RunStory(
                found=found,
                executions=await stories.executions(tx, ref),
                steps=await stories.steps(tx, ref),
                approvals=await stories.approvals(tx, ref),
            )

        return run_story_answer(await self._database.read(work), self._clock.now())

    @requires(Permission.ADMIN_RUNS)
    async def list_member_events(
        self,
        caller: Admitted,
        run_id: str,
        after: Annotated[int, Query(ge=0, le=2**53, description="the events after this number")] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="how many events")] = MAX_LIMIT,
    ) -> MemberEventPage:
        """List a run's events in order: which, when and how large, with the fields that are nobody's words."""
        wanted, scope = path_id(RunId, run_id), caller.scope

        async def work(tx: Transaction) -> MemberEventPage:
            run, stories = (await TenantRunRepository(scope).get(tx, wanted)).run, RunStoryRepository(scope)
            start = max(after, run.first_seq - 1)
            until = run.last_seq if run.state.is_terminal else 2**62
            rows = await stories.events(tx, run.ref, after=start, until=until, limit=limit + 1)
            unknown, begins_at = await stories.unknown_tools(tx, run.ref), await stories.log_begins_at(tx, run.ref)
            return MemberEventPage(
                items=[member_event_answer(row, unknown) for row in rows[:limit]],
                next_after=rows[limit - 1].seq if len(rows) > limit else None,
                trimmed=begins_at is None or start + 1 < begins_at,
            )

        return await self._database.read(work)

    @requires(Permission.ADMIN_RUNS)
    async def get_member_run_log(self, caller: Admitted, run_id: str) -> RunLogAnswer:
        """Get what this process has logged about a run, and how far back it remembers."""
        wanted, scope = path_id(RunId, run_id), caller.scope

        async def work(tx: Transaction) -> MemberRun:
            return await TenantRunRepository(scope).get(tx, wanted)

        found = await self._database.read(work)
        return run_log_answer(self._logs.of_run(wanted), self._logs.since, found.run.created_at)

    @requires(Permission.ADMIN_RUNS_CANCEL)
    async def cancel_member_run(
        self, caller: Admitted, run_id: str, body: MemberCancelBody | None = None
    ) -> CancelledAnswer:
        """Cancel anybody's run, in any state, as its owner would.

        It is a line in the audit trail with its reason, unless the run was over, which stays as it is.
        """
        wanted, reason = path_id(RunId, run_id), (body or MemberCancelBody()).reason
        state = await self._cancellation.cancel_for_owner(caller.scope, wanted, reason=reason)
        return CancelledAnswer(run_id=wanted, state=state)
