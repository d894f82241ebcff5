"""The contract of retention: what is over is removed, what is unfinished is never touched."""

from __future__ import annotations

from datetime import timedelta

from cloche.domain.messages import MessageRole, TextPart
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.usage import Usage
from cloche.ids import MessageId, ThreadId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventRepository, Keep, LogBounds, RetentionRepository, TrimRow
from cloche.storage.messages import MessageRepository
from cloche.storage.steps import StepRepository
from cloche.storage.threads import ThreadRepository
from cloche.storage.usage import UsageRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import (
    NOW,
    SYSTEM,
    add_claimed_run,
    add_run,
    add_thread,
    append_events,
    event_draft,
    move_to,
    newcomer,
    open_approval,
)
from cloche.testing.contracts.reflection import rows_of_tenant

DAY = timedelta(days=1)
S = ExecutionState
SWEEP = RetentionRepository(SYSTEM, Keep(age=30 * DAY, events=3))
TABLES = ("threads", "events", "messages", "runs", "executions", "steps", "approvals", "usage_entries")


async def _thread_of(database: Database, scope: Scope, *ages: int) -> ThreadId:
    thread_id = await add_thread(database, scope)
    for age in ages:
        await append_events(database, scope, thread_id, [event_draft()], at=NOW - age * DAY)
    return thread_id


async def _overdue(database: Database, scope: Scope) -> list[TrimRow]:
    found = await database.read(lambda tx: SWEEP.overdue(tx, at=NOW, limit=10_000))
    return [row for row in found if row.tenant_id == scope.tenant_id]


async def _trim(database: Database, row: TrimRow) -> int:
    return await database.write(lambda tx: SWEEP.trim(tx, row, at=NOW))


async def _bounds(database: Database, scope: Scope, thread_id: ThreadId) -> LogBounds:
    return await database.read(lambda tx: EventRepository(scope).bounds(tx, thread_id))


async def _seqs(database: Database, scope: Scope, thread_id: ThreadId) -> list[int]:
    found = await database.read(lambda tx: EventRepository(scope).read(tx, thread_id, after=0, limit=1000))
    return [event.seq for event in found]


async def _keep(database: Database, scope: Scope, *, age: timedelta | None = None, events: int | None = None) -> None:
    micros = None if age is None else age // timedelta(microseconds=1)
    await database.write(
        lambda tx: tx.execute(
            "UPDATE tenants SET retention_us = ?, retention_events = ? WHERE id = ?",
            micros,
            events,
            str(scope.tenant_id),
        )
    )


