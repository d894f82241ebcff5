"""Logs are kept as long as their tenants want, and never so short that a live run loses an event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.events.retention import UNDO_TIME, Retention
from cloche.ids import RunId, ThreadId
from cloche.storage.events import EventRepository, Keep, LogBounds, StoredEvent
from cloche.storage.threads import ThreadRepository
from cloche.testing.clock import ManualClock
from support.logs import append, make_thread, seqs, set_retention
from support.world import World, opened_world

DAY = timedelta(days=1)


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock(datetime(2031, 1, 1, tzinfo=UTC))


@pytest.fixture
async def past(database_path: Path, manual_clock: ManualClock):
    """A world in which time goes on only when the test says so."""
    async with opened_world(database_path, manual_clock) as world:
        yield world


async def bounds(world: World, scope: Scope, thread_id: ThreadId) -> LogBounds:
    return await world.database.read(lambda tx: EventRepository(scope).bounds(tx, thread_id))


async def events(world: World, scope: Scope, thread_id: ThreadId) -> list[StoredEvent]:
    return await world.database.read(lambda tx: EventRepository(scope).read(tx, thread_id, after=0, limit=1000))


async def thread_of(world: World, scope: Scope, *ages: int) -> ThreadId:
    """A thread with one event for each age in days."""
    thread_id = await make_thread(world.database, world.clock, scope)
    for age in ages:
        await append(world.database, world.log, scope, thread_id, ["t"], at=world.clock.now() - age * DAY)
    return thread_id


def retention(world: World, *, age: timedelta = 30 * DAY, count: int = 100_000) -> Retention:
    return Retention(world.database, world.clock, Keep(age=age, events=count))


async def test_events_older_than_the_tenant_keeps_them_go(past: World):
    scope = await past.person()
    await set_retention(past.database, scope, age=10 * DAY)
    thread_id = await thread_of(past, scope, 30, 20, 11, 9, 1)

    swept = await retention(past).sweep()

    assert swept == (3, 0)
    assert seqs(await events(past, scope, thread_id)) == [4, 5]
    found = await bounds(past, scope, thread_id)
    assert (found.first_seq, found.head_seq) == (4, 5)


async def test_events_beyond_the_number_that_the_tenant_keeps_go(past: World):
    scope = await past.person()
    await set_retention(past.database, scope, events=2)
    thread_id = await thread_of(past, scope, 3, 2, 1, 0)

    assert await retention(past).sweep() == (2, 0)
    assert seqs(await events(past, scope, thread_id)) == [3, 4]
    assert await retention(past).sweep() == (0, 0)


async def test_a_tenant_without_settings_gets_those_of_the_server(past: World):
    scope = await past.person()
    await past.database.write(
        lambda tx: tx.execute(
            "UPDATE tenants SET retention_us = NULL, retention_events = NULL WHERE id = ?", str(scope.tenant_id)
        )
    )
    by_age, by_count = await thread_of(past, scope, 9, 3, 1), await thread_of(past, scope, 0, 0, 0, 0)

    await retention(past, age=5 * DAY, count=3).sweep()

    assert seqs(await events(past, scope, by_age)) == [2, 3]
    assert seqs(await events(past, scope, by_count)) == [2, 3, 4]


async def test_a_log_of_which_nothing_is_kept_goes_on_with_the_next_number(past: World):
    scope = await past.person()
    await set_retention(past.database, scope, age=10 * DAY)
    thread_id = await thread_of(past, scope, 30, 20)

    await retention(past).sweep()
    await append(past.database, past.log, scope, thread_id, ["t"], at=past.clock.now())

    assert seqs(await events(past, scope, thread_id)) == [3]
    assert (await bounds(past, scope, thread_id)).first_seq == 3
    assert await retention(past).sweep() == (0, 0)


async def test_one_tenant_s_wish_touches_no_other_tenant_s_log(past: World):
    short, long = await past.person(), await past.person()
    await set_retention(past.database, short, events=1)
    short_thread, long_thread = await thread_of(past, short, 3, 2, 1), await thread_of(past, long, 3, 2, 1)

    await retention(past).sweep()

    assert seqs(await events(past, short, short_thread)) == [3]
    assert seqs(await events(past, long, long_thread)) == [1, 2, 3]


async def _never(run: AgentRun) -> str:
    return "unused"


async def test_the_events_of_a_live_run_all_stay_however_old(past: World, manual_clock: ManualClock):
    past.programs.add("agent", _never)
    scope = await past.person()
    await set_retention(past.database, scope, events=1, age=DAY)
    thread_id = await thread_of(past, scope, 0, 0)
    accepted = await past.send(scope, thread_id=thread_id)
    manual_clock.advance(100 * DAY)
    await append(past.database, past.log, scope, thread_id, ["t"] * 5, at=past.clock.now())

    swept = await retention(past).sweep()

    assert swept == (2, 0)
    assert seqs(await events(past, scope, thread_id)) == list(range(accepted.seq, 10))
    await past.cancellation.cancel(scope, RunId(accepted.run_id))
    await retention(past).sweep()
    assert seqs(await events(past, scope, thread_id)) == [10]


async def test_logs_that_a_live_run_holds_do_not_keep_the_sweep_from_the_others(past: World):
    past.programs.add("agent", _never)
    holding, plain = await past.person(), await past.person()
    await set_retention(past.database, holding, events=1)
    await set_retention(past.database, plain, events=1)
    for _ in range(3):
        await past.send(holding)
    free = await thread_of(past, plain, 0, 0)
    sweeping = retention(past)

    found = await past.database.read(lambda tx: sweeping._repository.overdue(tx, at=past.clock.now(), limit=3))

    assert [row.id for row in found] == [str(free)]


async def test_a_deleted_thread_goes_with_everything_in_it_after_the_time_to_undo(
    past: World, manual_clock: ManualClock
):
    past.programs.add("agent", _never)
    scope = await past.person()
    accepted = await past.send(scope)
    thread_id = ThreadId(accepted.thread_id)
    other = await past.send(scope)
    await past.cancellation.cancel(scope, RunId(accepted.run_id))
    await past.database.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=past.clock.now()))

    manual_clock.advance(UNDO_TIME)
    early = await retention(past).sweep()
    manual_clock.advance(timedelta(seconds=1))
    late = await retention(past).sweep()

    assert (early, late) == ((0, 0), (0, 1))
    with pytest.raises(NotFoundError):
        await past.run(scope, accepted.run_id)
    for table in ("threads", "messages", "runs", "events"):
        column = "id" if table == "threads" else "thread_id"
        left = await past.database.read(
            lambda tx, table=table, column=column: tx.fetch(StoredEvent, f"SELECT 0, {column} FROM {table}")
        )
        assert {row.body for row in left} == {other.thread_id}


async def test_a_deleted_thread_with_a_live_run_stays_until_the_run_has_ended(past: World, manual_clock: ManualClock):
    past.programs.add("agent", _never)
    scope = await past.person()
    accepted = await past.send(scope)
    thread_id = ThreadId(accepted.thread_id)
    await past.database.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=past.clock.now()))
    manual_clock.advance(2 * UNDO_TIME)

    kept = await retention(past).sweep()
    await past.cancellation.cancel(scope, RunId(accepted.run_id))
    gone = await retention(past).sweep()

    assert (kept, gone) == ((0, 0), (0, 1))
