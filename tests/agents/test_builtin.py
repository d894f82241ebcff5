"""The agents that come with the server, at work on the scripted model."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cloche.agents.builtin import assistant_agent
from cloche.agents.pydantic_ai_program import PydanticAIProgram
from cloche.catalogue import ASSISTANT_EXAMPLES, ASSISTANT_TOOLS, check_agents
from cloche.domain.agents import AgentSpec
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import MessageCompleted, ToolCompleted
from cloche.execution.program import Program
from cloche.llm.scripted import ScriptedModel
from cloche.settings import AgentSettings, Settings
from cloche.tools.builtin import builtin_tools
from cloche.tools.dispatcher import ToolDispatcher
from support.world import World


def add_assistant(world: World) -> None:
    agent, model = assistant_agent(), ScriptedModel(delay_s=0)
    tools = builtin_tools(world.database, world.clock)

    def make() -> Program:
        dispatcher = ToolDispatcher(
            tools,
            frozenset(ASSISTANT_TOOLS),
            clock=world.clock,
            telemetry=world.telemetry,
            grace=timedelta(milliseconds=200),
        )
        return PydanticAIProgram(
            agent, model=model, dispatcher=dispatcher, on_success=lambda: None, on_failure=lambda _error: None
        )

    spec = AgentSpec(
        name="assistant", version="1", description="", model="scripted:demo", tools=tuple(sorted(ASSISTANT_TOOLS))
    )
    world.programs.add_program(spec, make)


def test_the_assistant_holds_no_model_and_no_tools_of_its_own() -> None:
    agent = assistant_agent()

    assert agent.model is None
    assert agent.name == "assistant"
    assert agent is not assistant_agent()


def test_the_assistant_lists_tools_that_the_server_has(world: World) -> None:
    assert set(ASSISTANT_TOOLS) == set(builtin_tools(world.database, world.clock))


async def test_the_assistant_uses_its_tools_and_says_what_they_gave(world: World) -> None:
    add_assistant(world)
    scope = await world.person()

    accepted = await world.send(scope, "What is 17 * 23, and what time is it?")
    events = await world.until(scope, accepted)

    data = [decoded(event) for event in events]
    called = {event.tool: event.ok for event in data if isinstance(event, ToolCompleted)}
    assert called == {"clock": True, "calculator": True}
    said = next(event for event in data if isinstance(event, MessageCompleted))
    assert "391" in "".join(part.text for part in said.parts)
    assert events[-1].type == "agent_completed"
    assert check_run(events) == []


async def test_the_assistant_finds_what_was_said_in_another_thread(world: World) -> None:
    add_assistant(world)
    scope = await world.person()
    await world.until(scope, await world.send(scope, "the greenhouse needs new glass"))

    accepted = await world.send(scope, "find greenhouse")
    events = await world.until(scope, accepted)

    completed = next(data for event in events if isinstance(data := decoded(event), ToolCompleted))
    assert completed.ok
    assert "new glass" in str(completed.result)


@pytest.mark.parametrize(("example", "tool"), list(zip(ASSISTANT_EXAMPLES, ASSISTANT_TOOLS, strict=True)))
async def test_each_example_of_the_assistant_shows_one_of_its_tools(world: World, example: str, tool: str) -> None:
    add_assistant(world)
    scope = await world.person()

    events = await world.until(scope, await world.send(scope, example))

    called = [data for event in events if isinstance(data := decoded(event), ToolCompleted)]
    assert [(one.tool, one.ok) for one in called] == [(tool, True)]


async def agent(_run: object) -> None:
    return None


def test_examples_come_from_the_settings(tmp_path: Path) -> None:
    entry = AgentSettings(use=f"{__name__}:agent", examples=("Hello?", "Who are you?"))

    specs = {spec.name: spec for spec in check_agents(Settings(agents={"own": entry}), tmp_path)}

    assert specs["own"].examples == ("Hello?", "Who are you?")
    assert specs["assistant"].examples == ASSISTANT_EXAMPLES


@pytest.mark.parametrize("examples", [("",), ("x" * 201,), ("x",) * 13, ("x", 3)])
def test_examples_are_a_few_short_texts(examples: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="examples"):
        AgentSettings(use="a:b", examples=examples)
