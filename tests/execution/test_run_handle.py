"""The journal of a run: what was shown and not finished is void, what was recorded comes back, and it all fits a story."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun, Write
from cloche.domain.agents import AgentLimits
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import (
    AgentCompleted,
    AgentFailed,
    AgentThinking,
    ApprovalRequested,
    Envelope,
    StepRestarted,
    ToolCompleted,
)
from cloche.domain.steps import StepKind, StepState
from cloche.domain.usage import Usage
from cloche.errors import AgentFailedError, ClocheError, LeaseLostError, ModelUnavailableError, ToolDeniedError
from cloche.execution.run_handle import RunHandle, StepHandle
from cloche.ids import ApprovalId, RunId
from cloche.storage.steps import StepRepository
from cloche.telemetry import LogEvent
from cloche.tools.tool import tool
from support.faults import eventually
from support.world import World, opened_world, working


def of(events: list[Envelope], kind: str) -> list[object]:
    return [decoded(event) for event in events if event.type == kind]


async def told(world: World, agent, text: str = "hello", **options: object) -> list[Envelope]:
    """The whole story of one run of the agent."""
    world.programs.add("agent", agent, **options)  # type: ignore[arg-type]
    scope = await world.person()
    events = await world.until(scope, await world.send(scope, text))
    assert check_run(events) == []
    return events


class BrokenPipeOfMineError(ValueError):
    """What an agent's own code may raise."""


@pytest.mark.parametrize("error", [ModelUnavailableError(), BrokenPipeOfMineError()])
async def test_a_message_that_broke_off_is_void_when_the_agent_goes_on_without_it(world: World, error: Exception):
    async def agent(run: AgentRun) -> str:
        async def writing(write: Write) -> None:
            await write("half")
            raise error

        try:
            await run.stream(writing)
        except type(error):
            return "whole"
        return "never"

    events = await told(world, agent)

    [restarted] = of(events, "step_restarted")
    [delta] = of(events, "message_delta")
    assert isinstance(restarted, StepRestarted)
    assert restarted.message_id == delta.message_id  # type: ignore[attr-defined]
    assert events[-1].type == "agent_completed"


async def test_a_message_that_broke_off_by_the_agent_s_own_deadline_is_void(world: World):
    async def agent(run: AgentRun) -> str:
        async def writing(write: Write) -> None:
            await write("half")
            await asyncio.get_running_loop().create_future()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await run.stream(writing)
        return "whole"

    events = await told(world, agent)

    assert len(of(events, "step_restarted")) == 1


async def hang() -> None:
    """Hang."""
    await asyncio.get_running_loop().create_future()


async def test_a_tool_that_the_agent_itself_gave_up_is_told_as_stopped(world: World):
    async def agent(run: AgentRun) -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run.call_tool("hang")
        return "without it"

    events = await told(world, agent, tools={"hang": tool(hang)})

    [completed] = of(events, "tool_completed")
    assert isinstance(completed, ToolCompleted)
    assert completed.error is not None
    assert completed.error.code == "tool_stopped"
    assert events[-1].type == "agent_completed"


async def test_what_an_agent_left_running_can_write_nothing_after_the_end(world: World):
    left: list[asyncio.Task[object]] = []
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        """Wait."""
        entered.set()
        await gate.wait()
        return "late"

    async def agent(run: AgentRun) -> str:
        left.append(asyncio.create_task(run.call_tool("slow")))
        await entered.wait()
        return "done"

    world.programs.add("agent", agent, tools={"slow": tool(slow)})
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted)
    gate.set()
    async with asyncio.timeout(5):
        with pytest.raises(LeaseLostError):
            await left[0]

    assert check_run(events) == []
    assert [event.type for event in events[-3:]] == ["message_completed", "tool_completed", "agent_completed"]
    assert await world.events(scope, accepted.run_id) == events


async def test_an_answered_question_is_not_told_as_a_restart(world: World):
    async def agent(run: AgentRun) -> str:
        return str((await run.ask("may I?")).state)

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted)

    assert [event.type for event in events[2:]] == [
        "agent_started",
        "approval_requested",
        "approval_resolved",
        "agent_started",
        "message_completed",
        "agent_completed",
    ]


