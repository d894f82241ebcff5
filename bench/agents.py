"""The plain agents of the measurements, and the tool of the bursts."""

from __future__ import annotations

from bench.burst import EXPRESSION, PIECES, RESULT, TOOL
from bench.pace import Pace
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


async def paced(run: AgentRun) -> None:
    """Say tokens at the pace that the message asks for."""
    await run.stream(Pace.parse(run.text).walk)
