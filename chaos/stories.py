"""What the run of a case does: agents whose tools leave a line outside, in a file that no transaction undoes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from chaos.outside import dwell
from cloche.agents.function import AgentRun, Write
from cloche.domain.tools import Effect, OnUnknown
from cloche.tools.tool import Tool, ToolContext, tool
from support.world import World

PIECES = 6


class Effects:
    """The outside world: a line for each effect, durable when the call goes on."""

    def __init__(self, path: Path, reach: Callable[[str], None]) -> None:
        self.path = path
        self._reach = reach

    def leave(self, name: str, call: str) -> None:
        """The effect has happened."""
        self._reach(f"effect {name}: before")
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{name} {call}\n".encode())
            self._reach(f"effect {name}: written")
            os.fsync(file)
        finally:
            os.close(file)
        self._reach(f"effect {name}: durable")

    def tool(
        self, name: str, effect: Effect, on_unknown: OnUnknown = OnUnknown.REPORT, *, needs_approval: bool = False
    ) -> Tool:
        """A tool that leaves a line, and gives the id of its call."""

        async def leaving(context: ToolContext) -> str:
            """Leave a line."""
            await asyncio.sleep(0)
            self.leave(name, context.tool_call_id)
            await asyncio.sleep(0)
            return context.tool_call_id

        return tool(leaving, name=name, effect=effect, on_unknown=on_unknown, needs_approval=needs_approval)


def golden(world: World, effects: Effects) -> None:
    """Think, call two tools, stream an answer."""

    async def agent(run: AgentRun) -> None:
        await run.think("looking at it")
        looked = await run.call_tool("look")
        noted = await run.call_tool("note")

        async def writing(write: Write) -> None:
            for number in range(PIECES):
                await write(f"{number} ")
                await asyncio.sleep(0.012 if number % 3 == 0 else 0)
            await write(_told({"look": looked.value, "note": noted.value or (noted.failure and noted.failure.code)}))

        await run.stream(writing)

    tools = {
        "look": effects.tool("look", Effect.NONE),
        "note": effects.tool("note", Effect.EXTERNAL),
    }
    world.programs.add("golden", agent, tools=tools)


def every_effect(world: World, effects: Effects) -> None:
    """Call a tool of every kind, one of them with a person's consent, and answer with what each call gave."""
    tools = {
        "reads": effects.tool("reads", Effect.NONE),
        "files": effects.tool("files", Effect.INTERNAL),
        "posts": effects.tool("posts", Effect.EXTERNAL, OnUnknown.REPEAT),
        "pays": effects.tool("pays", Effect.EXTERNAL, OnUnknown.REPORT),
        "signs": effects.tool("signs", Effect.EXTERNAL, OnUnknown.REPORT, needs_approval=True),
    }

    async def agent(run: AgentRun) -> str:
        given: dict[str, object] = {}
        for name in tools:
            result = await run.call_tool(name)
            given[name] = result.value if result.ok else result.failure and result.failure.code
        return _told(given)

    world.programs.add("effects", agent, tools=tools)


def orphans(world: World, effects: Effects) -> None:
    """Call a tool that runs in a child process and may be made again."""

    async def agent(run: AgentRun) -> str:
        return str((await run.call_tool("dwells", path=str(effects.path))).ok)

    tools = {"dwells": tool(dwell, name="dwells", effect=Effect.INTERNAL)}
    world.programs.add("orphans", agent, tools=tools)


def _told(given: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in given.items())


STORIES: dict[str, Callable[[World, Effects], None]] = {
    "golden": golden,
    "effects": every_effect,
    "orphans": orphans,
}