async def test_an_answer_larger_than_the_limit_fails_the_run_also_when_it_comes_at_once(world: World):
    async def agent(run: AgentRun) -> str:
        return "x" * 10_001

    events = await told(world, agent, limits=AgentLimits(max_answer_bytes=10_000))

    [failed] = of(events, "agent_failed")
    assert isinstance(failed, AgentFailed)
    assert failed.code == "agent_output_too_large"
    assert of(events, "message_completed") == []


async def test_a_run_has_a_greatest_number_of_steps(world: World):
    async def agent(run: AgentRun) -> str:
        while True:
            await run.think("once more")

    events = await told(world, agent, limits=AgentLimits(max_steps=3))

    assert len(of(events, "agent_thinking")) == 3
    [failed] = of(events, "agent_failed")
    assert isinstance(failed, AgentFailed)
    assert (failed.code, "3 steps" in failed.message) == ("agent_failed", True)


async def test_a_step_that_says_nothing_shows_nothing(world: World):
    async def agent(run: AgentRun) -> str:
        await run.say("")
        return "answer"

    events = await told(world, agent)

    assert of(events, "message_delta") == []
    assert len(of(events, "message_completed")) == 1


async def test_a_step_shows_its_thoughts_while_it_works(world: World):
    async def agent(run: AgentRun) -> str:
        async def work(step: StepHandle) -> bytes:
            step.think("")
            step.think("first")
            step.think("second")
            return b"done"

        return (await run._handle.step(StepKind.MODEL, "ask", b"", work)).decode()

    events = await told(world, agent)

    assert of(events, "agent_thinking") == [AgentThinking(text="first", step=0), AgentThinking(text="second", step=0)]


async def test_a_step_that_fails_once_the_run_is_lost_records_nothing(world: World):
    async def agent(run: AgentRun) -> str:
        async def work(step: StepHandle) -> bytes:
            await step.begin()
            await world.database.write(
                lambda tx: tx.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = ?", str(run.context.run_id))
            )
            with pytest.raises(LeaseLostError):
                await step.begin()
            raise ToolDeniedError("not today")

        await run._handle.step(StepKind.MODEL, "ask", b"", work)
        return "never"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await eventually(lambda: any(event == LogEvent.RUN_LEASE_LOST for _, event, _ in world.log_book.lines))

    [step] = await world.database.read(lambda tx: StepRepository(scope).list(tx, RunId(accepted.run_id)))
    assert step.state is StepState.STARTED


# After a crash


