"""The worker: one execution of a run at a time, cancels that arrive, drains, and offers that come twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from cloche.agents.function import AgentRun
from cloche.clock import SystemClock
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentFailed, ApprovalRequested
from cloche.domain.runs import ExecutionState, RunRef
from cloche.domain.scope import Scope
from cloche.errors import StorageUnavailableError
from cloche.ids import ApprovalId, RunId
from cloche.storage.sqlite import SqliteDatabase
from cloche.telemetry import LogEvent
from support.faults import FaultyDatabase, eventually
from support.world import World, working


async def hangs(run: AgentRun) -> None:
    await asyncio.get_running_loop().create_future()


async def answers(run: AgentRun) -> str:
    return run.text


async def offer_taken(world: World) -> None:
    """Every offer has been taken and looked at."""
    await eventually(lambda: not world.bus.depth)
    await world.database.ping()
    await asyncio.sleep(0)


async def test_an_offer_that_comes_again_does_not_keep_a_cancel_from_the_run(world: World):
    world.programs.add("agent", hangs)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")
    run = await world.run(scope, accepted.run_id)

    world.bus.offer(run.ref)
    await offer_taken(world)
    still_active = run.id in world.worker.active
    await world.cancellation.cancel(scope, run.id)
    events = await world.until(scope, accepted)

    assert still_active
    assert events[-1].type == "agent_cancelled"
    assert [event.type for event in events].count("agent_started") == 1


async def test_an_approval_decided_while_the_asking_execution_still_winds_down_goes_on_at_once(world: World):
    async def agent(run: AgentRun) -> str:
        try:
            approval = await run.ask("may I?")
        except asyncio.CancelledError:
            winding_down.set()
            await go_on.wait()
            raise
        return str(approval.state)

    winding_down, go_on = asyncio.Event(), asyncio.Event()
    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    await winding_down.wait()

    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    await offer_taken(world)
    go_on.set()
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def test_offers_of_runs_that_are_over_or_unknown_change_nothing(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted)
    run = await world.run(scope, accepted.run_id)

    world.bus.offer(run.ref)
    world.bus.offer(
        RunRef(
            tenant_id=run.ref.tenant_id, user_id=run.ref.user_id, thread_id=run.thread_id, run_id=RunId.new("unknown")
        )
    )
    await offer_taken(world)

    assert await world.run(scope, accepted.run_id) == run
    assert await world.events(scope, accepted.run_id) == events
    await eventually(lambda: not world.worker.working)


async def test_a_run_of_a_user_who_is_disabled_meanwhile_is_refused_and_never_started(idle_world: World):
    world = idle_world
    world.programs.add("agent", answers)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.database.write(
        lambda tx: tx.execute("UPDATE users SET status = 'disabled' WHERE id = ?", str(scope.user_id))
    )

    async with working(world):
        events = await world.until(scope, accepted)

    failed = decoded(events[-1])
    assert isinstance(failed, AgentFailed)
    assert failed.code == "permission_denied"
    assert "agent_started" not in [event.type for event in events]
    assert check_run(events) == []


async def test_a_run_gets_the_permissions_of_its_user_as_they_are_now(idle_world: World):
    seen: list[Scope] = []

    async def agent(run: AgentRun) -> str:
        seen.append(run.context.scope)
        return "done"

    world = idle_world
    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.database.write(
        lambda tx: tx.execute(
            "INSERT INTO grants (tenant_id, subject, permission, created_at) VALUES (?, ?, 'tools:external', 0)",
            str(scope.tenant_id),
            str(scope.user_id),
        )
    )

    async with working(world):
        await world.until(scope, accepted)

    assert seen[0].permissions == scope.permissions | {"tools:external"}
    assert (seen[0].tenant_id, seen[0].user_id) == (scope.tenant_id, scope.user_id)


async def test_no_more_runs_are_executed_at_once_than_the_process_may(database: SqliteDatabase, clock: SystemClock):
    world = World(database, clock, concurrency=2)
    entered: asyncio.Queue[None] = asyncio.Queue()
    gate = asyncio.Event()

    async def agent(run: AgentRun) -> str:
        entered.put_nowait(None)
        await gate.wait()
        return "done"

    world.programs.add("agent", agent)
    scope = await world.person()
    async with working(world):
        accepted = [await world.send(scope) for _ in range(4)]
        for _ in range(2):
            await entered.get()
        await database.ping()
        at_once = world.worker.working
        gate.set()
        for one in accepted:
            await world.until(scope, one)

    assert at_once == 2


async def test_a_claim_that_the_database_refuses_leaves_the_run_to_the_sweep(
    database: SqliteDatabase, clock: SystemClock
):
    faulty = FaultyDatabase(database)
    world = World(faulty, clock)  # type: ignore[arg-type]
    world.programs.add("agent", answers)
    scope = await world.person()
    async with working(world):
        faulty.hold()
        accepted = None
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(world.send(scope))
            await faulty.reached.wait()
            faulty.release()
        accepted = sending.result()
        await world.until(scope, accepted)

        faulty.failing = StorageUnavailableError("the database is away")
        ref = (await world.run(scope, accepted.run_id)).ref
        world.bus.offer(ref)
        await eventually(lambda: faulty.refused)
        faulty.failing = None

        await world.recovery.sweep()
        second = await world.send(scope)
        events = await world.until(scope, second)

    assert events[-1].type == "agent_completed"
    assert any(event == "run.write_retried" for _, event, _ in world.log_book.lines)


async def test_a_drain_lets_what_ends_in_time_end_and_takes_nothing_more(world: World):
    gate = asyncio.Event()

    async def agent(run: AgentRun) -> str:
        await gate.wait()
        return "done"

    world.programs.add("agent", agent)
    scope = await world.person()
    first = await world.send(scope)
    await world.until(scope, first, "agent_started")

    async with asyncio.TaskGroup() as group:
        draining = group.create_task(world.worker.drain(timedelta(seconds=10)))
        await eventually(lambda: world.worker._draining)
        second = await world.send(scope)
        gate.set()
    await offer_taken(world)

    assert draining.done()
    assert await world.state(scope, first.run_id) is ExecutionState.COMPLETED
    assert await world.state(scope, second.run_id) is ExecutionState.PENDING


async def test_a_fault_of_ours_in_a_claim_is_logged_and_leaves_the_run_to_the_sweep(
    database: SqliteDatabase, clock: SystemClock
):
    faulty = FaultyDatabase(database)
    world = World(faulty, clock)  # type: ignore[arg-type]
    world.programs.add("agent", answers)
    scope = await world.person()
    accepted = await world.send(scope)
    fault = RuntimeError("a fault of ours")
    faulty.fail_next.append(fault)

    async with working(world):
        await eventually(lambda: any(event == LogEvent.RUN_ABANDONED for _, event, _ in world.log_book.lines))
        await world.recovery.sweep()
        events = await world.until(scope, accepted)

    assert events[-1].type == "agent_completed"
    [(level, _, fields)] = [line for line in world.log_book.lines if line[1] == LogEvent.RUN_ABANDONED]
    assert (level, fields["run"], fields["exc_info"]) == ("error", accepted.run_id, fault)
