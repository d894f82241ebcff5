"""However an agent or a tool behaves, its run ends exactly once, with the reason, and others are not affected."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cloche.agents.function import AgentRun, Write
from cloche.domain.agents import AgentLimits
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import AgentCancelled, AgentFailed, Envelope, ToolCompleted
from cloche.domain.runs import ExecutionState, OnBusy
from cloche.errors import ThreadBusyError
from cloche.tools.tool import Tool, tool
from support.world import World

QUICK = AgentLimits(run_timeout=timedelta(seconds=1))


def last(events: list[Envelope]) -> object:
    assert check_run(events) == []
    return decoded(events[-1])


async def raises(run: AgentRun) -> None:
    raise ValueError("a secret text")


async def exits(run: AgentRun) -> None:
    raise SystemExit(3)


async def returns_nothing(run: AgentRun) -> None:
    return None


async def returns_a_number(run: AgentRun) -> int:
    return 7


async def cancels_itself(run: AgentRun) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("agent", "code"),
    [
        (raises, "agent_failed"),
        (exits, "agent_failed"),
        (returns_nothing, "agent_returned_nothing"),
        (returns_a_number, "agent_failed"),
        (cancels_itself, "agent_failed"),
    ],
)
async def test_an_agent_that_misbehaves_ends_as_failed(world: World, agent, code: str):
    world.programs.add("agent", agent)
    scope = await world.person()

    events = await world.until(scope, await world.send(scope))

    failed = last(events)
    assert isinstance(failed, AgentFailed)
    assert failed.code == code
    assert "secret" not in failed.message


async def hangs(run: AgentRun) -> None:
    await asyncio.get_running_loop().create_future()


async def ignores_cancellation(run: AgentRun) -> None:
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException:  # noqa: BLE001 -- what is shown is that even this is stopped
            continue


async def streams_for_ever(run: AgentRun) -> None:
    async def writing(write: Write) -> None:
        while True:
            await write("x")
            await asyncio.sleep(0)

    await run.stream(writing)


@pytest.mark.parametrize("agent", [hangs, ignores_cancellation, streams_for_ever])
async def test_an_agent_without_end_times_out_at_its_deadline(world: World, agent):
    world.programs.add("agent", agent, limits=QUICK)
    scope = await world.person()

    accepted = await world.send(scope)
    events = await world.until(scope, accepted)

    assert events[-1].type == "agent_timed_out"
    assert check_run(events) == []
    run = await world.run(scope, accepted.run_id)
    assert run.state is ExecutionState.TIMEOUT
    assert (run.state_times[ExecutionState.TIMEOUT] - run.created_at) < timedelta(seconds=4)


async def test_an_answer_beyond_its_limit_fails_the_run(world: World):
    world.programs.add("agent", streams_for_ever, limits=AgentLimits(max_answer_bytes=10_000))
    scope = await world.person()

    events = await world.until(scope, await world.send(scope))

    failed = last(events)
    assert isinstance(failed, AgentFailed)
    assert failed.code == "agent_output_too_large"


@pytest.mark.parametrize("agent", [hangs, ignores_cancellation, streams_for_ever])
async def test_a_running_run_is_cancelled_with_a_receipt(world: World, agent):
    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_started")

    state = await world.cancellation.cancel(scope, (await world.run(scope, accepted.run_id)).id)
    events = await world.until(scope, accepted)

    assert state is ExecutionState.CANCELLING
    cancelled = last(events)
    assert isinstance(cancelled, AgentCancelled)
    assert "agent" in cancelled.receipt.stopped
    assert await world.state(scope, accepted.run_id) is ExecutionState.CANCELLED


async def test_a_pending_run_is_cancelled_at_once_and_never_starts(idle_world: World):
    idle_world.programs.add("agent", hangs)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)

    run = await idle_world.run(scope, accepted.run_id)
    state = await idle_world.cancellation.cancel(scope, run.id)

    assert state is ExecutionState.CANCELLED
    events = await idle_world.events(scope, accepted.run_id)
    assert [event.type for event in events] == ["message_created", "run_queued", "agent_cancelled"]


async def test_a_second_message_waits_for_the_first_run(world: World):
    gate = asyncio.Event()

    async def agent(run: AgentRun) -> str:
        await gate.wait()
        return run.text

    world.programs.add("agent", agent)
    scope = await world.person()
    first = await world.send(scope, "one")
    await world.until(scope, first, "agent_started")

    second = await world.send(scope, "two", thread_id=first.thread_id)
    waiting = await world.state(scope, second.run_id)
    gate.set()
    events = await world.until(scope, second)

    assert waiting is ExecutionState.PENDING
    assert events[-1].type == "agent_completed"
    first_run, second_run = await world.run(scope, first.run_id), await world.run(scope, second.run_id)
    assert first_run.state_times[ExecutionState.COMPLETED] <= second_run.state_times[ExecutionState.STARTING]


async def test_a_busy_thread_can_refuse_a_message(world: World):
    world.programs.add("agent", hangs)
    scope = await world.person()
    first = await world.send(scope)

    with pytest.raises(ThreadBusyError):
        await world.send(scope, "two", thread_id=first.thread_id, on_busy=OnBusy.REJECT)


async def test_a_newer_message_can_interrupt_the_run_before_it(world: World):
    async def agent(run: AgentRun) -> str:
        if run.text == "one":
            await asyncio.get_running_loop().create_future()
        return run.text

    world.programs.add("agent", agent)
    scope = await world.person()
    first = await world.send(scope, "one")
    await world.until(scope, first, "agent_started")

    second = await world.send(scope, "two", thread_id=first.thread_id, on_busy=OnBusy.INTERRUPT)
    ending = await world.until(scope, second)

    assert (await world.until(scope, first))[-1].type == "agent_cancelled"
    assert ending[-1].type == "agent_completed"


async def boom() -> None:
    """Raise."""
    raise ValueError("a secret text")


async def stuck() -> None:
    """Hang."""
    await asyncio.get_running_loop().create_future()


async def stubborn() -> None:
    """Hang and ignore cancellation."""
    await ignores_cancellation(None)  # type: ignore[arg-type]


async def huge() -> str:
    """Return 50 MB."""
    return "x" * 50_000_000


async def not_json() -> object:
    """Return what has no JSON form."""
    return object()


@pytest.mark.parametrize(
    ("function", "code"),
    [(boom, "tool_failed"), (stuck, "tool_timeout"), (stubborn, "tool_timeout"), (huge, None), (not_json, None)],
)
async def test_a_tool_that_misbehaves_is_a_result_and_the_run_goes_on(world: World, function, code: str | None):
    made = tool(function, name="it", timeout=timedelta(milliseconds=300))
    events = await _one_call(world, made)

    completed = decoded(next(event for event in events if event.type == "tool_completed"))
    assert isinstance(completed, ToolCompleted)
    assert (completed.error.code if completed.error else None) == code
    assert "secret" not in str(completed)
    assert len(str(completed.result)) < 300_000
    assert events[-1].type == "agent_completed"


async def _one_call(world: World, made: Tool) -> list[Envelope]:
    async def agent(run: AgentRun) -> str:
        result = await run.call_tool("it")
        return "ok" if result.ok else f"it failed: {result.failure.code if result.failure else ''}"

    world.programs.add("agent", agent, tools={"it": made})
    scope = await world.person()
    events = await world.until(scope, await world.send(scope))
    assert check_run(events) == []
    return events


async def test_a_stubborn_tool_is_stopped_with_its_run(world: World):
    async def agent(run: AgentRun) -> None:
        await run.call_tool("it")

    world.programs.add("agent", agent, tools={"it": tool(stubborn, name="it")})
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "tool_executing")

    await world.cancellation.cancel(scope, (await world.run(scope, accepted.run_id)).id)
    events = await world.until(scope, accepted)

    cancelled = last(events)
    assert isinstance(cancelled, AgentCancelled)
    assert "tool:it" in cancelled.receipt.stopped


async def test_another_run_is_answered_while_one_misbehaves(world: World):
    async def well(run: AgentRun) -> str:
        return "well"

    world.programs.add("bad", ignores_cancellation, limits=QUICK)
    world.programs.add("good", well)
    scope = await world.person()
    await world.send(scope, agent="bad")

    events = await world.until(scope, await world.send(scope, agent="good"))

    assert events[-1].type == "agent_completed"