class Crashing:
    """An agent that goes its way until a crash, and then once more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held = asyncio.Event()
        self.crashed = False
        self.meanwhile: Callable[[World], Awaitable[None]] | None = None

    async def hold(self) -> None:
        if not self.crashed:
            self.held.set()
            await asyncio.get_running_loop().create_future()

    async def story(self, before, after=None, **options: object) -> list[Envelope]:
        async with opened_world(self.path) as world:
            world.programs.add("agent", before, **options)  # type: ignore[arg-type]
            scope = await world.person()
            async with working(world):
                accepted = await world.send(scope)
                await self.held.wait()
        self.crashed = True
        async with opened_world(self.path) as world:
            world.programs.add("agent", after or before, **options)  # type: ignore[arg-type]
            if self.meanwhile is not None:
                await self.meanwhile(world)
            await world.recovery.recover_all()
            async with working(world):
                events = await world.until(scope, accepted)
            self.run = await world.run(scope, RunId(accepted.run_id))
        assert check_run(events) == []
        return events


@pytest.fixture
def crashing(database_path: Path) -> Crashing:
    return Crashing(database_path)


async def test_a_value_from_outside_is_the_same_after_a_crash(crashing: Crashing):
    drawn: list[int] = []

    async def draw() -> int:
        drawn.append(len(drawn) + 41)
        return drawn[-1]

    async def agent(run: AgentRun) -> str:
        number, at = await run.value("number", draw, int), await run.now()
        await crashing.hold()
        again = await run.now()
        return f"{number} {again >= at} {run.attempt}"

    events = await crashing.story(agent)

    [answer] = of(events, "message_completed")
    assert answer.parts[0].text == "41 True 2"  # type: ignore[attr-defined]
    assert drawn == [41]


async def test_a_failed_step_fails_in_the_same_way_after_a_crash(crashing: Crashing):
    tries: list[str] = []

    async def agent(run: AgentRun) -> str:
        async def writing(write: Write) -> None:
            tries.append("tried")
            await write("half")
            raise ToolDeniedError("not today")

        try:
            await run.stream(writing)
        except ToolDeniedError as error:
            await crashing.hold()
            return error.message
        return "never"

    events = await crashing.story(agent)

    assert tries == ["tried"]
    assert len(of(events, "step_restarted")) == 1
    [answer] = of(events, "message_completed")
    assert answer.parts[0].text == "not today"  # type: ignore[attr-defined]


@pytest.mark.parametrize("change", ["name", "kind", "input"])
async def test_an_agent_that_goes_another_way_than_its_journal_fails_and_says_where(crashing: Crashing, change: str):
    async def step(run: RunHandle, kind: StepKind, name: str, payload: bytes) -> None:
        async def work(_: StepHandle) -> bytes:
            return b"done"

        await run.step(kind, name, payload, work)

    async def before(run: AgentRun) -> str:
        await step(run._handle, StepKind.VALUE, "first", b"a")
        await crashing.hold()
        return "never"

    async def after(run: AgentRun) -> str:
        wanted = {"name": (StepKind.VALUE, "other", b"a"), "kind": (StepKind.MODEL, "first", b"a")}
        await step(run._handle, *wanted.get(change, (StepKind.VALUE, "first", b"b")))
        return "never"

    events = await crashing.story(before, after)

    failed = of(events, "agent_failed")[0]
    assert isinstance(failed, AgentFailed)
    assert failed.code == "journal_mismatch"
    assert "step 0" in failed.message


async def test_what_a_finished_step_cost_is_counted_once_over_all_attempts(crashing: Crashing):
    async def agent(run: AgentRun) -> str:
        async def work(step: StepHandle) -> bytes:
            step.cost("a-model", Usage(input_tokens=10, output_tokens=3, model_calls=1))
            await step.write("hi")
            return b""

        await run._handle.step(StepKind.MODEL, "ask", b"", work)
        await crashing.hold()
        await run._handle.step(StepKind.MODEL, "ask", b"", work)
        return "done"

    events = await crashing.story(agent)

    [completed] = of(events, "agent_completed")
    assert isinstance(completed, AgentCompleted)
    assert completed.usage == Usage(input_tokens=20, output_tokens=6, model_calls=2)
    assert crashing.run.usage == completed.usage
    assert [message.usage.input_tokens for message in of(events, "message_completed")[:2]] == [10, 10]  # type: ignore[attr-defined]


async def test_a_message_that_broke_off_is_void_when_its_next_attempt_says_nothing(crashing: Crashing):
    async def agent(run: AgentRun) -> str:
        async def writing(write: Write) -> None:
            if not crashing.crashed:
                await write("half")
                await run._handle.writer.flush()
            await crashing.hold()

        await run.stream(writing)
        return "whole"

    events = await crashing.story(agent)

    [delta] = of(events, "message_delta")
    [restarted] = of(events, "step_restarted")
    assert restarted.message_id == delta.message_id  # type: ignore[attr-defined]
    [answer] = of(events, "message_completed")
    assert answer.parts[0].text == "whole"  # type: ignore[attr-defined]


async def test_a_recorded_failure_of_a_kind_that_is_gone_keeps_its_text(crashing: Crashing):
    told: list[ClocheError] = []

    async def agent(run: AgentRun) -> str:
        async def work(step: StepHandle) -> bytes:
            raise ToolDeniedError("not today")

        try:
            await run._handle.step(StepKind.VALUE, "draw", b"", work)
        except ClocheError as error:
            told.append(error)
        await crashing.hold()
        return "done"

    async def forget(world: World) -> None:
        gone = b'{"code":"gone","message":"not today","retryable":false}'
        await world.database.write(lambda tx: tx.execute("UPDATE steps SET result = ? WHERE state = 'failed'", gone))

    crashing.meanwhile = forget
    await crashing.story(agent)

    assert [(type(error), error.message) for error in told] == [
        (ToolDeniedError, "not today"),
        (AgentFailedError, "not today"),
    ]
