"""Dispatch inside one process: who shall look at which run, and whom to tell of a cancel.

The database is the truth, the bus is a hint: an offer that is lost is made again by the sweep.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cloche.domain.runs import RunRef
from cloche.ids import RunId

MAX_OFFERS = 100_000

CancelListener = Callable[[RunRef], None]


class Bus(Protocol):
    """Offers of runs to workers, and signals that a run shall stop."""

    def offer(self, ref: RunRef) -> None:
        """Some worker is told of the run, at least once. Returns at once; an offer of a run already waiting is one."""
        ...

    async def take(self) -> RunRef:
        """The next offered run, in the order of the offers.

        Cancellation: safe; an offer is either returned or stays.
        """
        ...

    def signal_cancel(self, ref: RunRef) -> None:
        """Whoever works on the run is told to look at its state."""
        ...

    def on_cancel(self, listener: CancelListener) -> None:
        """``listener`` hears of every cancel signal."""
        ...

    @property
    def depth(self) -> int:
        """How many offers wait."""
        ...


class LocalBus:
    """The bus of the embedded default."""

    def __init__(self) -> None:
        self._offers: deque[RunRef] = deque()
        self._waiting: set[RunId] = set()
        self._arrived = asyncio.Event()
        self._listeners: list[CancelListener] = []

    @property
    def depth(self) -> int:
        """See ``Bus.depth``."""
        return len(self._offers)

    def offer(self, ref: RunRef) -> None:
        """See ``Bus.offer``. Beyond ``MAX_OFFERS`` an offer is left to the sweep."""
        if ref.run_id in self._waiting or len(self._offers) >= MAX_OFFERS:
            return
        self._waiting.add(ref.run_id)
        self._offers.append(ref)
        self._arrived.set()

    async def take(self) -> RunRef:
        """See ``Bus.take``."""
        while not self._offers:
            self._arrived.clear()
            await self._arrived.wait()
        ref = self._offers.popleft()
        self._waiting.discard(ref.run_id)
        return ref

    def is_offered(self, run_id: RunId) -> bool:
        """Whether an offer of the run waits. With ``MAX_OFFERS`` of them it may be one that was left to the sweep."""
        return run_id in self._waiting or len(self._offers) >= MAX_OFFERS

    def signal_cancel(self, ref: RunRef) -> None:
        """See ``Bus.signal_cancel``."""
        for listener in self._listeners:
            listener(ref)

    def on_cancel(self, listener: CancelListener) -> None:
        """See ``Bus.on_cancel``."""
        self._listeners.append(listener)
