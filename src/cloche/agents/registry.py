"""The agents of this server: their declarations, and a fresh program for each run."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from cloche.agents.function import AgentFunction, FunctionProgram
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.errors import AgentUnavailableError, ConfigurationError, NotFoundError
from cloche.execution.program import Program
from cloche.telemetry import Telemetry
from cloche.tools.dispatcher import ToolDispatcher
from cloche.tools.tool import Tool


class ProgramMaker(Protocol):
    """Makes the program of one run from the agent's declaration and its tools."""

    def __call__(self, spec: AgentSpec, dispatcher: ToolDispatcher) -> Program:
        """A program that no other run has."""
        ...


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An agent that can be run. ``prepare`` is awaited before each ``make``; it is quick after its first time."""

    spec: AgentSpec
    make: ProgramMaker
    prepare: Callable[[], Awaitable[None]] = _nothing


class AgentRegistry:
    """The agents by name. Implements ``Programs``; holds declarations only, nothing of a user."""

    def __init__(
        self,
        agents: Iterable[Registered],
        *,
        default: str,
        tools: Mapping[str, Tool],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._agents = {agent.spec.name: agent for agent in agents}
        self._default = default
        self._tools = tools
        self._clock = clock
        self._telemetry = telemetry
        if default not in self._agents:
            known = ", ".join(sorted(self._agents))
            raise ConfigurationError(f"default_agent: there is no agent {default!r}; there are: {known}")
        check_tools(self.list(), tools)

    def list(self) -> list[AgentSpec]:
        """Every agent's declaration, the default one first."""
        return sorted(
            (agent.spec for agent in self._agents.values()), key=lambda spec: (spec.name != self._default, spec.name)
        )

    def spec(self, agent: str | None) -> AgentSpec:
        """See ``Programs.spec``."""
        found = self._agents.get(agent or self._default)
        if found is None:
            raise NotFoundError("there is no such agent")
        return found.spec

    def find(self, agent: str, version: str) -> AgentSpec | None:
        """See ``Programs.find``."""
        found = self._agents.get(agent)
        return found.spec if found is not None and found.spec.continues(version) else None

    async def prepare(self, agent: str) -> None:
        """See ``Programs.prepare``."""
        found = self._agents.get(agent)
        if found is not None:
            await found.prepare()

    def make(self, agent: str, version: str) -> tuple[AgentSpec, Program]:
        """See ``Programs.make``."""
        found = self._agents.get(agent)
        if found is None:
            raise AgentUnavailableError(f"this server does not have the agent {agent}")
        if not found.spec.continues(version):
            raise AgentUnavailableError(
                f"the run was begun with version {version} of the agent {agent}; this server has version "
                f"{found.spec.version}, which does not take over the runs of others"
            )
        dispatcher = ToolDispatcher(
            self._tools, frozenset(found.spec.tools), clock=self._clock, telemetry=self._telemetry
        )
        return found.spec, found.make(found.spec, dispatcher)


def check_tools(agents: Iterable[AgentSpec], tools: Iterable[str]) -> None:
    """Return when every tool that an agent lists is there.

    Raises:
        ConfigurationError: one is not; the text names the agent and the tools that there are.
    """
    known = set(tools)
    for agent in agents:
        for name in agent.tools:
            if name not in known:
                raise ConfigurationError(
                    f"agents.{agent.name}.tools: there is no tool {name!r}; there are: {', '.join(sorted(known))}"
                )


def function_maker(function: AgentFunction) -> ProgramMaker:
    """The maker of a plain async function's programs."""

    def make(spec: AgentSpec, dispatcher: ToolDispatcher) -> Program:
        assert spec.name
        return FunctionProgram(function, dispatcher)

    return make


def load_object(use: str, place: str) -> object:
    """The object that ``module:object`` names.

    Raises:
        ConfigurationError: there is no such module or object, or the module cannot be imported.
    """
    module_name, _, name = use.partition(":")
    if not module_name or not name:
        raise ConfigurationError(f"{place}: {use!r} is not of the form module:object")
    try:
        found: object = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"{place}: the module {module_name!r} cannot be imported: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{place}: the module {module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def is_agent_function(found: object) -> bool:
    """Whether the object is an ``async def`` function that takes its run."""
    return (
        inspect.iscoroutinefunction(found)
        and len(inspect.signature(cast("Callable[..., object]", found)).parameters) == 1
    )
