"""An event loop without threads, sockets or a clock: what is ready runs in an order that a seed chooses.

Time stands still while anything is ready, and jumps to the next timer when nothing is. A process is a value of
``PROCESS`` in the context of its callbacks: a frozen process runs nothing, as after SIGSTOP or, for ever, SIGKILL.
"""

# asyncio's own loops reach into its handles, and so does this one.
# ruff: noqa: ANN401, SLF001

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Callable
from contextvars import ContextVar
from random import Random
from typing import Any

PROCESS: ContextVar[int] = ContextVar("PROCESS", default=0)

MAX_STEPS = 200_000


class EndlessScheduleError(Exception):
    """The schedule did not come to an end."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one schedule.

    Args:
        chance: draws every choice; the same seed gives the same schedule.
        disorder: how often, from 0 to 1, the next callback is any ready one and not the one that waits longest. At 0 the
            order is asyncio's own, and only delays differ from seed to seed.
    """

    def __init__(self, chance: Random, disorder: float) -> None:
        super().__init__()
        self.chance = chance
        self._disorder = disorder
        self._present = 0.0
        self._frozen: dict[int, list[Any]] = {}
        self._quiet: asyncio.Future[None] | None = None
        # Hears of each tool call: the tool, the mark that it was called with, and the id of the call.
        self.called: Callable[[str, str, str], None] = lambda _name, _mark, _call: None
        self.steps = 0
        self.faults: list[str] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._present

    async def quiet(self) -> None:
        """Nothing is ready, and no timer runs: whatever still waits, waits for its caller."""
        assert self._quiet is None, "one waits for quiet at a time"
        self._quiet = self.create_future()
        try:
            await self._quiet
        finally:
            self._quiet = None

    def freeze(self, process: int) -> None:
        """Nothing of the process runs from now on."""
        timers = self._all_timers()
        self._frozen[process] = [timer for timer in timers if _process_of(timer) == process]
        kept = [timer for timer in timers if _process_of(timer) != process]
        heapq.heapify(kept)
        self._set_timers(kept)

    def thaw(self, process: int) -> None:
        """The process goes on where it stood; what was due meanwhile is due now."""
        for handle in self._frozen.pop(process, ()):
            if isinstance(handle, events.TimerHandle) and handle.when() > self._present:
                heapq.heappush(self._all_timers(), handle)
            else:
                self._callbacks.append(handle)

    def come_to_an_end(self) -> None:
        """From now on everything runs, in asyncio's own order."""
        self._disorder = 0.0
        for process in tuple(self._frozen):
            self.thaw(process)

    @property
    def _callbacks(self) -> Any:
        return self._ready  # type: ignore[attr-defined]

    def _all_timers(self) -> Any:
        return self._scheduled  # type: ignore[attr-defined]

    def _set_timers(self, timers: list[Any]) -> None:
        self._scheduled = timers

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        timers = self._scheduled
        if not ready:
            self._pass_time(timers)
        while timers and timers[0].when() <= self._present:
            ready.append(heapq.heappop(timers))
        if not ready:
            return
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise EndlessScheduleError(f"still busy after {MAX_STEPS} steps")
        if self._disorder and len(ready) > 1 and self.chance.random() < self._disorder:
            place = int(self.chance.random() * len(ready))
            handle = ready[place]
            del ready[place]
        else:
            handle = ready.popleft()
        if handle.cancelled():
            return
        if self._frozen and (parked := self._frozen.get(_process_of(handle))) is not None:
            parked.append(handle)
            return
        handle._run()
        handle = None

    def _pass_time(self, timers: list[Any]) -> None:
        while timers and timers[0].cancelled():
            heapq.heappop(timers)
        if timers:
            self._present = max(self._present, timers[0].when())
        elif self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
        else:
            raise EndlessScheduleError("everything waits, and nothing will ever happen")

    def _timer_handle_cancelled(self, handle: Any) -> None:
        return

    def _process_events(self, event_list: Any) -> None:
        return

    def _write_to_self(self) -> None:
        return


def _process_of(handle: Any) -> int:
    return handle._context.get(PROCESS, 0)
