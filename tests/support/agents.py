"""Agents and tools that the system tests configure in a real server process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from cloche.agents.function import AgentRun, Write


async def echo(run: AgentRun) -> str:
    """Say what was said."""
    return run.text


_HEARD: list[str] = []


async def gossip(run: AgentRun) -> str:
    """Say what everybody said: a mistake of its author, who keeps it in the process."""
    _HEARD.append(run.text)
    return " ".join(_HEARD)


async def worker(run: AgentRun) -> None:
    """The golden path: think, call a tool whose effect is a line in a file, stream slowly, answer."""
    await run.think("looking at it")
    result = await run.call_tool("note", line=run.text)

    async def writing(write: Write) -> None:
        for number in range(40):
            await write(f"{number} ")
            await asyncio.sleep(0.05)
        await write(f"noted {result.value}")

    await run.stream(writing)


async def raises(run: AgentRun) -> None:
    """Raise."""
    raise RuntimeError("a secret text")


async def nothing(run: AgentRun) -> None:
    """Return nothing."""


async def hangs(run: AgentRun) -> None:
    """Wait for ever."""
    await asyncio.get_running_loop().create_future()


async def endless(run: AgentRun) -> None:
    """Stream for ever."""

    async def writing(write: Write) -> None:
        while True:
            await write("on and on ")
            await asyncio.sleep(0.01)

    await run.stream(writing)


async def calls(run: AgentRun) -> str:
    """Call the tool that the message names."""
    result = await run.call_tool(run.text.strip())
    if result.ok:
        return f"ok {len(str(result.value))}"
    return f"failed {result.failure.code if result.failure else ''}"


def note(line: str) -> int:
    """Append a line to the notes of this folder; how many there are now."""
    notes = Path(os.environ["TEST_NOTES"])
    with notes.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return len(notes.read_text(encoding="utf-8").splitlines())


async def async_note(line: str) -> int:
    """Append a line to the notes of this folder, on the event loop; how many there are now."""
    return note(line)


def explode() -> None:
    """Raise."""
    raise RuntimeError("a secret text")


def sleepy() -> None:
    """Sleep for ever."""
    while True:
        time.sleep(3600)


def deaf() -> None:
    """Ignore SIGTERM and cancellation, for ever."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)


async def stubborn() -> None:
    """Ignore cancellation on the event loop, for ever."""
    while True:
        try:
            await asyncio.get_running_loop().create_future()
        except BaseException:  # noqa: BLE001
            continue


def huge() -> str:
    """Return 50 MB."""
    return "x" * 50_000_000
