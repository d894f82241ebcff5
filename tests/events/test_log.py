"""Where a stream begins: recovered and exactly what was missed, or a snapshot that joins what follows."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import SystemClock
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import NotFoundError, PositionLostError
from cloche.events.codec import decode
from cloche.events.hub import Hub
from cloche.events.log import EventLog
from cloche.events.snapshot import SNAPSHOT_MESSAGES
from cloche.ids import RunId, ThreadId, UserId
from cloche.storage.events import Keep, RetentionRepository
from cloche.storage.sqlite import SqliteDatabase
from cloche.storage.threads import ThreadRepository
from support.logs import append, make_thread, seqs, set_retention
from support.world import World, add_person

DAY = timedelta(days=1)


@pytest.fixture
def log(database: SqliteDatabase) -> EventLog:
    return EventLog(database, Hub())


async def trim(world: World, scope: Scope, *, keep: int) -> None:
    await set_retention(world.database, scope, events=keep)
    repository = RetentionRepository(SystemScope(purpose="a test of retention"), Keep())
    for row in await world.database.read(lambda tx: repository.overdue(tx, at=world.clock.now(), limit=100)):
        await world.database.write(lambda tx, row=row: repository.trim(tx, row, at=world.clock.now()))


async def echo(run: AgentRun) -> str:
    await run.think("let me see")
    return run.text


@pytest.mark.parametrize("after", [None, 0, 1, 3])
async def test_a_position_within_the_log_is_recovered(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog, after: int | None
):
    thread_id = await make_thread(database, clock, scope)
    await append(database, log, scope, thread_id, ["t"] * 3, at=clock.now())

    subscription, opening, snapshot = await log.subscribe(scope, thread_id, after=after)

    with subscription:
        assert opening.recovered
        assert snapshot is None
        assert (opening.from_seq, opening.head_seq) == ((after or 0) + 1, 3)
        assert seqs(await subscription.take()) == list(range((after or 0) + 1, 4))


@pytest.mark.parametrize("after", [4, 1000, -1, -5])
async def test_a_position_that_the_log_never_had_gets_a_snapshot_of_its_head(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog, after: int
):
    thread_id = await make_thread(database, clock, scope)
    await append(database, log, scope, thread_id, ["t"] * 3, at=clock.now())

    subscription, opening, snapshot = await log.subscribe(scope, thread_id, after=after)

    with subscription:
        assert snapshot is not None
        assert (opening.recovered, opening.from_seq, snapshot.seq) == (False, 4, 3)
        assert await subscription.take() == []
        await append(database, log, scope, thread_id, ["live"], at=clock.now())
        assert seqs(await subscription.take()) == [4]


async def test_a_position_of_another_epoch_is_not_recovered_even_when_the_number_fits(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)
    await append(database, log, scope, thread_id, ["t"] * 3, at=clock.now())
    subscription, opening, _ = await log.subscribe(scope, thread_id)
    subscription.close()

    same, again, _ = await log.subscribe(scope, thread_id, after=2, epoch=opening.epoch)
    other, refused, snapshot = await log.subscribe(scope, thread_id, after=2, epoch=opening.epoch + 1)

    with same, other:
        assert again.recovered
        assert not refused.recovered
        assert refused.epoch == opening.epoch
        assert snapshot is not None


async def test_a_trimmed_position_gets_a_snapshot_and_one_at_the_edge_is_recovered(idle_world: World):
    scope = await idle_world.person()
    thread_id = await make_thread(idle_world.database, idle_world.clock, scope)
    await append(idle_world.database, idle_world.log, scope, thread_id, ["t"] * 10, at=idle_world.clock.now())
    await trim(idle_world, scope, keep=4)

    lost, opening, snapshot = await idle_world.log.subscribe(scope, thread_id, after=5)
    edge, recovered, _ = await idle_world.log.subscribe(scope, thread_id, after=6)
    beginning, from_start, _ = await idle_world.log.subscribe(scope, thread_id)

    with lost, edge, beginning:
        assert snapshot is not None
        assert (opening.recovered, opening.from_seq, snapshot.seq) == (False, 11, 10)
        assert recovered.recovered
        assert not from_start.recovered
        assert seqs(await edge.take()) == [7, 8, 9, 10]


async def test_live_runs_keep_all_their_events_and_follow_the_snapshot_without_a_gap(idle_world: World):
    world = idle_world
    world.programs.add("agent", echo)
    scope = await world.person()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.worker.run())
        first = await world.send(scope, "one")
        await world.until(scope, first)
        task.cancel()
    thread_id = ThreadId(first.thread_id)
    live = await world.send(scope, "two", thread_id=thread_id)
    queued = await world.send(scope, "three", thread_id=thread_id)
    await append(world.database, world.log, scope, thread_id, ["t"] * 20, at=world.clock.now())
    await trim(world, scope, keep=3)

    subscription, opening, snapshot = await world.log.subscribe(scope, thread_id, after=1)

    with subscription:
        events = await subscription.take()
    assert snapshot is not None
    assert not opening.recovered
    assert snapshot.seq == live.seq - 1
    assert opening.from_seq == live.seq
    assert seqs(events) == list(range(snapshot.seq + 1, opening.head_seq + 1))
    assert [message.parts[0].text for message in snapshot.messages] == ["one", "one"]
    assert [message.role for message in snapshot.messages] == ["user", "assistant"]
    assert [run.run_id for run in snapshot.runs] == [live.run_id, queued.run_id]
    assert snapshot.status == "queued"
    assert not snapshot.messages_cut


async def test_a_snapshot_of_a_long_thread_holds_its_newest_messages_and_says_that_it_is_cut(world: World):
    world.programs.add("agent", echo)
    scope = await world.person()
    accepted = await world.send(scope, "first")
    await world.until(scope, accepted)
    for number in range(SNAPSHOT_MESSAGES // 2):
        accepted = await world.send(scope, f"message {number}", thread_id=accepted.thread_id)
        await world.until(scope, accepted)

    subscription, _, snapshot = await world.log.subscribe(scope, ThreadId(accepted.thread_id), after=10**9)

    with subscription:
        assert snapshot is not None
        assert snapshot.messages_cut
        assert len(snapshot.messages) == SNAPSHOT_MESSAGES
        assert snapshot.messages[0].parts[0].text == "message 0"
        numbers = [message.seq for message in snapshot.messages]
        assert numbers == sorted(numbers)
        assert snapshot.title == "first"


async def test_a_stranger_finds_no_thread_and_leaves_no_trace_in_the_hub(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)
    colleague = Scope(tenant_id=scope.tenant_id, user_id=UserId.new())

    for stranger in (await add_person(database, clock), colleague):
        with pytest.raises(NotFoundError):
            await log.subscribe(stranger, thread_id, after=0)
        with pytest.raises(NotFoundError):
            await append(database, log, stranger, thread_id, ["mine"], at=clock.now())
    assert log._hub.followers == 0


async def test_the_scope_is_looked_at_anew_each_time_so_a_deleted_thread_cannot_be_joined(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)
    subscription, _, _ = await log.subscribe(scope, thread_id)
    subscription.close()
    await database.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=clock.now()))

    with pytest.raises(NotFoundError):
        await log.subscribe(scope, thread_id, after=subscription.position)


async def test_nobody_hears_of_an_event_whose_transaction_failed(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)
    heard: list[int] = []
    subscription, _, _ = await log.subscribe(scope, thread_id, on_moved=lambda: heard.append(1))
    written = await append(database, log, scope, thread_id, ["kept"], at=clock.now())

    async def fail(tx: object) -> None:
        await log.append(tx, scope, thread_id, [], at=clock.now())  # type: ignore[arg-type]
        raise ValueError("not this one")

    with pytest.raises(ValueError, match="not this one"):
        await database.write(fail)

    with subscription:
        assert await subscription.take() == written
        assert heard == [1]


async def test_following_starts_with_the_past_and_goes_on_with_what_comes(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)
    await append(database, log, scope, thread_id, ["t"] * 2, at=clock.now())

    following = log.follow(scope, thread_id, after=1)
    past = await anext(following)
    async with asyncio.TaskGroup() as group:
        coming = group.create_task(anext(following))
        await append(database, log, scope, thread_id, ["t"], at=clock.now())
    await following.aclose()

    assert seqs([*past, *coming.result()]) == [2, 3]
    assert log._hub.followers == 0


async def test_following_from_a_lost_position_says_so(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, log: EventLog
):
    thread_id = await make_thread(database, clock, scope)

    with pytest.raises(PositionLostError) as lost:
        await anext(log.follow(scope, thread_id, after=5))

    assert lost.value.details == {"position": 5, "head_seq": 0}
    assert log._hub.followers == 0


# One run's events


async def test_a_run_s_events_are_its_own_and_the_end_is_said(world: World):
    world.programs.add("agent", echo)
    scope = await world.person()
    first = await world.send(scope, "one")
    second = await world.send(scope, "two", thread_id=first.thread_id)
    await world.until(scope, second)

    for accepted in (first, second):
        events, ended = await world.log.read_run(scope, RunId(accepted.run_id))
        assert ended
        assert {decode(event.body).run_id for event in events} == {accepted.run_id}
        assert decode(events[-1].body).type == "agent_completed"
        rest, ended = await world.log.read_run(scope, RunId(accepted.run_id), after=events[-2].seq)
        assert (rest, ended) == (events[-1:], True)
        assert await world.log.read_run(scope, RunId(accepted.run_id), after=events[-1].seq) == ([], True)


async def test_a_run_that_has_not_ended_is_said_to_go_on(idle_world: World):
    idle_world.programs.add("agent", echo)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)

    events, ended = await idle_world.log.read_run(scope, RunId(accepted.run_id))

    assert [decode(event.body).type for event in events] == ["message_created", "run_queued"]
    assert not ended
    assert await idle_world.log.read_run(scope, RunId(accepted.run_id), after=events[-1].seq) == ([], False)


@pytest.mark.parametrize("keep", [0, 2])
async def test_a_run_whose_events_were_trimmed_is_never_told_with_a_gap_nor_waited_for(world: World, keep: int):
    world.programs.add("agent", echo)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted)
    run = await world.run(scope, accepted.run_id)
    await trim(world, scope, keep=keep)

    with pytest.raises(PositionLostError):
        await world.log.read_run(scope, run.id)
    kept, ended = await world.log.read_run(scope, run.id, after=run.last_seq - keep)

    assert len(kept) == keep
    assert ended


async def test_a_stranger_finds_no_run(world: World):
    world.programs.add("agent", echo)
    scope, stranger = await world.person(), await world.person()
    accepted = await world.send(scope)

    with pytest.raises(NotFoundError):
        await world.log.read_run(stranger, RunId(accepted.run_id))
