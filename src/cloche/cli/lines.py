"""Lines of standard input: one when it is asked for, while everything else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import queue
import sys
import termios
import threading
from collections.abc import Callable, Generator

Reader = Callable[[str], str | None]
"""Shows a prompt, waits, and gives a line without its end; None when there are no more. Runs in a thread of its own."""


def piped_line(_prompt: str) -> str | None:
    """The next line of standard input, without asking for it."""
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def typed_line(prompt: str) -> str | None:
    """The next line that a person types, with the terminal's editing and history."""
    try:
        return input(prompt)
    except EOFError:
        return None


@contextlib.contextmanager
def terminal_kept() -> Generator[None]:
    """The terminal is as before at the end of the block, even when a line was being edited."""
    with contextlib.suppress(ImportError):
        # Its import alone gives ``input`` editing and history; it belongs to a terminal only.
        importlib.import_module("readline")
    found = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, found)


class Lines:
    """Asks for lines through a reader that blocks.

    The reading thread is a daemon: a line that nobody types does not keep the program from ending.
    """

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._wanted: queue.SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Future[str | None]]] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    async def ask(self, prompt: str) -> str | None:
        """The next line; None when there are no more. One caller at a time.

        Cancellation: safe, but a line that is typed after it goes nowhere.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="cloche-lines", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str | None] = loop.create_future()
        self._wanted.put((prompt, loop, future))
        return await future

    def _serve(self) -> None:
        while True:
            prompt, loop, future = self._wanted.get()
            line = self._read(prompt)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_fulfil, future, line)


def _fulfil(future: asyncio.Future[str | None], line: str | None) -> None:
    if not future.done():
        future.set_result(line)
