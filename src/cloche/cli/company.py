"""Several who walk the golden path at the same time, and know of each other only what they must never see."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What tells one user's things from all others': a word in the messages, and ids."""

    canary: str
    thread_id: str | None = None
    run_id: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(word for word in (self.canary, self.thread_id, self.run_id) if word)


class Company:
    """A number of check-ups that wait for each other twice: with their runs done, and with their looks done.

    Each of them must come to both places, whatever it found on the way.
    """

    def __init__(self, size: int) -> None:
        self._met = asyncio.Barrier(size)
        self._done = asyncio.Barrier(size)
        self._marks: list[Marks] = []

    async def meet(self, marks: Marks) -> tuple[Marks, ...]:
        """Everybody's run is over; the marks of the others, beginning with those of the next one in a circle."""
        place = len(self._marks)
        self._marks.append(marks)
        await self._met.wait()
        return (*self._marks[place + 1 :], *self._marks[:place])

    async def part(self) -> None:
        """Everybody has looked; what was made may be put away."""
        await self._done.wait()
