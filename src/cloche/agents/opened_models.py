"""The models in use, opened once for the process. Importing this loads pydantic-ai, which takes up to a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, cast

from pydantic_ai import Agent
from pydantic_ai.models import Model

from cloche.agents.absent_mcp import remember_absence
from cloche.agents.builtin import assistant_agent
from cloche.agents.pydantic_ai_program import PydanticAIProgram
from cloche.errors import ModelError
from cloche.execution.program import Program
from cloche.llm.config import ModelConfig
from cloche.llm.models import open_model
from cloche.tools.dispatcher import ToolDispatcher


class OpenedModels:
    """Models by name, and programs that speak to them. What it opens is closed with the stack that it was given."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._models: dict[str, Model[Any]] = {}
        self._assistant = assistant_agent()
        remember_absence()

    async def open(self, config: ModelConfig) -> None:
        """The model of this configuration is open.

        Raises:
            ConfigurationError: its provider's package is missing, or there is no such provider.
        """
        model = await asyncio.to_thread(open_model, config)
        await self._stack.enter_async_context(model)
        self._models[config.name] = model

    def program(
        self,
        agent: object | None,
        config: ModelConfig,
        dispatcher: ToolDispatcher,
        on_success: Callable[[], None],
        on_failure: Callable[[ModelError], None],
    ) -> Program:
        """A program for one run of the pydantic-ai agent; None is the built-in assistant."""
        found = self._assistant if agent is None else cast("Agent[Any, Any]", agent)
        return PydanticAIProgram(
            found,
            model=self._models[config.name],
            dispatcher=dispatcher,
            on_success=on_success,
            on_failure=on_failure,
        )
