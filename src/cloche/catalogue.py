"""The tools and agents that the settings declare, loaded and checked."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import cast

from cloche.agents.function import AgentFunction
from cloche.agents.model_agents import ModelAgents
from cloche.agents.registry import Registered, check_tools, function_maker, is_agent_function, load_object
from cloche.clock import SystemClock
from cloche.domain.agents import AgentLimits, AgentSpec
from cloche.domain.tools import Effect, OnUnknown
from cloche.errors import ConfigurationError
from cloche.llm.config import ModelConfig
from cloche.settings import AgentSettings, ModelSettings, Settings, ToolSettings
from cloche.tools.tool import Tool, Verify, tool

ASSISTANT = "assistant"
ASSISTANT_TOOLS = ("clock", "calculator", "search_threads")
ASSISTANT_EXAMPLES = (
    "What time is it in Tokyo?",
    "What is (1250 * 12) / 7?",
    "Search my conversations for greenhouse",
)
"""One for each of its tools, in their order."""

_NO_MODEL = "none"


def model_config(settings: ModelSettings, name: str | None = None) -> ModelConfig:
    """The model of the settings, or another one by its name with the same address and key.

    Raises:
        ConfigurationError: the name or address cannot be used.
    """
    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    return ModelConfig(
        name=name or settings.name,
        base_url=settings.base_url,
        api_key=key,
        timeout_s=settings.timeout_s,
        word_delay_s=settings.word_delay_s,
    )


def make_tools(settings: Settings, builtin: Mapping[str, Tool], folder: Path) -> dict[str, Tool]:
    """The built-in tools and those of the settings; modules are also looked for in ``folder``.

    Raises:
        ConfigurationError: a function cannot be loaded, or is none that can be a tool.
    """
    _make_importable(folder)
    return {**builtin, **{name: _tool(name, entry) for name, entry in settings.tools.items()}}


def make_agents(settings: Settings, models: ModelAgents, folder: Path) -> list[Registered]:
    """The built-in assistant, unless the settings have one of that name, and the agents of the settings.

    Raises:
        ConfigurationError: an object cannot be loaded, or is none that can be an agent.
    """
    _make_importable(folder)
    builtin = [] if ASSISTANT in settings.agents else [_assistant(settings, models)]
    return builtin + [_agent(name, entry, settings, models) for name, entry in settings.agents.items()]


def check_agents(settings: Settings, folder: Path) -> list[AgentSpec]:
    """The declarations of every agent, after loading what the settings name.

    Raises:
        ConfigurationError: an agent or tool cannot be loaded, or an agent lists a tool that there is not.
    """
    tools = make_tools(settings, {}, folder)
    agents = [agent.spec for agent in make_agents(settings, ModelAgents(AsyncExitStack(), SystemClock()), folder)]
    check_tools(agents, {*ASSISTANT_TOOLS, *tools})
    return agents


def _assistant(settings: Settings, models: ModelAgents) -> Registered:
    config = model_config(settings.model)
    spec = AgentSpec(
        name=ASSISTANT,
        version="1",
        description="A general assistant that can tell the time, calculate and search your threads.",
        model=config.name,
        tools=ASSISTANT_TOOLS,
        examples=ASSISTANT_EXAMPLES,
    )

    return Registered(spec=spec, make=models.maker(None, config), prepare=_preparing(models, config))


def _agent(name: str, entry: AgentSettings, settings: Settings, models: ModelAgents) -> Registered:
    place = f"agents.{name}.use"
    found = load_object(entry.use, place)
    if is_agent_function(found):
        spec = _spec(name, entry, entry.model or _NO_MODEL)
        return Registered(spec=spec, make=function_maker(cast("AgentFunction", found)))
    if type(found).__module__.startswith("pydantic_ai."):
        config = model_config(settings.model, entry.model)
        spec = _spec(name, entry, config.name)
        return Registered(spec=spec, make=models.maker(found, config), prepare=_preparing(models, config))
    raise ConfigurationError(
        f"{place}: {entry.use!r} is a {type(found).__name__}; expected an `async def` function that takes its run, or a "
        "pydantic-ai Agent"
    )


def _spec(name: str, entry: AgentSettings, model: str) -> AgentSpec:
    return AgentSpec(
        name=name,
        version=entry.version,
        description=entry.description,
        model=model,
        tools=entry.tools,
        takes_over=entry.takes_over,
        examples=entry.examples,
        limits=AgentLimits(
            run_timeout=timedelta(seconds=entry.run_timeout_s),
            step_timeout=timedelta(seconds=entry.step_timeout_s),
            max_steps=entry.max_steps,
            max_answer_bytes=entry.max_answer_bytes,
        ),
    )


def _tool(name: str, entry: ToolSettings) -> Tool:
    place = f"tools.{name}.use"
    found = load_object(entry.use, place)
    if not callable(found):
        raise ConfigurationError(f"{place}: {entry.use!r} cannot be called")
    verify = None if entry.verify is None else load_object(entry.verify, f"tools.{name}.verify")
    return tool(
        found,
        name=name,
        verify=cast("Verify | None", verify),
        permission=entry.permission,
        effect=Effect(entry.effect),
        timeout=timedelta(seconds=entry.timeout_s),
        on_unknown=OnUnknown(entry.on_unknown),
        needs_approval=entry.needs_approval,
    )


def _preparing(models: ModelAgents, config: ModelConfig) -> Callable[[], Awaitable[None]]:
    async def prepare() -> None:
        await models.prepare(config)

    return prepare


def _make_importable(folder: Path) -> None:
    """Modules beside the settings file can be imported; the folder stays, for the child processes of tools."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
