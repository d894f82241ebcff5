"""The contract of the runs' repository: what a run is, how it is listed, admitted and finished."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloche.domain.runs import LIVE_STATES, ExecutionState, Failure, Run
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.errors import NotFoundError
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.pages import Page, page_request
from cloche.storage.runs import RunRepository
from cloche.storage.tenant_runs import TenantRunRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    add_claimed_run,
    add_run,
    add_thread,
    move_to,
    newcomer,
    pending_run,
    rows,
)

S = ExecutionState


async def _get(database: Database, scope: Scope, run_id: RunId) -> Run:
    return await database.read(lambda tx: RunRepository(scope).get(tx, run_id))


async def _list(
    database: Database, scope: Scope, thread_id: ThreadId | None = None, *, limit: int = 100, cursor: str | None = None
) -> Page[Run]:
    page = page_request("runs", limit=limit, cursor=cursor)
    return await database.read(lambda tx: RunRepository(scope).list(tx, page, thread_id=thread_id))


async def _live(database: Database, scope: Scope, thread_id: ThreadId) -> list[RunId]:
    return [run.id for run in await database.read(lambda tx: RunRepository(scope).live(tx, thread_id))]


async def _next(database: Database, scope: Scope, thread_id: ThreadId) -> RunId | None:
    return await database.read(lambda tx: RunRepository(scope).next_to_admit(tx, thread_id))


async def _admit(database: Database, scope: Scope, run_id: RunId) -> bool:
    return await database.write(lambda tx: RunRepository(scope).admit(tx, run_id, at=NOW))


class TestRuns:
    """One user's runs."""

    async def test_a_run_is_kept_as_it_was_made(self, deployment: Deployment, scope: Scope) -> None:
        """On both nodes."""
        run = pending_run(scope, await add_thread(deployment.node, scope), first_seq=4)
        again = replace(pending_run(scope, run.thread_id, first_seq=5), retry_of=run.id, message_id=run.message_id)

        for made in (run, again):
            await deployment.node.write(lambda tx, made=made: RunRepository(scope).create(tx, made, is_admitted=False))

        for node in deployment.nodes:
            for made in (run, again):
                assert await _get(node, scope, made.id) == made
                assert await node.read(lambda tx, made=made: RunRepository(scope).find(tx, made.id)) == made

    async def test_a_run_that_is_not_there_is_none_or_an_error(self, deployment: Deployment, scope: Scope) -> None:
        """``find`` gives None, ``get`` raises."""
        assert await deployment.node.read(lambda tx: RunRepository(scope).find(tx, RunId.new())) is None
        with pytest.raises(NotFoundError):
            await _get(deployment.node, scope, RunId.new())

    async def test_pages_are_complete_and_without_repeats_while_runs_are_added(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Newest first, also where several were made in the same microsecond; a thread's own in the same way."""
        threads = [await add_thread(deployment.node, scope) for _ in range(2)]
        runs = [await add_run(deployment.node, scope, threads[n % 2], at=NOW + (n // 3) * SECOND) for n in range(7)]
        expected = sorted(runs, key=lambda run: (run.created_at, run.id), reverse=True)

        for thread_id in (None, threads[0]):
            found: list[RunId] = []
            cursor: str | None = None
            while True:
                page = await _list(deployment.other, scope, thread_id, limit=2, cursor=cursor)
                found += [run.id for run in page.items]
                if (cursor := page.next_cursor) is None:
                    break
                await add_run(deployment.node, scope, threads[0], at=NOW + 9 * SECOND)
            known = {run.id for run in runs}
            assert [run_id for run_id in found if run_id in known] == [
                run.id for run in expected if thread_id in (None, run.thread_id)
            ]
            assert len(found) == len(set(found))

    async def test_live_runs_are_those_that_have_not_ended(self, deployment: Deployment, scope: Scope) -> None:
        """In the order of their first events, counted, and by thread."""
        one, two = [await add_thread(deployment.node, scope) for _ in range(2)]
        first, second, third = [await add_run(deployment.node, scope, one, at=NOW - n * SECOND) for n in range(3)]
        fourth = await add_run(deployment.node, scope, two)
        runs = RunRepository(scope)

        await move_to(deployment.node, scope, second.id, S.CANCELLED)
        await move_to(deployment.node, scope, third.id, S.STARTING, S.RUNNING)

        assert await _live(deployment.other, scope, one) == [first.id, third.id]
        assert await deployment.other.read(runs.live_states) == {one: [S.PENDING, S.RUNNING], two: [S.PENDING]}
        await move_to(deployment.node, scope, fourth.id, S.DEAD)
        assert await deployment.other.read(runs.live_states) == {one: [S.PENDING, S.RUNNING]}

    async def test_a_tenant_s_runs_are_listed_and_counted_whoever_owns_them(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """For administrators; those of other tenants are not among them."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        foreign = await newcomer(deployment.node)
        await add_run(deployment.node, foreign, at=NOW + 9 * SECOND)
        runs = [
            await add_run(deployment.node, who, at=NOW + n * SECOND) for n, who in enumerate((scope, colleague, scope))
        ]
        ended = await add_run(deployment.node, colleague, at=NOW - SECOND)
        await move_to(deployment.node, colleague, ended.id, S.FAILED)
        await move_to(deployment.node, scope, runs[0].id, S.STARTING)
        repository = TenantRunRepository(scope)

        found: list[RunId] = []
        cursor: str | None = None
        while True:
            page = page_request("runs", limit=2, cursor=cursor)
            answer = await deployment.other.read(lambda tx, page=page: repository.list(tx, page))
            found += [found_run.run.id for found_run in answer.items]
            if (cursor := answer.next_cursor) is None:
                break

        assert found == [run.id for run in (*reversed(runs), ended)]
        assert await deployment.other.read(repository.count_live) == {
            **dict.fromkeys(LIVE_STATES, 0),
            S.PENDING: 2,
            S.STARTING: 1,
        }

    async def test_what_came_of_a_run_is_recorded(self, deployment: Deployment, scope: Scope) -> None:
        """Usage, last number, and why it failed; a run that did not fail has no failure."""
        good, bad = [await add_claimed_run(deployment.node, scope) for _ in range(2)]
        usage, failure = Usage(input_tokens=2**40, output_tokens=1), Failure(code="a", message="ü", retryable=True)
        await move_to(deployment.node, scope, good.id, S.RUNNING)
        runs = RunRepository(scope)

        async def work(tx: Transaction) -> None:
            await runs.end(tx, good.id, S.COMPLETED, at=NOW, epoch=1, last_seq=9, usage=usage, failure=None)
            await runs.end(tx, bad.id, S.FAILED, at=NOW, epoch=None, last_seq=3, usage=Usage(), failure=failure)

        await deployment.node.write(work)

        found = [await _get(deployment.other, scope, run.id) for run in (good, bad)]
        assert [(run.last_seq, run.usage, run.failure) for run in found] == [(9, usage, None), (3, Usage(), failure)]
        assert [run.state for run in found] == [S.COMPLETED, S.FAILED]
        assert await rows(
            deployment.other,
            "SELECT worker_id FROM runs WHERE tenant_id = ? AND ended_at = ended_at",
            str(scope.tenant_id),
        ) == [(None,), (None,)]

    async def test_the_first_wish_to_cancel_stays(self, deployment: Deployment, scope: Scope) -> None:
        """With its reason and its time."""
        run, runs = await add_run(deployment.node, scope), RunRepository(scope)

        for number, reason in enumerate(("first", "second")):
            at = NOW + number * SECOND
            await deployment.node.write(
                lambda tx, at=at, reason=reason: runs.request_cancel(tx, run.id, reason=reason, at=at)
            )

        found = await rows(
            deployment.other,
            "SELECT cancel_reason, cancel_requested_at - created_at FROM runs WHERE tenant_id = ? AND id = ?",
            str(scope.tenant_id),
            str(run.id),
        )
        assert found == [("first", 0)]


class TestAdmission:
    """Which run of a thread may be claimed."""

    async def test_a_run_is_admitted_once(self, deployment: Deployment, scope: Scope) -> None:
        """The second who asks is told that it was already."""
        run = await add_run(deployment.node, scope, is_admitted=False)

        assert [await _admit(node, scope, run.id) for node in deployment.nodes] == [True, False]

    async def test_a_run_that_has_ended_or_is_not_there_is_not_admitted(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """It could be cancelled while it waited."""
        run = await add_run(deployment.node, scope, is_admitted=False)
        await move_to(deployment.node, scope, run.id, S.CANCELLED)

        assert not await _admit(deployment.node, scope, run.id)
        assert not await _admit(deployment.node, scope, RunId.new())

    async def test_runs_of_a_thread_take_turns_in_their_order(self, deployment: Deployment, scope: Scope) -> None:
        """Nobody is next while an admitted run is live, and no ended run is ever next."""
        thread_id = await add_thread(deployment.node, scope)
        first = await add_run(deployment.node, scope, thread_id)
        second, third, fourth = [
            await add_run(deployment.node, scope, thread_id, is_admitted=False, at=NOW - n * SECOND) for n in range(3)
        ]
        await move_to(deployment.node, scope, second.id, S.CANCELLED)

        while_busy = await _next(deployment.other, scope, thread_id)
        await move_to(deployment.node, scope, first.id, S.FAILED)
        after = await _next(deployment.other, scope, thread_id)
        await _admit(deployment.node, scope, third.id)
        admitted = await _next(deployment.other, scope, thread_id)
        await move_to(deployment.node, scope, third.id, S.FAILED)

        assert (while_busy, after, admitted) == (None, third.id, None)
        assert await _next(deployment.other, scope, thread_id) == fourth.id

    async def test_threads_do_not_wait_for_each_other(self, deployment: Deployment, scope: Scope) -> None:
        """Only a run of the same thread keeps a run waiting."""
        await add_run(deployment.node, scope)
        waiting = await add_run(deployment.node, scope, is_admitted=False)

        assert await _next(deployment.other, scope, waiting.thread_id) == waiting.id
        assert await _next(deployment.other, scope, ThreadId.new()) is None
