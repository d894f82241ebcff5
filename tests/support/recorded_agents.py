"""Agents and tools whose logs are recorded for the page's tests: each does one thing that a log can tell of."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

from cloche.agents.function import AgentRun, Write
from cloche.tools.tool import ToolContext


async def teller(run: AgentRun) -> None:
    """Think, and answer in pieces."""
    await run.think("About what was asked. ")
    await run.think("Now the answer.")

    async def writing(write: Write) -> None:
        for piece in ("Some **words**", " in a few", " pieces."):
            await write(piece)
            await asyncio.sleep(0.05)

    await run.stream(writing)


async def user_of_tools(run: AgentRun) -> str:
    """Say something, use a tool that works and one that does not, and answer."""
    await run.say("First the tools.")
    counted = await run.call_tool("counts", to=3)
    broken = await run.call_tool("breaks")
    return f"{counted.value} and {broken.failure.code if broken.failure else 'nothing'}"


async def asker(run: AgentRun) -> str:
    """Call a tool for which a person is asked."""
    paid = await run.call_tool("pays", amount=10)
    return f"paid {paid.value}" if paid.ok else f"not paid: {paid.failure.code if paid.failure else ''}"


async def impatient(run: AgentRun) -> str:
    """Ask a person who has no time to answer."""
    answer = await run.ask("Well?", expires_in=timedelta(milliseconds=300))
    return f"It was {answer.state}."


async def at_a_tool(run: AgentRun) -> None:
    """Say half of something while a tool works that does not end."""
    await run.say("It takes a while.")
    await run.call_tool("waits")


async def long_winded(run: AgentRun) -> None:
    """Talk without an end; where its process died before, come to one."""

    async def writing(write: Write) -> None:
        for number in range(5 if run.attempt > 1 else 10_000):
            await write(f"{number} ")
            await asyncio.sleep(0.02)

    await run.think("This may take long.")
    await run.stream(writing)


async def deadly(run: AgentRun) -> None:
    """Take the whole process along, each time."""
    await run.think(f"attempt {run.attempt}")
    os.kill(os.getpid(), signal.SIGKILL)


async def counts(context: ToolContext, to: int) -> dict[str, int]:
    """Count."""
    for number in range(1, to + 1):
        context.progress(f"{number} of {to}", number / to)
        await asyncio.sleep(0.05)
    return {"counted": to}


async def breaks() -> None:
    """Raise."""
    raise RuntimeError("nobody reads this")


async def pays(amount: int) -> int:
    """Pay."""
    return amount


async def waits() -> None:
    """Wait for ever."""
    await asyncio.get_running_loop().create_future()
