"""The contract of a tenant's runs as its operators see them: whoever owns them, chosen and in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import RunId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database
from cloche.storage.pages import page_request
from cloche.storage.tenant_runs import EVERY_RUN, NEWEST, STUCK, MemberRun, RunChoice, TenantRunRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    add_claimed_run,
    add_run,
    append_events,
    event_draft,
    move,
    move_to,
    newcomer,
    open_approval,
)

S = ExecutionState


async def _list(
    database: Database, scope: Scope, choice: RunChoice = EVERY_RUN, *, stuck_first: bool = False, limit: int = 2
) -> list[MemberRun]:
    """Every run that the pages give, of which each has ``limit``."""
    found: list[MemberRun] = []
    cursor: str | None = None
    while True:
        page = page_request(STUCK if stuck_first else NEWEST, limit=limit, cursor=cursor)
        answer = await database.read(
            lambda tx, page=page: TenantRunRepository(scope).list(tx, page, choice, stuck_first=stuck_first)
        )
        assert len(answer.items) <= limit
        found += answer.items
        if (cursor := answer.next_cursor) is None:
            return found


async def _ids(database: Database, scope: Scope, choice: RunChoice, *, stuck_first: bool = False) -> list[RunId]:
    return [one.run.id for one in await _list(database, scope, choice, stuck_first=stuck_first)]


async def _standing_since(database: Database, scope: Scope, state: ExecutionState, at: datetime) -> Run:
    """A run without an event of its own since it came into its state."""
    run = await add_claimed_run(database, scope)
    await database.write(lambda tx: move(tx, scope, run.id, S.RUNNING, at=at))
    if state is not S.RUNNING:
        await database.write(lambda tx: move(tx, scope, run.id, state, at=at))
    return run


async def _tell(database: Database, scope: Scope, run: Run, *, at: datetime) -> None:
    await append_events(database, scope, run.thread_id, [event_draft("more", run.id)], at=at)


class TestTenantRuns:
    """What an operator chooses among, and in which order."""

    async def test_each_choice_gives_exactly_what_fits_it_page_by_page(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Newest first; a choice of several things is of what fits them all."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        people = (scope, colleague, scope, colleague, scope, colleague)
        ways: Sequence[Sequence[ExecutionState]] = (
            (),
            (S.STARTING, S.RUNNING),
            (S.FAILED,),
            (S.STARTING, S.RUNNING, S.COMPLETED),
            (S.CANCELLED,),
            (S.FAILED,),
        )
        runs = [await add_run(deployment.node, who, at=NOW + (n // 2) * SECOND) for n, who in enumerate(people)]
        for who, run, way in zip(people, runs, ways, strict=True):
            await move_to(deployment.node, who, run.id, *way)
        newest = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)

        async def chosen(choice: RunChoice) -> list[int]:
            return sorted(places[run_id] for run_id in await _ids(deployment.other, scope, choice))

        places = {run.id: place for place, run in enumerate(runs)}
        assert await _ids(deployment.other, scope, EVERY_RUN) == [run.id for run in newest]
        assert await chosen(RunChoice(is_live=True)) == [0, 1]
        assert await chosen(RunChoice(is_live=False)) == [2, 3, 4, 5]
        assert await chosen(RunChoice(states=frozenset({S.FAILED}))) == [2, 5]
        assert await chosen(RunChoice(states=frozenset({S.FAILED, S.COMPLETED}))) == [2, 3, 5]
        assert await chosen(RunChoice(states=frozenset({S.PENDING}))) == [0]
        assert await chosen(RunChoice(states=frozenset({S.PENDING}), is_live=False)) == []
        assert await chosen(RunChoice(user_id=colleague.user_id)) == [1, 3, 5]
        assert await chosen(RunChoice(user_id=colleague.user_id, states=frozenset({S.FAILED}))) == [5]
        assert await chosen(RunChoice(user_id=colleague.user_id, is_live=True)) == [1]
        assert await chosen(RunChoice(agent="gardener")) == [0, 1, 2, 3, 4, 5]
        assert await chosen(RunChoice(agent="gardener", is_live=True, user_id=scope.user_id)) == [0]
        assert await chosen(RunChoice(agent="another")) == []
        assert await chosen(RunChoice(user_id=UserId.new())) == []
        mine = await _ids(deployment.other, scope, RunChoice(user_id=scope.user_id))
        assert mine == [runs[4].id, runs[2].id, runs[0].id]

    async def test_the_live_run_to_which_nothing_happened_for_longest_is_first(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """An event counts as a change of state does; who waits for a person stands behind all others."""
        first = await _standing_since(deployment.node, scope, S.RUNNING, NOW + 2 * SECOND)
        told = await _standing_since(deployment.node, scope, S.RUNNING, NOW + SECOND)
        await _tell(deployment.node, scope, told, at=NOW + 5 * SECOND)
        waiting = await _standing_since(deployment.node, scope, S.WAITING, NOW)
        newer = await _standing_since(deployment.node, scope, S.RUNNING, NOW + 9 * SECOND)
        ended = await _standing_since(deployment.node, scope, S.FAILED, NOW)
        long_waiting = await _standing_since(deployment.node, scope, S.WAITING, NOW - SECOND)
        await _standing_since(deployment.node, await newcomer(deployment.node), S.RUNNING, NOW)

        found = await _ids(deployment.other, scope, EVERY_RUN, stuck_first=True)

        assert found == [first.id, told.id, newer.id, long_waiting.id, waiting.id]
        assert ended.id not in found
        people = RunChoice(states=frozenset({S.WAITING}))
        assert await _ids(deployment.other, scope, people, stuck_first=True) == [long_waiting.id, waiting.id]

    async def test_what_another_run_of_the_thread_does_makes_a_queued_one_no_livelier(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Its last event is its own."""
        busy = await add_claimed_run(deployment.node, scope)
        queued = await add_run(deployment.node, scope, busy.thread_id, is_admitted=False, at=NOW + SECOND)
        await _tell(deployment.node, scope, queued, at=NOW + SECOND)
        for later in (2, 5):
            await _tell(deployment.node, scope, busy, at=NOW + later * SECOND)

        found = await _list(deployment.other, scope, stuck_first=True)

        assert [one.run.id for one in found] == [queued.id, busy.id]
        assert [one.last_event.seq for one in found if one.last_event] == [3, 5]

    async def test_one_run_is_found_by_its_id_with_what_is_asked_about_it(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Who executes it, its last event, and the approval that it waits for; a colleague may ask."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id, name="Rosa")
        run = await add_claimed_run(deployment.node, colleague)
        await _tell(deployment.node, colleague, run, at=NOW)
        await deployment.node.write(lambda tx: move(tx, colleague, run.id, S.RUNNING))
        runs, approval = TenantRunRepository(scope), open_approval(run)

        working = await deployment.other.read(lambda tx: runs.get(tx, run.id))
        await deployment.node.write(lambda tx: ApprovalRepository(colleague).create(tx, approval))
        undecided = await deployment.other.read(lambda tx: runs.get(tx, run.id))
        await deployment.node.write(lambda tx: move(tx, colleague, run.id, S.WAITING, at=NOW + SECOND))
        waiting = await deployment.other.read(lambda tx: runs.get(tx, run.id))

        assert (working.name, working.worker_id, working.lease_until) == ("Rosa", "worker-1", None)
        assert working.last_event is not None
        assert (working.last_event.seq, working.last_event.type, working.last_event.at) == (2, "agent_thinking", NOW)
        assert (working.waiting_for, undecided.waiting_for) == (None, None)
        assert waiting.waiting_for is not None
        assert (waiting.waiting_for.approval_id, waiting.waiting_for.tool) == (approval.id, "prune")
        assert waiting.waiting_for.expires_at == approval.expires_at
        assert waiting.state_since == NOW + SECOND

    async def test_a_run_of_another_tenant_is_not_there(self, deployment: Deployment, scope: Scope) -> None:
        """As one that never was."""
        run = await add_run(deployment.node, await newcomer(deployment.node))

        for unknown in (run.id, RunId.new()):
            with pytest.raises(NotFoundError):
                await deployment.other.read(lambda tx, unknown=unknown: TenantRunRepository(scope).get(tx, unknown))

    async def test_the_run_that_is_pending_longest_is_told(self, deployment: Deployment, scope: Scope) -> None:
        """Since it came to be pending, and only while it is."""
        runs = TenantRunRepository(scope)
        assert await deployment.other.read(runs.oldest_pending_at) is None
        await add_run(deployment.node, await newcomer(deployment.node), at=NOW - SECOND)
        older = await add_run(deployment.node, scope, at=NOW + SECOND)
        newer = await add_run(deployment.node, scope, at=NOW + 2 * SECOND)

        assert await deployment.other.read(runs.oldest_pending_at) == older.created_at
        await move_to(deployment.node, scope, older.id, S.STARTING)
        assert await deployment.other.read(runs.oldest_pending_at) == newer.created_at
