"""A database that fails, or is held, for as long as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from cloche.storage.database import Database, Work

T = TypeVar("T")


async def eventually(condition: Callable[[], object]) -> None:
    """The condition holds, after at most five seconds of letting others go on."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 -- what is waited for has no event of its own
            await asyncio.sleep(0)


class FaultyDatabase:
    """The real database, except that writes raise ``failing`` while it is set, and wait while they are held.
    ``fail_next`` fails as many writes as it has errors.

    A write that is refused never reaches the engine; one that is held reaches it afterwards, even when its caller has
    gone away.
    """

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.failing: Exception | None = None
        self.fail_next: list[Exception] = []
        self.refused = 0
        self.written = 0
        self.reached = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self.reached.clear()
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def write(self, work: Work[T]) -> T:
        self.reached.set()
        await self._open.wait()
        if self.failing is not None or self.fail_next:
            self.refused += 1
            raise self.failing or self.fail_next.pop(0)
        done = await self._inner.write(work)
        self.written += 1
        return done

    def when_free(self, callback: Callable[[], None]) -> bool:
        return self._inner.when_free(callback)

    async def read(self, work: Work[T]) -> T:
        return await self._inner.read(work)

    async def ping(self) -> float:
        return await self._inner.ping()

    async def aclose(self) -> None:
        await self._inner.aclose()
