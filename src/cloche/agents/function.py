"""Agents that are a plain async function with a handle on its run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from cloche.domain.approvals import DEFAULT_EXPIRY, Approval
from cloche.domain.context import UserExecutionContext
from cloche.domain.messages import Message
from cloche.domain.steps import StepKind
from cloche.domain.tools import ToolResult
from cloche.errors import AgentFailedError
from cloche.execution.run_handle import RunHandle, StepHandle
from cloche.tools.dispatcher import ToolDispatcher

T = TypeVar("T")

AgentFunction = Callable[["AgentRun"], Awaitable[object]]
Write = Callable[[str], Awaitable[None]]
Writing = Callable[[Write], Awaitable[None]]


class AgentRun:
    """What a function agent gets. Every method is a journaled step: after a crash it gives what it gave before.

    Between its steps the function does the same thing each time: it takes the time, random numbers and anything from
    outside through ``value``.
    """

    def __init__(self, handle: RunHandle, dispatcher: ToolDispatcher) -> None:
        self._handle = handle
        self._dispatcher = dispatcher

    @property
    def context(self) -> UserExecutionContext:
        """Who the run works for."""
        return self._handle.context

    @property
    def text(self) -> str:
        """The text of the message that the run answers."""
        return self._handle.message.text

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is, from 1."""
        return self._handle.attempt

    async def history(self) -> tuple[Message, ...]:
        """The thread's messages before it, oldest first; the last 40."""
        return await self._handle.history()

    async def think(self, text: str) -> None:
        """Show the text as what the agent thinks."""
        await self._handle.think(text)

    async def say(self, text: str) -> None:
        """Say a whole message."""

        async def writing(write: Write) -> None:
            await write(text)

        await self.stream(writing, name="say")

    async def stream(self, writing: Writing, *, name: str = "stream") -> None:
        """Say a message piece by piece: ``writing`` gets a function that takes the next piece.

        After a crash in its middle, the message begins anew and clients are told that the earlier pieces are void.
        """

        async def work(step: StepHandle) -> bytes:
            await writing(step.write)
            return b""

        await self._handle.step(StepKind.MESSAGE, name, b"", work)

    async def call_tool(self, name: str, **arguments: object) -> ToolResult:
        """Call one of the agent's tools; a failure is a result, not an error."""
        return await self._dispatcher.call(self._handle, name, arguments)

    async def ask(
        self,
        question: str,
        *,
        arguments: Mapping[str, object] | None = None,
        schema: Mapping[str, object] | None = None,
        expires_in: timedelta = DEFAULT_EXPIRY,
    ) -> Approval:
        """Ask the person; the run waits, without cost, until the answer or until it expires."""
        return await self._handle.ask(
            tool="ask", question=question, arguments=arguments or {}, schema=schema or {}, expires_in=expires_in
        )

    async def value(self, name: str, compute: Callable[[], Awaitable[T]], kind: type[T]) -> T:
        """What ``compute`` gave the first time: for everything that comes from outside. ``kind`` must have a JSON form."""

        async def work(_step: StepHandle) -> bytes:
            return msgspec.json.encode(await compute())

        return msgspec.json.decode(await self._handle.step(StepKind.VALUE, name, b"", work), type=kind)

    async def now(self) -> datetime:
        """The time at which this step was first taken."""

        async def present() -> datetime:
            return self._handle.clock.now()

        return await self.value("now", present, datetime)


class FunctionProgram:
    """One run of a function agent."""

    def __init__(self, function: AgentFunction, dispatcher: ToolDispatcher) -> None:
        self._function = function
        self._dispatcher = dispatcher

    async def run(self, run: RunHandle) -> str | None:
        """See ``Program.run``.

        Raises:
            AgentFailedError: the function returned something that is no text.
            JournalMismatchError: it left out a step of an earlier attempt.
        """
        answer = await self._function(AgentRun(run, self._dispatcher))
        run.require_whole_replay()
        if answer is None or isinstance(answer, str):
            return answer
        raise AgentFailedError(f"the agent returned a {type(answer).__name__}, not a text")
