"""A run that was begun before a redeploy goes on after it as far as its journal fits; else it ends, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision, ApprovalState
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentFailed, AgentStarted, ApprovalRequested, Envelope, MessageCompleted, ToolCompleted
from cloche.domain.runs import ExecutionState
from cloche.domain.tools import Effect
from cloche.ids import ApprovalId, RunId
from cloche.storage.approvals import ApprovalRepository
from cloche.tools.tool import Tool, tool
from support.world import opened_world, working


class Redeployed:
    """A run that waits for a yes to paying 10 with version 1 of its agent, and goes on after a redeploy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paid: list[object] = []
        self.approval: ApprovalState | None = None

    def pay(self, kind: type = int) -> Tool:
        async def pay(amount) -> str:  # type: ignore[no-untyped-def]
            """Pay."""
            self.paid.append(amount)
            return f"paid {amount}"

        pay.__annotations__["amount"] = kind
        return tool(pay, needs_approval=True, effect=Effect.EXTERNAL)

    async def paying(self, run: AgentRun) -> str:
        await run.think("hm")
        result = await run.call_tool("pay", amount=10)
        return str(result.value) if result.ok else str(result.failure and result.failure.code)

    async def story(
        self, after=None, *, arguments: Mapping[str, object] | None = None, **options: object
    ) -> list[Envelope]:
        async with opened_world(self.path) as world, working(world):
            world.programs.add("agent", self.paying, tools={"pay": self.pay()})
            scope = await world.person()
            accepted = await world.send(scope)
            requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
        assert isinstance(requested, ApprovalRequested)
        approval_id = ApprovalId(requested.approval_id)
        async with opened_world(self.path) as world:
            if after is None:
                world.programs.add("another", self.paying)
            else:
                world.programs.add("agent", after, **{"tools": {"pay": self.pay()}, "version": "2", **options})  # type: ignore[arg-type]
            await world.recovery.recover_all()
            assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING
            async with working(world):
                await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments=arguments)
                events = await world.until(scope, accepted)
            self.run = await world.run(scope, RunId(accepted.run_id))
            found = await world.database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))
        self.approval = found.state
        assert check_run(events) == []
        return events


@pytest.fixture
def redeployed(database_path: Path) -> Redeployed:
    return Redeployed(database_path)


def failure(events: list[Envelope]) -> AgentFailed:
    last = decoded(events[-1])
    assert isinstance(last, AgentFailed)
    return last


def said(events: list[Envelope]) -> str:
    [answer] = [data for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    return answer.parts[0].text


async def test_a_waiting_run_goes_on_with_the_next_version_of_its_agent(redeployed: Redeployed):
    async def same_steps(run: AgentRun) -> str:
        return f"{await redeployed.paying(run)}, and says so in another way"

    events = await redeployed.story(same_steps)

    assert said(events) == "paid 10, and says so in another way"
    assert redeployed.paid == [10]
    started = [data for data in map(decoded, events) if isinstance(data, AgentStarted)]
    assert [(one.version, one.attempt) for one in started] == [("1", 1), ("2", 2)]
    assert redeployed.run.agent_version == "1"
    assert [event.type for event in events].count("approval_requested") == 1


async def test_a_version_whose_steps_differ_ends_the_run_before_anything_is_done(redeployed: Redeployed):
    async def other_steps(run: AgentRun) -> str:
        await run.value("weather", run.history, object)
        return await redeployed.paying(run)

    events = await redeployed.story(other_steps)

    failed = failure(events)
    assert failed.code == "journal_mismatch"
    assert failed.message == (
        "step 0 of the run was thought 'think'; on replay the agent asked for value 'weather'; "
        "version 1 of the agent began the run, this is version 2"
    )
    assert redeployed.paid == []
    assert redeployed.approval is ApprovalState.APPROVED


async def test_a_version_that_leaves_out_what_was_approved_does_not_end_well(redeployed: Redeployed):
    async def forgetful(run: AgentRun) -> str:
        await run.think("hm")
        return "all is paid"

    events = await redeployed.story(forgetful)

    failed = failure(events)
    assert failed.code == "journal_mismatch"
    assert "step 1 of the run was approval 'pay'; on replay the agent ended without it; version 1" in failed.message
    assert redeployed.paid == []


async def test_an_agent_may_refuse_the_runs_of_other_versions(redeployed: Redeployed):
    events = await redeployed.story(redeployed.paying, takes_over=False)

    assert failure(events).code == "agent_unavailable"
    assert redeployed.paid == []


async def test_a_run_goes_on_with_a_version_that_only_takes_its_own(redeployed: Redeployed):
    events = await redeployed.story(redeployed.paying, version="1", takes_over=False)

    assert said(events) == "paid 10"


async def test_a_run_whose_agent_is_gone_ends_when_it_is_decided(redeployed: Redeployed):
    events = await redeployed.story(None)

    assert failure(events).code == "agent_unavailable"


@pytest.mark.parametrize(("tools", "code"), [("another schema", "tool_invalid_arguments"), ("none", "tool_unknown")])
async def test_a_tool_that_no_longer_takes_what_was_approved_is_not_run(redeployed: Redeployed, tools: str, code: str):
    there = {} if tools == "none" else {"pay": redeployed.pay(list)}

    events = await redeployed.story(redeployed.paying, tools=there)

    assert said(events) == code
    assert redeployed.paid == []


async def test_edited_arguments_reach_a_tool_that_takes_them_in_its_new_form(redeployed: Redeployed):
    events = await redeployed.story(redeployed.paying, arguments={"amount": 3}, tools={"pay": redeployed.pay(float)})

    assert said(events) == "paid 3.0"


async def test_a_call_that_a_crash_interrupted_is_not_forgotten_by_the_next_version(database_path: Path):
    entered = asyncio.Event()

    async def launch() -> None:
        """Launch."""
        entered.set()
        await asyncio.get_running_loop().create_future()

    async def before(run: AgentRun) -> None:
        await run.call_tool("launch")

    async def after(run: AgentRun) -> str:
        return "nothing was launched"

    async with opened_world(database_path) as world, working(world):
        world.programs.add("agent", before, tools={"launch": tool(launch, effect=Effect.EXTERNAL)})
        scope = await world.person()
        accepted = await world.send(scope)
        await entered.wait()
    async with opened_world(database_path) as world:
        world.programs.add("agent", after, version="2")
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert failure(events).code == "journal_mismatch"
    [told] = [data for data in map(decoded, events) if isinstance(data, ToolCompleted)]
    assert told.error is not None
    assert told.error.code == "tool_outcome_unknown"
