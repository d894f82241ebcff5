"""A message becomes a run, the run's story is whole and in order, and everything can be read again."""

from __future__ import annotations

from cloche.agents.function import AgentRun, Write
from cloche.domain.event_order import check_run
from cloche.domain.runs import ExecutionState
from cloche.tools.tool import tool
from support.world import World


async def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


async def test_a_message_is_answered_with_the_five_events_in_order(world: World):
    async def agent(run: AgentRun) -> None:
        await run.think("let me see")
        result = await run.call_tool("double", number=21)

        async def writing(write: Write) -> None:
            for _ in range(50):
                await write("word ")
            await write(str(result.value))

        await run.stream(writing)

    world.programs.add("agent", agent, tools={"double": tool(double)})
    scope = await world.person()

    accepted = await world.send(scope, "twice 21?")
    events = await world.until(scope, accepted)

    kinds = [event.type for event in events]
    assert [kind for kind in kinds if kind != "message_delta"] == [
        "message_created",
        "run_queued",
        "agent_started",
        "agent_thinking",
        "tool_executing",
        "tool_completed",
        "message_completed",
        "agent_completed",
    ]
    assert check_run(events) == []
    assert await world.state(scope, accepted.run_id) is ExecutionState.COMPLETED
