"""After a crash the next process goes on: finished steps are not done again, nothing is told twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun, Write
from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import (
    AgentFailed,
    ApprovalResolved,
    Envelope,
    MessageCompleted,
    StepRestarted,
    ToolCompleted,
    ToolExecuting,
)
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.domain.tools import Effect, OnUnknown
from cloche.execution.intake import Accepted
from cloche.execution.recovery import Recovery
from cloche.ids import RunId
from cloche.tools.tool import Tool, tool
from support.logs import HeldDatabase
from support.world import World, opened_world, working


class Counter:
    """A tool that counts its calls, and an agent that calls it, streams, and can be held."""

    def __init__(self) -> None:
        self.calls = 0
        self.held = asyncio.Event()
        self.hold = True
        self.attempts = 1

    def tool(self, **options: object) -> Tool:
        async def effect() -> int:
            """Count."""
            self.calls += 1
            return self.calls

        return tool(effect, name="effect", **options)  # type: ignore[arg-type]

    async def agent(self, run: AgentRun) -> None:
        await run.think("first")
        await run.call_tool("effect")

        async def writing(write: Write) -> None:
            await write("half ")
            if self.hold:
                self.held.set()
                await asyncio.get_running_loop().create_future()
            await write("whole")

        await run.stream(writing)


async def _crash_in_mid_stream(path: Path, counter: Counter) -> tuple[World, Scope, Accepted]:
    async with opened_world(path) as world:
        world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await counter.held.wait()
            await world.until(scope, accepted, "message_delta")
        assert await world.state(scope, accepted.run_id) is ExecutionState.RUNNING
    return world, scope, accepted


async def test_a_run_goes_on_after_a_crash_without_repeating_what_was_done(database_path: Path):
    counter = Counter()
    _, scope, accepted = await _crash_in_mid_stream(database_path, counter)
    counter.hold = False

    async with opened_world(database_path) as world:
        world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert counter.calls == 1
    assert check_run(events) == []
    assert check_gapless([event.seq for event in events], after=0) == []
    kinds = [event.type for event in events]
    assert kinds.count("agent_thinking") == 1
    assert kinds.count("tool_executing") == 1
    assert kinds.count("agent_started") == 2
    restarted = decoded(next(event for event in events if event.type == "step_restarted"))
    assert isinstance(restarted, StepRestarted)
    assert restarted.message_id is not None
    assert kinds[-1] == "agent_completed"


async def test_a_run_whose_workers_die_each_time_is_dead_in_the_end(database_path: Path):
    counter = Counter()
    _, scope, accepted = await _crash_in_mid_stream(database_path, counter)

    for _ in range(2):
        counter.held.clear()
        async with opened_world(database_path) as world:
            world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
            await world.recovery.recover_all()
            async with working(world):
                await counter.held.wait()
                await world.until(scope, accepted, "message_delta", count=world_attempts(counter))
    async with opened_world(database_path) as world:
        await world.recovery.recover_all()
        run = await world.run(scope, accepted.run_id)
        events = await world.events(scope, accepted.run_id)

    assert run.state is ExecutionState.DEAD
    failed = decoded(events[-1])
    assert isinstance(failed, AgentFailed)
    assert failed.code == "attempts_exhausted"
    assert check_run(events) == []
    assert counter.calls == 1


def world_attempts(counter: Counter) -> int:
    """Each attempt shows one delta before it is held; wait for the newest."""
    counter.attempts += 1
    return counter.attempts


async def _crash_in_a_tool(path: Path, made: Tool, holding: asyncio.Event, release: list[bool]) -> list[Envelope]:
    async def agent(run: AgentRun) -> str:
        result = await run.call_tool("effect")
        return f"{result.ok}"

    async with opened_world(path) as world:
        world.programs.add("agent", agent, tools={"effect": made})
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await holding.wait()
    release.append(True)
    async with opened_world(path) as world:
        world.programs.add("agent", agent, tools={"effect": made})
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)
    assert check_run(events) == []
    return events


async def test_an_external_effect_of_unknown_outcome_is_not_repeated_in_silence(database_path: Path):
    holding, release, calls = asyncio.Event(), [], []

    async def effect() -> str:
        """Change the world."""
        calls.append(1)
        holding.set()
        if not release:
            await asyncio.get_running_loop().create_future()
        return "done"

    made = tool(effect, effect=Effect.EXTERNAL)
    events = await _crash_in_a_tool(database_path, made, holding, release)

    completed = decoded(next(event for event in events if event.type == "tool_completed"))
    assert isinstance(completed, ToolCompleted)
    assert completed.error is not None
    assert completed.error.code == "tool_outcome_unknown"
    assert len(calls) == 1


async def test_a_tool_that_may_be_repeated_runs_again_under_the_same_id(database_path: Path):
    holding, release, calls = asyncio.Event(), [], []

    async def effect() -> str:
        """Change the world, safely twice."""
        calls.append(1)
        holding.set()
        if not release:
            await asyncio.get_running_loop().create_future()
        return "done"

    made = tool(effect, effect=Effect.EXTERNAL, on_unknown=OnUnknown.REPEAT)
    events = await _crash_in_a_tool(database_path, made, holding, release)

    kinds = [event.type for event in events]
    assert "step_restarted" in kinds
    shown = [decoded(event) for event in events if event.type == "tool_executing"]
    calls_shown = {event.tool_call_id for event in shown if isinstance(event, ToolExecuting)}
    assert len(calls_shown) == 1
    assert len(calls) == 2


async def test_a_cancel_that_the_worker_did_not_live_to_finish_is_finished(database_path: Path):
    counter = Counter()

    async with opened_world(database_path) as world:
        world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await counter.held.wait()
        await world.cancellation.cancel(scope, RunId(accepted.run_id))
    async with opened_world(database_path) as world:
        await world.recovery.recover_all()
        state = await world.state(scope, accepted.run_id)
        events = await world.events(scope, accepted.run_id)

    assert state is ExecutionState.CANCELLED
    assert check_run(events) == []


async def test_a_drain_releases_what_does_not_end_and_the_next_process_goes_on(database_path: Path):
    counter = Counter()
    async with opened_world(database_path) as world:
        world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await counter.held.wait()
            await world.worker.drain(timedelta(milliseconds=50))
        run = await world.run(scope, accepted.run_id)
    counter.hold = False
    async with opened_world(database_path) as world:
        world.programs.add("agent", counter.agent, tools={"effect": counter.tool()})
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)
        after = await world.run(scope, accepted.run_id)

    assert run.state is ExecutionState.PENDING
    assert after.state is ExecutionState.COMPLETED
    assert after.losses == 0
    assert counter.calls == 1
    assert check_run(events) == []


# The sweep


async def answers(run: AgentRun) -> str:
    return run.text


async def asks(run: AgentRun) -> str:
    answers = await asyncio.gather(run.ask("one?", expires_in=timedelta(0)), run.ask("two?", expires_in=timedelta(0)))
    return " ".join(str(answer.state) for answer in answers)


async def test_an_offer_that_was_lost_is_made_again_by_the_sweep(idle_world: World):
    idle_world.programs.add("agent", answers)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)
    await idle_world.bus.take()

    async with working(idle_world):
        await idle_world.recovery.sweep()
        events = await idle_world.until(scope, accepted)

    assert events[-1].type == "agent_completed"


async def test_the_runs_of_a_thread_that_wait_for_their_turn_are_not_offered(idle_world: World):
    idle_world.programs.add("agent", answers)
    scope = await idle_world.person()
    first = await idle_world.send(scope)
    await idle_world.send(scope, thread_id=first.thread_id)
    await idle_world.bus.take()

    await idle_world.recovery.sweep()

    assert idle_world.bus.depth == 1
    assert (await idle_world.bus.take()).run_id == first.run_id


async def test_live_runs_are_counted_by_state(idle_world: World):
    idle_world.programs.add("agent", answers)
    scope, other = await idle_world.person(), await idle_world.person()
    before = await idle_world.recovery.counts()
    for person in (scope, other):
        await idle_world.send(person)
    ended = await idle_world.send(scope)
    await idle_world.cancellation.cancel(scope, RunId(ended.run_id))

    assert {state: number for state, number in before.items() if number} == {}
    assert (await idle_world.recovery.counts())[ExecutionState.PENDING] == 2


async def test_questions_that_expire_together_let_their_run_go_on_once(world: World):
    world.programs.add("agent", asks)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "approval_requested", count=2)

    await world.recovery.sweep()
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert [event.type for event in events].count("approval_resolved") == 2
    said = decoded(next(event for event in events if event.type == "message_completed"))
    assert isinstance(said, MessageCompleted)
    assert said.parts[0].text == "expired expired"


async def test_a_question_that_is_withdrawn_while_the_sweep_looks_at_it_has_not_expired(world: World):
    world.programs.add("agent", asks)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "approval_requested", count=2)
    held = HeldDatabase(world.database)
    looks = 0

    async def withdraw() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            await world.cancellation.cancel(scope, RunId(accepted.run_id))

    held.after_read = withdraw
    recovery = Recovery(database=held, log=world.log, bus=world.bus, clock=world.clock, telemetry=world.telemetry)
    await recovery.sweep()
    events = await world.until(scope, accepted)

    assert looks == 2
    assert check_run(events) == []
    resolved = [data for data in map(decoded, events) if isinstance(data, ApprovalResolved)]
    assert {data.decision for data in resolved} == {"cancelled"}
    assert await world.state(scope, accepted.run_id) is ExecutionState.CANCELLED


@pytest.mark.parametrize("how", ["ended", "goes on elsewhere", "is being cancelled"])
async def test_what_happened_to_a_run_since_it_was_looked_at_counts(database_path: Path, how: str):
    counter = Counter()
    _, scope, accepted = await _crash_in_mid_stream(database_path, counter)

    async with opened_world(database_path) as world:
        run = await world.run(scope, accepted.run_id)
        change = {
            "ended": "state = 'completed', ended_at = 1",
            "goes on elsewhere": "epoch = epoch + 1",
            "is being cancelled": "state = 'cancelling'",
        }[how]
        await world.database.write(lambda tx: tx.execute(f"UPDATE runs SET {change} WHERE id = ?", accepted.run_id))
        before = await world.run(scope, accepted.run_id)
        offered = await world.database.write(lambda tx: world.recovery.recover(tx, run))
        after = await world.run(scope, accepted.run_id)

    assert offered is None
    if how == "is being cancelled":
        assert after.state is ExecutionState.CANCELLED
    else:
        assert after == before
