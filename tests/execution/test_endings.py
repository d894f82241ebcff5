"""A run's end closes what it leaves open, and lets the thread's next run begin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision, ApprovalState
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentCancelled, ApprovalRequested, ApprovalResolved, Receipt, ToolCompleted
from cloche.domain.runs import ExecutionState, OnPendingApproval
from cloche.errors import IllegalTransitionError
from cloche.execution.endings import RunEndings
from cloche.ids import ApprovalId, RunId
from cloche.storage.approvals import ApprovalRepository
from cloche.tools.tool import tool
from support.world import World, opened_world, working


async def hangs(run: AgentRun) -> None:
    await asyncio.get_running_loop().create_future()


async def asks(run: AgentRun) -> str:
    return str((await run.ask("may I?")).state) if run.text == "ask" else run.text


async def asked(world: World):
    world.programs.add("agent", asks)
    scope = await world.person()
    accepted = await world.send(scope, "ask")
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    return scope, accepted, ApprovalId(requested.approval_id)


async def test_an_open_question_is_withdrawn_and_told_of_before_the_end(world: World):
    scope, accepted, approval_id = await asked(world)

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert decoded(events[-2]) == ApprovalResolved(approval_id=approval_id, decision="cancelled")
    approval = await world.database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))
    assert approval.state is ApprovalState.CANCELLED


async def test_a_question_that_was_answered_is_not_withdrawn(database_path: Path):
    async with opened_world(database_path) as world:
        async with working(world):
            scope, accepted, approval_id = await asked(world)
        await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)
        await world.cancellation.cancel(scope, RunId(accepted.run_id))
        events = await world.events(scope, accepted.run_id)
        approval = await world.database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))

    assert check_run(events) == []
    resolved = [data for data in map(decoded, events) if isinstance(data, ApprovalResolved)]
    assert [data.decision for data in resolved] == ["approve"]
    assert events[-1].type == "agent_cancelled"
    assert approval.state is ApprovalState.APPROVED


async def test_a_tool_that_was_running_is_told_as_stopped_before_the_end(world: World):
    async def hang() -> None:
        """Hang."""
        await asyncio.get_running_loop().create_future()

    async def calls(run: AgentRun) -> None:
        await run.call_tool("hang")

    world.programs.add("agent", calls, tools={"hang": tool(hang)})
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "tool_executing")
    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    completed = decoded(events[-2])
    assert isinstance(completed, ToolCompleted)
    assert completed.error is not None
    assert (completed.tool, completed.error.code) == ("hang", "tool_stopped")
    assert completed.duration_ms >= 0


async def test_the_next_run_of_the_thread_begins_when_a_waiting_one_is_cancelled(world: World):
    scope, accepted, _ = await asked(world)
    following = await world.send(
        scope, "next", thread_id=accepted.thread_id, on_pending_approval=OnPendingApproval.ENQUEUE
    )
    before = await world.state(scope, following.run_id)

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, following)

    assert before is ExecutionState.PENDING
    assert events[-1].type == "agent_completed"


async def test_a_run_that_never_ran_ends_without_anything_to_close(idle_world: World):
    idle_world.programs.add("agent", hangs)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)

    state = await idle_world.cancellation.cancel(scope, RunId(accepted.run_id), reason="not wanted")

    events = await idle_world.events(scope, accepted.run_id)
    assert state is ExecutionState.CANCELLED
    assert check_run(events) == []
    assert decoded(events[-1]) == AgentCancelled(
        code="run_cancelled", message="not wanted", retryable=True, receipt=Receipt()
    )


async def test_a_run_ends_once(idle_world: World):
    idle_world.programs.add("agent", hangs)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)
    run = await idle_world.run(scope, accepted.run_id)
    endings = RunEndings(idle_world.log, idle_world.clock)

    ended = await idle_world.database.write(lambda tx: endings.give_up(tx, scope, run))
    with pytest.raises(IllegalTransitionError):
        await idle_world.database.write(lambda tx: endings.give_up(tx, scope, run))

    after = await idle_world.run(scope, accepted.run_id)
    assert (ended.state, ended.code, ended.following) == (ExecutionState.DEAD, "attempts_exhausted", None)
    assert after.state is ExecutionState.DEAD
    assert after.failure is not None
    assert after.failure.code == "attempts_exhausted"
    assert [event.type for event in await idle_world.events(scope, run.id)].count("agent_failed") == 1
