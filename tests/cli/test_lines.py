from __future__ import annotations

import asyncio
import io
import queue
import sys

import pytest

from cloche.cli.lines import Lines, piped_line, typed_line


async def test_lines_come_one_by_one_with_their_prompts() -> None:
    prompts: list[str] = []

    def read(prompt: str) -> str | None:
        prompts.append(prompt)
        return f"line {len(prompts)}"

    lines = Lines(read)

    assert [await lines.ask("a> "), await lines.ask("b> ")] == ["line 1", "line 2"]
    assert prompts == ["a> ", "b> "]


async def test_the_loop_goes_on_while_nobody_types() -> None:
    typed: queue.SimpleQueue[str] = queue.SimpleQueue()
    lines = Lines(lambda _: typed.get())

    async with asyncio.TaskGroup() as group:
        asked = group.create_task(lines.ask("> "))
        await asyncio.sleep(0)
        assert not asked.done()
        typed.put("at last")

    assert asked.result() == "at last"


async def test_a_line_that_nobody_waits_for_any_more_is_dropped() -> None:
    typed: queue.SimpleQueue[str] = queue.SimpleQueue()
    lines = Lines(lambda _: typed.get())

    async with asyncio.TaskGroup() as group:
        first = group.create_task(lines.ask("> "))
        await asyncio.sleep(0)
        first.cancel()
    typed.put("too late")
    typed.put("in time")

    assert await lines.ask("> ") == "in time"


def test_a_pipe_ends_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\r\n\nlast"))

    assert [piped_line("") for _ in range(4)] == ["one", "", "last", None]


def test_a_terminal_ends_with_the_key_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n"))

    assert [typed_line(""), typed_line("")] == ["one", None]
