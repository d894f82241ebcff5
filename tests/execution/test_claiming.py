"""A run that can begin at once does so in the transaction that accepts it; its place in the worker is never lost."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta
from typing import NamedTuple

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import SystemClock
from cloche.domain.agents import AgentSpec
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentFailed
from cloche.domain.runs import ExecutionState, OnBusy, RunRef
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError, StorageUnavailableError, ThreadBusyError
from cloche.execution.worker import Seat
from cloche.ids import RequestId, RunId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.sqlite import SqliteDatabase
from support.faults import FaultyDatabase, eventually
from support.world import World, working


class ExecutionRow(NamedTuple):
    epoch: int
    state: str
    worker_id: str


async def answers(run: AgentRun) -> str:
    return run.text


def places(world: World) -> int:
    """How many runs could begin at once."""
    return world.worker._free


@pytest.fixture
def faulty(database: SqliteDatabase) -> FaultyDatabase:
    return FaultyDatabase(database)


@pytest.fixture
async def shaky(faulty: FaultyDatabase, clock: SystemClock):
    """A world at work over a database that the test can hold and make fail."""
    async with working(World(faulty, clock)) as world:  # type: ignore[arg-type]
        world.programs.add("agent", answers)
        await eventually(lambda: places(world) == 49)
        yield world


async def begin_and_wait(world: World) -> tuple[Scope, asyncio.Event, str]:
    """An agent that works until it is let go, and the thread on which it does."""
    gate = asyncio.Event()

    async def agent(run: AgentRun) -> str:
        await gate.wait()
        return "done"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    return scope, gate, accepted.thread_id


async def test_a_run_begins_in_the_transaction_that_accepts_it(shaky: World, faulty: FaultyDatabase):
    scope, gate, thread_id = await begin_and_wait(shaky)
    faulty.hold()  # whatever comes after the first transaction
    [run_id] = list(shaky.worker.active._controls)
    run = await shaky.run(scope, run_id)
    events = await shaky.events(scope, run_id)
    faulty.release()
    gate.set()
    await eventually(lambda: not shaky.worker.working)

    assert (run.state, run.epoch, run.attempt) == (ExecutionState.RUNNING, 1, 1)
    assert run.deadline_at == run.created_at + run.timeout
    assert run.state_times == dict.fromkeys(
        (ExecutionState.PENDING, ExecutionState.STARTING, ExecutionState.RUNNING), run.created_at
    )
    assert [event.type for event in events] == ["message_created", "run_queued", "agent_started"]
    assert len({event.at for event in events}) == 1
    assert check_run(await shaky.events(scope, run_id)) == []
    assert thread_id == str(run.thread_id)


async def test_a_run_that_began_at_once_has_its_execution_and_is_fenced_like_any_other(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted)

    async def work(tx: Transaction) -> list[ExecutionRow]:
        return await tx.fetch(
            ExecutionRow, "SELECT epoch, state, worker_id FROM executions WHERE run_id = ?", accepted.run_id
        )

    assert await world.database.read(work) == [(1, "completed", "worker")]
    assert check_run(events) == []


async def test_a_run_that_has_to_wait_for_its_thread_does_not_hold_a_place(world: World):
    scope, gate, thread_id = await begin_and_wait(world)
    second = await world.send(scope, thread_id=thread_id)

    assert places(world) == 48
    assert await world.state(scope, second.run_id) is ExecutionState.PENDING
    gate.set()
    events = await world.until(scope, second)
    await eventually(lambda: places(world) == 49)

    assert events[-1].type == "agent_completed"


async def test_nobody_begins_at_once_while_others_wait_for_their_turn(world: World):
    await eventually(lambda: places(world) == 49)
    somebody = await world.person()
    offered = RunRef(
        tenant_id=somebody.tenant_id, user_id=somebody.user_id, thread_id=ThreadId.new(), run_id=RunId.new()
    )

    first = world.worker.reserve(RunId.new())
    world.bus.offer(offered)
    second = world.worker.reserve(RunId.new())

    assert first is not None
    assert second is None
    world.worker.release(first)
    world.worker.release(first)
    await eventually(lambda: places(world) == 49)


@pytest.mark.parametrize("how", ["not there", "busy"])
async def test_a_refused_message_gives_its_place_back(world: World, how: str):
    scope, gate, thread_id = await begin_and_wait(world)
    before = places(world)

    with pytest.raises(NotFoundError if how == "not there" else ThreadBusyError):
        await world.send(
            scope,
            thread_id=ThreadId.new() if how == "not there" else thread_id,
            on_busy=OnBusy.REJECT,
        )

    assert places(world) == before
    assert world.worker.working == 1
    gate.set()


async def test_a_message_that_is_sent_again_gives_its_place_back(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    first = await world.send(scope, client_message_id="the same")
    await world.until(scope, first)
    await eventually(lambda: places(world) == 49)

    again = await world.send(scope, client_message_id="the same")

    assert again.replayed
    assert places(world) == 49
    assert world.worker.working == 0


async def test_a_message_that_the_database_refuses_gives_its_place_back(shaky: World, faulty: FaultyDatabase):
    scope = await shaky.person()
    faulty.fail_next.append(StorageUnavailableError("away"))

    with pytest.raises(StorageUnavailableError):
        await shaky.send(scope)

    assert places(shaky) == 49
    assert shaky.worker.working == 0


async def test_a_sender_who_goes_away_leaves_a_run_that_goes_on(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    name = str(RequestId.new())

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(world.send(scope, client_message_id=name))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
    accepted = await world.send(scope, client_message_id=name)
    events = await world.until(scope, accepted)
    await eventually(lambda: places(world) == 49)

    assert sending.cancelled()
    assert accepted.replayed
    assert events[-1].type == "agent_completed"
    assert [event.type for event in events].count("agent_started") == 1


async def test_a_sender_who_goes_away_before_a_refusal_gives_the_place_back(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(world.send(scope, thread_id=ThreadId.new()))
        await asyncio.sleep(0)
        held = world.worker.working
        sending.cancel()
        await asyncio.wait({sending})
    await eventually(lambda: places(world) == 49)

    assert sending.cancelled()
    assert held == 1
    assert world.worker.working == 0


async def test_a_run_whose_place_was_given_up_too_early_is_executed_all_the_same(shaky: World, faulty: FaultyDatabase):
    scope = await shaky.person()
    faulty.hold()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(shaky.send(scope))
        await faulty.reached.wait()
        [(run_id, control)] = shaky.worker.active._controls.items()
        seats = [one for one in gc.get_objects() if isinstance(one, Seat) and one.control is control]
        shaky.worker.release(seats[0])
        was_free = places(shaky)
        faulty.release()
    events = await shaky.until(scope, sending.result())
    await eventually(lambda: places(shaky) == 49)

    assert was_free == 49
    assert run_id == RunId(sending.result().run_id)
    assert events[-1].type == "agent_completed"
    assert shaky.worker.working == 0


async def test_an_agent_that_is_not_in_this_process_is_left_to_whoever_has_it(
    idle_world: World, monkeypatch: pytest.MonkeyPatch
):
    world = idle_world
    world.programs.add("agent", answers)
    scope = await world.person()
    find = world.programs.find
    is_here = False

    def found(agent: str, version: str) -> AgentSpec | None:
        return find(agent, version) if is_here else None

    monkeypatch.setattr(world.programs, "find", found)
    async with working(world):
        await eventually(lambda: places(world) == 49)
        accepted = await world.send(scope)
        is_here = True
        events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def test_a_run_of_a_user_who_is_disabled_at_that_moment_never_begins(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    await world.database.write(
        lambda tx: tx.execute("UPDATE users SET status = 'disabled' WHERE id = ?", str(scope.user_id))
    )

    accepted = await world.send(scope)
    events = await world.until(scope, accepted)
    await eventually(lambda: places(world) == 49)

    failed = decoded(events[-1])
    assert isinstance(failed, AgentFailed)
    assert failed.code == "permission_denied"
    assert "agent_started" not in [event.type for event in events]


async def test_a_drain_waits_for_a_run_that_is_just_being_accepted(shaky: World, faulty: FaultyDatabase):
    scope = await shaky.person()
    faulty.hold()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(shaky.send(scope))
        await faulty.reached.wait()
        draining = group.create_task(shaky.worker.drain(timedelta(seconds=10)))
        await eventually(lambda: shaky.worker._draining)
        was_waiting = not draining.done()
        faulty.release()

    accepted = sending.result()
    assert was_waiting
    assert await shaky.state(scope, accepted.run_id) is ExecutionState.COMPLETED


async def test_a_run_that_is_accepted_when_the_worker_is_gone_is_left_to_the_next_process(
    faulty: FaultyDatabase, clock: SystemClock
):
    world = World(faulty, clock)  # type: ignore[arg-type]
    world.programs.add("agent", answers)
    scope = await world.person()
    async with asyncio.TaskGroup() as group:
        async with working(world):
            await eventually(lambda: places(world) == 49)
            faulty.hold()
            sending = group.create_task(world.send(scope))
            await faulty.reached.wait()
        faulty.release()
    accepted = sending.result()
    left = await world.state(scope, accepted.run_id)
    async with working(World(faulty, clock)) as following:  # type: ignore[arg-type]
        following.programs.add("agent", answers)
        await following.recovery.recover_all()
        events = await following.until(scope, accepted)

    assert left is ExecutionState.RUNNING
    assert world.worker.working == 0
    assert RunId(accepted.run_id) not in world.worker.active
    assert events[-1].type == "agent_completed"
    assert [event.type for event in events].count("agent_started") == 2
