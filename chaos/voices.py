"""The agent that the harnesses listen to."""

from __future__ import annotations

import asyncio

from cloche.agents.function import AgentRun, Write


async def talks(run: AgentRun) -> None:
    """Do what the message asks for, ``thoughts pieces pause_ms size``.

    So many thoughts, as fast as they are taken; then so many pieces of a message of that size, with a pause after each.
    """
    thoughts, pieces, pause_ms, size = (int(word) for word in run.text.split())
    for number in range(thoughts):
        await run.think(f"thought {number}")

    async def writing(write: Write) -> None:
        for number in range(pieces):
            await write(f"{number} ".ljust(size, "."))
            await asyncio.sleep(pause_ms / 1000)

    await run.stream(writing)
