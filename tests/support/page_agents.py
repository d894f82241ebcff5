"""Agents and tools for the tests of the page."""

from __future__ import annotations

import asyncio

from cloche.agents.function import AgentRun, Write
from cloche.domain.approvals import ApprovalState

WORDS = 60


async def guide(run: AgentRun) -> None:
    """Think, look something up, ask before writing, and answer in Markdown."""
    await run.think("I look it up first, then I write it down.")
    found = await run.call_tool("look", subject=run.text)
    noted = await run.call_tool("note", line=run.text)

    async def writing(write: Write) -> None:
        await write(f"I found **{found.value}**.\n\n| what | how many |\n|---|---|\n| notes | {noted.value} |\n\n")
        await write("```python\nprint('done')\n```\n\n")
        for number in range(10):
            await write(f"word{number} ")
            await asyncio.sleep(0.02)

    await run.stream(writing)


async def slow(run: AgentRun) -> None:
    """Answer a word at a time, for three seconds."""

    async def writing(write: Write) -> None:
        for number in range(WORDS):
            await write(f"word{number} ")
            await asyncio.sleep(0.05)
        await write("the end")

    await run.stream(writing)


async def hostile(run: AgentRun) -> None:
    """Show what was said in every place where an agent's words are shown."""
    await run.think(run.text)
    result = await run.call_tool("repeat", text=run.text)

    async def writing(write: Write) -> None:
        await write(str(result.value))

    await run.stream(writing)


async def confides(run: AgentRun) -> str:
    """Put what was said into every place that an agent has for words; fail with it when the person says no."""
    words = run.text
    await run.think(words)
    await run.call_tool(words, words=words)
    repeated = await run.call_tool("repeat", text=words)
    answer = await run.ask(f"May I tell {words}?", arguments={"words": words})
    if answer.state is not ApprovalState.APPROVED:
        raise RuntimeError(words)
    await run.call_tool("note", line=words)
    return str(repeated.value)


async def look(subject: str) -> str:
    """Look a subject up.

    Args:
        subject: what to look for.
    """
    return f"{len(subject)} letters"


async def repeat(text: str) -> str:
    """Say it again."""
    return text
