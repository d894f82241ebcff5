"""The agents that speak to models: their libraries and models are loaded once, off the event loop, when first needed."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol, cast

from cloche.agents.registry import ProgramMaker
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.errors import ModelError
from cloche.execution.program import Program
from cloche.llm.config import ModelConfig
from cloche.llm.probe import ModelProbe
from cloche.tools.dispatcher import ToolDispatcher

_ADAPTER = "cloche.agents.pydantic_ai_program"


class OpenedModel(Protocol):
    """A pydantic-ai model, entered. Only the adapter looks inside."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *error: object) -> bool | None: ...


class Adapter(Protocol):
    """What ``cloche.agents.pydantic_ai_program`` offers, named here so that importing this costs nothing."""

    def open_model(self, config: ModelConfig) -> OpenedModel:
        """The model of this configuration, not yet entered."""
        ...

    def make_program(
        self,
        agent: object,
        model: OpenedModel,
        dispatcher: ToolDispatcher,
        on_success: Callable[[], None],
        on_failure: Callable[[ModelError], None],
    ) -> Program:
        """A program for one run."""
        ...


class ModelAgents:
    """Opened models, one for each configuration in use, and the makers of programs that speak to them.

    Closed with the stack that it was given.
    """

    def __init__(self, stack: AsyncExitStack, clock: Clock) -> None:
        self._stack = stack
        self._clock = clock
        self._adapter: Adapter | None = None
        self._models: dict[str, OpenedModel] = {}
        self._probes: dict[str, ModelProbe] = {}
        self._loading = asyncio.Lock()

    async def probe(self, config: ModelConfig) -> ModelProbe:
        """The probe of this model, which hears of every call's outcome."""
        known = self._probes.get(config.name)
        if known is None:
            known = self._probes[config.name] = await self._stack.enter_async_context(ModelProbe(config, self._clock))
        return known

    async def prepare(self, config: ModelConfig) -> None:
        """The library is loaded and the model is open. Slow once, in a thread; at once from then on."""
        if config.name in self._models:
            return
        async with self._loading:
            if self._adapter is None:
                self._adapter = cast("Adapter", await asyncio.to_thread(importlib.import_module, _ADAPTER))
            if config.name not in self._models:
                model = await asyncio.to_thread(self._adapter.open_model, config)
                await self._stack.enter_async_context(model)
                await self.probe(config)
                self._models[config.name] = model

    def maker(self, load_agent: Callable[[], object], config: ModelConfig) -> ProgramMaker:
        """The maker of programs of the pydantic-ai agent that ``load_agent`` gives; ``prepare`` comes first."""

        def make(_spec: AgentSpec, dispatcher: ToolDispatcher) -> Program:
            assert self._adapter is not None, "prepare() comes before make()"
            probe = self._probes[config.name]
            return self._adapter.make_program(
                load_agent(), self._models[config.name], dispatcher, probe.record_success, probe.record_failure
            )

        return cast("ProgramMaker", make)
