"""The plain agent of the measurements, and the tool of both agents."""

from __future__ import annotations

from bench.burst import EXPRESSION, PIECES, RESULT, TOOL
from cloche.agents.function import AgentRun, Write


async def calculator(expression: str) -> str:
    """Calculate; on the event loop, and at once."""
    return RESULT


async def burst(run: AgentRun) -> None:
    """Call the tool, then say fifty pieces as fast as they are taken."""
    await run.call_tool(TOOL, expression=EXPRESSION)

    async def writing(write: Write) -> None:
        for piece in PIECES:
            await write(piece)

    await run.stream(writing)
