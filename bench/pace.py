"""A message said at a pace: each token carries its number and the moment at which it was due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """``count`` tokens, one each ``gap_ms``."""

    count: int
    gap_ms: float

    def __str__(self) -> str:
        return f"{self.count} {self.gap_ms}"

    @classmethod
    def parse(cls, text: str) -> Pace:
        count, gap_ms = text.split()
        return cls(count=int(count), gap_ms=float(gap_ms))

    async def walk(self, say: Callable[[str], Awaitable[None]]) -> None:
        """Say every token when it is due. One that comes late is followed by the next at its own time, not later, so
        that a stall is seen by every token in it.
        """
        loop = asyncio.get_running_loop()
        begun, begun_us = loop.time(), time.time_ns() // 1000
        for number in range(self.count):
            after_s = number * self.gap_ms / 1000
            await asyncio.sleep(max(begun + after_s - loop.time(), 0))
            await say(f" {number}:{begun_us + round(after_s * 1_000_000)}")


def tokens_in(text: str) -> list[tuple[int, float]]:
    """The numbers of the tokens, and when each was due in seconds since 1970."""
    found: list[tuple[int, float]] = []
    for token in text.split():
        number, _, due_us = token.partition(":")
        found.append((int(number), int(due_us) / 1_000_000))
    return found
