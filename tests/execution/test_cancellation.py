"""A cancel in every state, by whoever, even by a caller who went away; and receipts that are true."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cloche.agents.function import AgentRun, Write
from cloche.clock import SystemClock
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentCancelled, ApprovalRequested, Envelope
from cloche.domain.runs import ExecutionState
from cloche.errors import ModelUnavailableError, NotFoundError
from cloche.ids import ApprovalId, RunId, ThreadId
from cloche.storage.sqlite import SqliteDatabase
from cloche.tools.tool import tool
from support.faults import FaultyDatabase
from support.world import World, working


async def hangs(run: AgentRun) -> None:
    await asyncio.get_running_loop().create_future()


async def answers(run: AgentRun) -> str:
    return run.text


def receipt(events: list[Envelope]) -> tuple[list[str], list[str]]:
    assert check_run(events) == []
    cancelled = decoded(events[-1])
    assert isinstance(cancelled, AgentCancelled)
    return list(cancelled.receipt.stopped), list(cancelled.receipt.already_done)


async def go_away(task: asyncio.Task[object]) -> None:
    """The caller is gone after its transaction was handed to the database and before it was answered."""
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_a_cancel_whose_caller_went_away_still_stops_the_run(world: World):
    world.programs.add("agent", hangs)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")

    async with asyncio.TaskGroup() as group:
        await go_away(group.create_task(world.cancellation.cancel(scope, RunId(accepted.run_id))))
    events = await world.until(scope, accepted)

    assert events[-1].type == "agent_cancelled"


async def test_a_message_whose_sender_went_away_is_still_answered(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    first = await world.send(scope, "one")
    await world.until(scope, first)

    async with asyncio.TaskGroup() as group:
        await go_away(group.create_task(world.send(scope, "two", thread_id=first.thread_id)))
    async with asyncio.timeout(5):
        following = world.log.follow(scope, ThreadId(first.thread_id), after=first.seq)
        completed = 0
        async for batch in following:
            completed += sum(b'"agent_completed"' in event.body for event in batch)
            if completed == 2:
                break
        await following.aclose()


async def test_a_decision_whose_decider_went_away_still_lets_the_run_go_on(world: World):
    async def agent(run: AgentRun) -> str:
        return str((await run.ask("may I?")).state)

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)

    async with asyncio.TaskGroup() as group:
        decide = world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
        await go_away(group.create_task(decide))
    events = await world.until(scope, accepted)

    assert events[-1].type == "agent_completed"


async def test_a_stranger_cannot_cancel_a_run(world: World):
    world.programs.add("agent", hangs)
    scope, stranger = await world.person(), await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")

    with pytest.raises(NotFoundError):
        await world.cancellation.cancel(stranger, RunId(accepted.run_id))

    assert await world.state(scope, accepted.run_id) is ExecutionState.RUNNING


async def test_a_cancel_of_a_run_that_is_over_leaves_it_as_it_is(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted)

    state = await world.cancellation.cancel(scope, RunId(accepted.run_id))

    assert state is ExecutionState.COMPLETED
    assert await world.events(scope, accepted.run_id) == events


async def test_many_cancels_at_once_end_the_run_once(world: World):
    world.programs.add("agent", hangs)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(world.cancellation.cancel(scope, RunId(accepted.run_id)))
    await world.until(scope, accepted)

    events = await world.events(scope, accepted.run_id)
    assert [event.type for event in events].count("agent_cancelled") == 1
    assert check_run(events) == []


async def test_cancelling_a_pending_run_in_front_lets_the_next_one_start(world: World):
    world.programs.add("agent", answers)
    world.programs.add("hangs", hangs)
    scope = await world.person()
    first = await world.send(scope, "one", agent="hangs")
    await world.until(scope, first, "agent_started")
    second = await world.send(scope, "two", thread_id=first.thread_id, agent="agent")
    third = await world.send(scope, "three", thread_id=first.thread_id, agent="agent")

    await world.cancellation.cancel(scope, RunId(second.run_id))
    await world.cancellation.cancel(scope, RunId(first.run_id))

    assert (await world.until(scope, third))[-1].type == "agent_completed"
    assert (await world.until(scope, second))[-1].type == "agent_cancelled"


async def test_a_cancel_while_the_last_write_is_on_its_way_ends_the_run_in_one_way_only(
    database: SqliteDatabase, clock: SystemClock
):
    faulty = FaultyDatabase(database)
    world = World(faulty, clock)  # type: ignore[arg-type]
    finishing = asyncio.Event()

    async def agent(run: AgentRun) -> str:
        await run.think("nearly")
        faulty.hold()
        finishing.set()
        return "done"

    world.programs.add("agent", agent)
    scope = await world.person()
    async with working(world):
        accepted = await world.send(scope)
        await finishing.wait()
        await faulty.reached.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(world.cancellation.cancel(scope, RunId(accepted.run_id)))
            await asyncio.sleep(0)
            faulty.release()
        await world.until(scope, accepted)
        events = await world.events(scope, accepted.run_id)

    assert check_run(events) == []
    assert events[-1].type in ("agent_completed", "agent_cancelled")


# Receipts


async def quick() -> str:
    """Answer."""
    return "done"


async def test_a_receipt_says_what_was_done_and_what_was_stopped(world: World):
    async def agent(run: AgentRun) -> None:
        await run.call_tool("quick")
        await run.call_tool("slow")

    async def slow() -> None:
        """Hang."""
        await asyncio.get_running_loop().create_future()

    world.programs.add("agent", agent, tools={"quick": tool(quick), "slow": tool(slow)})
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "tool_executing", count=2)

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    stopped, done = receipt(await world.until(scope, accepted))

    assert stopped == ["tool:slow", "agent"]
    assert done == ["tool:quick"]


async def test_a_step_that_failed_before_is_not_among_what_a_cancel_stopped(world: World):
    async def agent(run: AgentRun) -> None:
        async def writing(write: Write) -> None:
            raise ModelUnavailableError

        try:
            await run.stream(writing, name="first try")
        except ModelUnavailableError:
            await run.think("again")
        await hangs(run)

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_thinking")

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    stopped, done = receipt(await world.until(scope, accepted))

    assert stopped == ["agent"]
    assert done == ["thought:think"]


async def test_a_run_that_ended_by_itself_while_it_was_cancelled_says_that_the_agent_was_done(world: World):
    async def agent(run: AgentRun) -> str:
        try:
            await hangs(run)
        except asyncio.CancelledError:
            return "finished all the same"
        return "never"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    stopped, done = receipt(await world.until(scope, accepted))

    assert stopped == []
    assert done == ["agent"]


async def test_a_cancelled_run_keeps_its_reason_and_lets_the_thread_go_on(world: World):
    world.programs.add("agent", hangs)
    world.programs.add("quick", answers)
    scope = await world.person()
    accepted = await world.send(scope, agent="agent")
    await world.until(scope, accepted, "agent_started")

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    await world.until(scope, accepted)
    following = await world.send(scope, thread_id=accepted.thread_id, agent="quick")

    run = await world.run(scope, accepted.run_id)
    assert run.failure is not None
    assert (run.failure.code, run.failure.retryable) == ("run_cancelled", True)
    assert run.state_times[ExecutionState.CANCELLED] - run.created_at < timedelta(seconds=5)
    assert (await world.until(scope, following))[-1].type == "agent_completed"


async def test_a_cancel_between_the_claim_and_the_first_step_stops_the_run_before_it_works(world: World):
    preparing, go_on = asyncio.Event(), asyncio.Event()
    entered: list[bool] = []

    async def prepare(agent: str) -> None:
        preparing.set()
        await go_on.wait()

    async def agent(run: AgentRun) -> str:
        entered.append(True)
        return "never"

    world.programs.prepare = prepare  # type: ignore[method-assign]
    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await preparing.wait()

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    go_on.set()
    events = await world.until(scope, accepted)

    assert events[-1].type == "agent_cancelled"
    assert check_run(events) == []
    assert entered == []


async def test_a_whole_thread_is_cancelled_and_only_its_worker_is_to_be_told(world: World):
    world.programs.add("agent", hangs)
    scope = await world.person()
    first = await world.send(scope)
    await world.until(scope, first, "agent_started")
    queued = [await world.send(scope, thread_id=first.thread_id) for _ in range(2)]
    other = await world.send(scope)

    told = await world.database.write(
        lambda tx: world.cancellation.cancel_thread(tx, scope, ThreadId(first.thread_id), reason="it was deleted")
    )
    states = [await world.state(scope, accepted.run_id) for accepted in (first, *queued)]
    for ref in told:
        world.bus.signal_cancel(ref)
    events = await world.until(scope, first)

    assert [str(ref.run_id) for ref in told] == [first.run_id]
    assert states == [ExecutionState.CANCELLING, ExecutionState.CANCELLED, ExecutionState.CANCELLED]
    assert events[-1].type == "agent_cancelled"
    assert not (await world.state(scope, other.run_id)).is_terminal