class TestTrimming:
    """Logs within what their tenants keep."""

    async def test_too_many_events_are_trimmed_to_the_newest(self, deployment: Deployment, scope: Scope) -> None:
        """The log says where it begins now, and is no more overdue; its next number is the next."""
        thread_id = await _thread_of(deployment.node, scope, 0, 0, 0, 0, 0)

        (row,) = await _overdue(deployment.other, scope)
        removed = await _trim(deployment.node, row)

        assert (row.id, removed) == (thread_id, 2)
        assert await _seqs(deployment.other, scope, thread_id) == [3, 4, 5]
        assert (await _bounds(deployment.other, scope, thread_id))[1:] == (3, 5)
        assert await _overdue(deployment.other, scope) == []
        assert await append_events(deployment.node, scope, thread_id, [event_draft()]) == [6]

    async def test_events_that_are_out_of_date_are_trimmed(self, deployment: Deployment, scope: Scope) -> None:
        """All of them, if need be; an emptied log is no more overdue, and counts on."""
        some, all_of_it = [await _thread_of(deployment.node, scope, *ages) for ages in ((40, 31, 30), (40, 35))]

        for row in await _overdue(deployment.other, scope):
            await _trim(deployment.node, row)

        assert await _seqs(deployment.other, scope, some) == [3]
        assert (await _bounds(deployment.other, scope, all_of_it))[1:] == (3, 2)
        assert await _overdue(deployment.other, scope) == []
        assert await append_events(deployment.node, scope, all_of_it, [event_draft()]) == [3]

    async def test_a_tenant_s_own_setting_goes_before(self, deployment: Deployment, scope: Scope) -> None:
        """More or less than the server's, in number and in age."""
        thread_id = await _thread_of(deployment.node, scope, 40, 8, 1, 1, 1)
        await _keep(deployment.node, scope, age=50 * DAY, events=10)
        assert await _overdue(deployment.other, scope) == []

        await _keep(deployment.node, scope, age=7 * DAY, events=10)
        for row in await _overdue(deployment.other, scope):
            await _trim(deployment.node, row)

        assert await _seqs(deployment.other, scope, thread_id) == [3, 4, 5]

    async def test_a_live_run_s_events_stay(self, deployment: Deployment, scope: Scope) -> None:
        """In every live state, however old and however many."""
        thread_id = await _thread_of(deployment.node, scope, 50, 45)
        run = await add_run(deployment.node, scope, thread_id, at=NOW - 40 * DAY)
        await append_events(deployment.node, scope, thread_id, [event_draft(run_id=run.id)] * 5, at=NOW - 39 * DAY)

        for state in (None, S.STARTING, S.RUNNING, S.WAITING):
            if state is not None:
                await move_to(deployment.node, scope, run.id, state)
            for row in await _overdue(deployment.other, scope):
                await _trim(deployment.node, row)
            assert await _seqs(deployment.other, scope, thread_id) == [3, 4, 5, 6, 7, 8]
        await move_to(deployment.node, scope, run.id, S.CANCELLED)
        for row in await _overdue(deployment.other, scope):
            await _trim(deployment.node, row)
        assert await _seqs(deployment.other, scope, thread_id) == []

    async def test_a_log_that_a_live_run_keeps_as_it_is_is_not_overdue(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Or the sweep would find it for ever, and nothing behind it."""
        run = await add_run(deployment.node, scope, at=NOW - 40 * DAY)
        await append_events(deployment.node, scope, run.thread_id, [event_draft()] * 9)

        assert await _overdue(deployment.other, scope) == []

    async def test_a_run_that_starts_after_the_finding_keeps_its_events(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """What is kept is decided in the transaction that removes."""
        thread_id = await _thread_of(deployment.node, scope, 50)
        (row,) = await _overdue(deployment.other, scope)
        await add_run(deployment.node, scope, thread_id, at=NOW - 45 * DAY)
        await append_events(deployment.node, scope, thread_id, [event_draft()] * 3, at=NOW - 45 * DAY)

        assert await _trim(deployment.node, row) == 1

        assert await _seqs(deployment.other, scope, thread_id) == [2, 3, 4, 5]

    async def test_of_two_sweeps_at_once_one_trims(self, deployment: Deployment, scope: Scope) -> None:
        """The other finds nothing more to do."""
        thread_id = await _thread_of(deployment.node, scope, 0, 0, 0, 0, 0)
        (row,) = await _overdue(deployment.other, scope)

        removed = await race(
            deployment.node,
            lambda tx: SWEEP.trim(tx, row, at=NOW),
            deployment.other,
            lambda tx: SWEEP.trim(tx, row, at=NOW),
        )

        assert removed == (2, 0)
        assert (await _bounds(deployment.other, scope, thread_id))[1:] == (3, 5)

    async def test_a_log_within_its_bounds_is_left_alone(self, deployment: Deployment, scope: Scope) -> None:
        """By a stale finding too."""
        thread_id = await _thread_of(deployment.node, scope, 1, 1, 1)
        stale = TrimRow(str(scope.tenant_id), str(scope.user_id), str(thread_id), 1, 3)

        assert await _overdue(deployment.other, scope) == []
        assert await _trim(deployment.node, stale) == 0
        assert await _seqs(deployment.other, scope, thread_id) == [1, 2, 3]


async def _furnish(database: Database, scope: Scope, thread_id: ThreadId, run: Run) -> None:
    """The thread has a row in every table that a thread has rows in."""

    async def work(tx: Transaction) -> None:
        await MessageRepository(scope).create(
            tx,
            MessageId.new(),
            thread_id=thread_id,
            run_id=run.id,
            seq=1,
            role=MessageRole.USER,
            parts=(TextPart(text="a"),),
            at=NOW,
        )
        step = Step(
            index=1,
            kind=StepKind.VALUE,
            name="a",
            input_digest=b"",
            state=StepState.DONE,
            result=b"",
            reference="",
            epoch=1,
            started_at=NOW,
            ended_at=NOW,
        )
        await StepRepository(scope).put(tx, run.id, step)
        await ApprovalRepository(scope).create(tx, open_approval(run))
        await UsageRepository(scope).record(tx, run.id, agent="a", model="m", step=1, usage=Usage(), at=NOW)

    await database.write(work)


async def _counts(database: Database, scope: Scope) -> dict[str, int]:
    async def work(tx: Transaction) -> dict[str, int]:
        own = str(scope.user_id)
        found = {table: await rows_of_tenant(tx, table, scope.tenant_id) for table in TABLES}
        return {table: sum(own in row for row in kept) for table, kept in found.items()}

    return await database.read(work)


async def _purge(database: Database, *, limit: int = 10_000) -> int:
    return await database.write(lambda tx: SWEEP.purge_deleted(tx, before=NOW, limit=limit))


async def _deleted(database: Database, scope: Scope, *, age: timedelta = DAY) -> Run:
    """A claimed run on a furnished thread that was deleted."""
    run = await add_claimed_run(database, scope)
    await _furnish(database, scope, run.thread_id, run)
    await database.write(lambda tx: ThreadRepository(scope).delete(tx, run.thread_id, at=NOW - age))
    return run


class TestPurging:
    """Deleted threads, when the time to undo it is over."""

    async def test_a_deleted_thread_goes_with_everything_in_it(self, deployment: Deployment, scope: Scope) -> None:
        """Only the ledger stays: what it cost was spent."""
        run = await _deleted(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.FAILED)
        before = await _counts(deployment.node, scope)

        await _purge(deployment.node)

        assert all(before.values())
        assert await _counts(deployment.other, scope) == {**dict.fromkeys(TABLES, 0), "usage_entries": 1}

    async def test_a_thread_with_an_unfinished_run_stays_until_it_has_ended(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Nothing of it is removed, in any live state."""
        run = await _deleted(deployment.node, scope)
        for state in (None, S.RUNNING, S.WAITING, S.PENDING, S.STARTING, S.CANCELLING):
            if state is not None:
                await move_to(deployment.node, scope, run.id, state)
            before = await _counts(deployment.node, scope)
            await _purge(deployment.node)
            assert await _counts(deployment.other, scope) == before

        await move_to(deployment.node, scope, run.id, S.CANCELLED)
        await _purge(deployment.node)

        assert (await _counts(deployment.other, scope))["threads"] == 0

    async def test_threads_that_were_not_deleted_or_only_just_stay(self, deployment: Deployment, scope: Scope) -> None:
        """As they are, beside one that goes."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        kept = await add_claimed_run(deployment.node, scope)
        await _furnish(deployment.node, scope, kept.thread_id, kept)
        recent = await _deleted(deployment.node, scope, age=timedelta(0))
        gone = await _deleted(deployment.node, colleague)
        for who, run in ((scope, kept), (scope, recent), (colleague, gone)):
            await move_to(deployment.node, who, run.id, S.FAILED)
        before = await _counts(deployment.node, scope)

        await _purge(deployment.node)

        assert await _counts(deployment.other, scope) == before
        assert (await _counts(deployment.other, colleague))["threads"] == 0

    async def test_a_sweep_removes_no_more_than_it_was_told(self, deployment: Deployment, scope: Scope) -> None:
        """The rest is for the next one."""
        await _purge(deployment.node)
        for _ in range(3):
            thread_id = await add_thread(deployment.node, scope)
            await deployment.node.write(
                lambda tx, thread_id=thread_id: ThreadRepository(scope).delete(tx, thread_id, at=NOW - DAY)
            )

        assert [await _purge(deployment.node, limit=2) for _ in range(3)] == [2, 1, 0]
