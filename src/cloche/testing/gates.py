"""A place inside a transaction where it stands still until a test lets it go on."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

PATIENCE_S = 10.0


class Gate:
    """One side of a race is held here. Made on the test's loop; open at the end of its ``with`` block at the latest.

    Guarantees: works for engines that run a transaction in a thread of their own (the thread waits) and for those that
    run it on the loop (the task waits).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open_for_threads = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()

    async def reached(self) -> None:
        """Return when a transaction stands at the gate."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reached.wait()

    def open(self) -> None:
        """Who stands at the gate goes on, and who comes later does not stop."""
        self._open.set()
        self._open_for_threads.set()

    async def stop(self) -> None:
        """For the transaction: stand still until the gate is open.

        Raises:
            TimeoutError: nobody opened it in ``PATIENCE_S`` seconds.
        """
        self._loop.call_soon_threadsafe(self._reached.set)
        if self._is_on_the_loop():
            async with asyncio.timeout(PATIENCE_S):
                await self._open.wait()
        elif not self._open_for_threads.wait(PATIENCE_S):
            raise TimeoutError("nobody opened the gate")

    def _is_on_the_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False
