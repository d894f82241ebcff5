"""A run waits for a person without costing anything, and goes on with what the person said."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision, ApprovalState
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import ApprovalRequested, MessageCompleted, RunQueued, ToolExecuting
from cloche.domain.runs import ExecutionState, OnPendingApproval
from cloche.errors import AlreadyDecidedError, ApprovalPendingError, NotFoundError
from cloche.ids import ApprovalId, RunId
from cloche.testing.contracts.population import newcomer
from cloche.tools.tool import tool
from support.faults import eventually
from support.world import World, opened_world, working


async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


async def paying(run: AgentRun) -> str:
    result = await run.call_tool("pay", amount=10)
    return str(result.value) if result.ok else f"no: {result.failure.code if result.failure else ''}"


def add_paying(world: World) -> None:
    world.programs.add("agent", paying, tools={"pay": tool(pay, needs_approval=True)})


async def _asked(world: World):
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted, "approval_requested")
    requested = decoded(events[-1])
    assert isinstance(requested, ApprovalRequested)
    return scope, accepted, ApprovalId(requested.approval_id)


async def test_an_approved_call_runs_with_the_edited_arguments(world: World):
    add_paying(world)
    scope, accepted, approval_id = await _asked(world)

    await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments={"amount": 3})
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    executing = decoded(next(event for event in events if event.type == "tool_executing"))
    assert isinstance(executing, ToolExecuting)
    assert executing.arguments == {"amount": 3}
    assert events[-1].type == "agent_completed"


async def test_a_denied_call_does_not_run_and_the_agent_is_told(world: World):
    add_paying(world)
    scope, accepted, approval_id = await _asked(world)

    await world.decisions.decide(scope, approval_id, ApprovalDecision.DENY)
    events = await world.until(scope, accepted)

    message = decoded(next(event for event in events if event.type == "message_completed"))
    assert isinstance(message, MessageCompleted)
    assert message.parts[0].text == "no: tool_denied"


async def test_the_first_decider_wins_and_the_second_is_told_so(world: World):
    add_paying(world)
    scope, accepted, approval_id = await _asked(world)
    await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)

    with pytest.raises(AlreadyDecidedError) as refused:
        await world.decisions.decide(scope, approval_id, ApprovalDecision.DENY)

    assert refused.value.details["state"] == "approved"
    await world.until(scope, accepted)


async def test_another_user_cannot_see_or_decide_an_approval(world: World):
    add_paying(world)
    _, _, approval_id = await _asked(world)
    stranger = await world.person()

    with pytest.raises(NotFoundError):
        await world.decisions.decide(stranger, approval_id, ApprovalDecision.APPROVE)


async def test_a_waiting_run_survives_a_restart_and_is_decided_afterwards(database_path: Path):
    async with opened_world(database_path) as world:
        add_paying(world)
        async with working(world):
            scope, accepted, approval_id = await _asked(world)
        assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING

    async with opened_world(database_path) as world:
        add_paying(world)
        await world.recovery.recover_all()
        async with working(world):
            await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert events[-1].type == "agent_completed"
    assert [event.type for event in events].count("approval_requested") == 1


async def test_a_message_meanwhile_is_refused_and_told_which_approval_waits(world: World):
    add_paying(world)
    scope, accepted, approval_id = await _asked(world)

    with pytest.raises(ApprovalPendingError) as refused:
        await world.send(scope, thread_id=accepted.thread_id)

    assert refused.value.details["approval_id"] == str(approval_id)


async def test_a_message_meanwhile_can_cancel_the_approval(world: World):
    add_paying(world)
    scope, accepted, _ = await _asked(world)

    await world.send(scope, thread_id=accepted.thread_id, on_pending_approval=OnPendingApproval.CANCEL_APPROVAL)
    events = await world.until(scope, accepted)

    assert [event.type for event in events[-2:]] == ["approval_resolved", "agent_cancelled"]
    assert await world.state(scope, accepted.run_id) is ExecutionState.CANCELLED


async def test_a_message_meanwhile_can_wait_for_the_approval(world: World):
    add_paying(world)
    scope, accepted, approval_id = await _asked(world)

    following = await world.send(scope, thread_id=accepted.thread_id, on_pending_approval=OnPendingApproval.ENQUEUE)
    assert await world.state(scope, following.run_id) is ExecutionState.PENDING
    await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)
    first, second = await world.until(scope, accepted), await world.until(scope, following, "approval_requested")

    assert first[-1].type == "agent_completed"
    assert second[0].seq < first[-1].seq < second[-1].seq
    queued = decoded(second[1])
    assert isinstance(queued, RunQueued)
    assert (queued.position, queued.reason) == (1, "approval_pending")


async def test_waiting_runs_take_no_place_from_others(database_path: Path):
    """A server that executes one run at a time."""
    async with opened_world(database_path, concurrency=1) as world, working(world):
        add_paying(world)

        asked = [await _asked(world) for _ in range(3)]
        await eventually(lambda: not world.worker.working)

        assert [await world.state(scope, accepted.run_id) for scope, accepted, _ in asked] == ["waiting"] * 3
        assert len(world.worker.active) == 0
        for scope, accepted, approval_id in asked:
            await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)
            assert (await world.until(scope, accepted))[-1].type == "agent_completed"


async def test_a_delegation_survives_a_restart(database_path: Path):
    async with opened_world(database_path) as world:
        add_paying(world)
        async with working(world):
            scope, accepted, approval_id = await _asked(world)
            delegate = await newcomer(world.database, tenant_id=scope.tenant_id)
            await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)

    async with opened_world(database_path) as world:
        add_paying(world)
        await world.recovery.recover_all()
        async with working(world):
            await world.decisions.decide(delegate, approval_id, ApprovalDecision.APPROVE)
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def test_a_waiting_run_can_be_cancelled(world: World):
    add_paying(world)
    scope, accepted, _ = await _asked(world)

    await world.cancellation.cancel(scope, RunId(accepted.run_id))

    events = await world.until(scope, accepted)
    assert check_run(events) == []
    assert events[-1].type == "agent_cancelled"


async def test_an_approval_whose_time_is_over_expires_and_the_run_goes_on(world: World):
    async def agent(run: AgentRun) -> str:
        approval = await run.ask("may I?", expires_in=timedelta(0))
        return str(approval.state)

    world.programs.add("agent", agent)
    scope, accepted, approval_id = await _asked(world)

    await world.recovery.sweep()
    events = await world.until(scope, accepted)

    message = decoded(next(event for event in events if event.type == "message_completed"))
    assert isinstance(message, MessageCompleted)
    assert message.parts[0].text == str(ApprovalState.EXPIRED)
    with pytest.raises(AlreadyDecidedError):
        await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE)
