"""The agents that speak to models: their library and models are loaded once, off the event loop, when first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol

from cloche.agents.registry import ProgramMaker
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.errors import ModelError
from cloche.execution.program import Program
from cloche.llm.config import ModelConfig
from cloche.llm.probe import ModelProbe, ProbeResult
from cloche.tools.dispatcher import ToolDispatcher


class _Opened(Protocol):
    """What is used of ``OpenedModels``, named here so that importing this module costs nothing."""

    async def open(self, config: ModelConfig) -> None: ...

    def program(
        self,
        agent: object | None,
        config: ModelConfig,
        dispatcher: ToolDispatcher,
        on_success: Callable[[], None],
        on_failure: Callable[[ModelError], None],
    ) -> Program: ...


class ModelAgents:
    """The opened models, one for each configuration in use, their probes, and the makers of programs."""

    def __init__(self, stack: AsyncExitStack, clock: Clock) -> None:
        self._stack = stack
        self._clock = clock
        self._opened: _Opened | None = None
        self._ready: set[str] = set()
        self._probes: dict[str, ModelProbe] = {}
        self._loading = asyncio.Lock()

    async def probe(self, config: ModelConfig) -> ModelProbe:
        """The probe of this model, which hears of every call's outcome."""
        known = self._probes.get(config.name)
        if known is None:
            known = self._probes[config.name] = await self._stack.enter_async_context(ModelProbe(config, self._clock))
        return known

    async def check(self) -> dict[str, ProbeResult]:
        """How each model in use stands, by its name."""
        probes = dict(self._probes)
        found = await asyncio.gather(*(probe.check() for probe in probes.values()))
        return dict(zip(probes, found, strict=True))

    async def prepare(self, config: ModelConfig) -> None:
        """The library is loaded and the model is open. Slow once, in a thread; at once from then on.

        Raises:
            ConfigurationError: the model's provider cannot be used.
        """
        if config.name in self._ready:
            return
        async with self._loading:
            if self._opened is None:
                self._opened = await asyncio.to_thread(_load, self._stack)
            if config.name not in self._ready:
                await self._opened.open(config)
                await self.probe(config)
                self._ready.add(config.name)

    def maker(self, agent: object | None, config: ModelConfig) -> ProgramMaker:
        """The maker of this pydantic-ai agent's programs (None: the built-in assistant); ``prepare`` comes first."""

        def make(spec: AgentSpec, dispatcher: ToolDispatcher) -> Program:
            assert self._opened is not None, f"{spec.name} was not prepared"
            probe = self._probes[config.name]
            return self._opened.program(agent, config, dispatcher, probe.record_success, probe.record_failure)

        return make


def _load(stack: AsyncExitStack) -> _Opened:
    from cloche.agents.opened_models import OpenedModels  # noqa: PLC0415 -- loads pydantic-ai: up to a second

    return OpenedModels(stack)
