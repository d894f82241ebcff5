"""Running foreign code so that it can be stopped: asked first, and put down when it does not listen."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending(Generic[T]):
    """How supervised code ended: with a value, with an error, or stopped. ``forced`` when it had to be put down."""

    value: T | None = None
    error: BaseException | None = None
    stopped: bool = False
    forced: bool = False


class _Driven(Generic[T]):
    """A coroutine that is stepped by hand, so that it can be left standing where it awaits."""

    def __init__(self, coroutine: Coroutine[object, object, T]) -> None:
        self._coroutine = coroutine
        self.put_down = False

    def __await__(self) -> Generator[object, object, T]:
        error: BaseException | None = None
        answer: object = None
        while True:
            try:
                waits_for = self._coroutine.send(answer) if error is None else self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            try:
                answer, error = (yield waits_for), None
            except BaseException as thrown:
                if self.put_down:
                    self.close()
                    raise
                answer, error = None, thrown

    def close(self) -> None:
        """The coroutine is closed, or left standing for ever where it awaits."""
        chain = _awaited(self._coroutine)
        try:
            self._coroutine.close()
        except RuntimeError:
            # It awaited something even while being closed. Nothing resumes it any more.
            for coroutine in chain:
                if getattr(coroutine, "cr_frame", None) is not None:
                    _keep_for_ever(coroutine)


def _keep_for_ever(coroutine: object) -> None:
    """The coroutine is never finalized, not even when the interpreter ends.

    A finalizer closes it once more, and code that swallows everything would spin there for ever, in whatever thread it is.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))


def _awaited(coroutine: object) -> list[object]:
    """The coroutine and those that it awaits, outermost first."""
    chain: list[object] = []
    while coroutine is not None:
        chain.append(coroutine)
        coroutine = getattr(coroutine, "cr_await", None)
    return chain


class Supervised(Generic[T]):
    """A coroutine in a task of its own, with a stop that works.

    Guarantees: after ``stop`` the code is cancelled, and ``grace_s`` later it is put down at its next await, whatever it
    does with the cancellation. Code that blocks the event loop cannot be stopped; blocking tools run in a process.
    """

    def __init__(self, coroutine: Coroutine[object, object, T], *, grace_s: float) -> None:
        self._driven = _Driven(coroutine)
        self._grace_s = grace_s
        self._task: asyncio.Task[Ending[T]] | None = None
        self._stopping = False
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def stopping(self) -> bool:
        """The code was asked to stop."""
        return self._stopping

    def stop(self) -> None:
        """The code is asked to stop, and will be put down at the grace limit. More calls change nothing."""
        if self._stopping:
            return
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            self._timers.append(asyncio.get_running_loop().call_later(self._grace_s, self._put_down))

    def stop_after(self, seconds: float) -> None:
        """The code is asked to stop after that time, unless it has ended."""
        self._timers.append(asyncio.get_running_loop().call_later(max(seconds, 0), self.stop))

    async def run(self) -> Ending[T]:
        """How the code ended.

        Cancellation: the code is stopped first (at most ``grace_s`` later), then the cancellation travels on.
        """
        cancelled = False
        try:
            async with asyncio.TaskGroup() as group:
                self._task = group.create_task(self._drive())
                if self._stopping:
                    self._stopping = False
                    self.stop()
                while not self._task.done():
                    try:
                        await asyncio.wait({self._task})
                    except asyncio.CancelledError:
                        cancelled = True
                        self.stop()
        finally:
            for timer in self._timers:
                timer.cancel()
        if self._task.cancelled():
            # Stopped before its first step.
            self._driven.close()
        if cancelled:
            raise asyncio.CancelledError
        return Ending(stopped=True) if self._task.cancelled() else self._task.result()

    async def _drive(self) -> Ending[T]:
        try:
            return Ending(value=await self._driven)
        except asyncio.CancelledError:
            return Ending(stopped=True, forced=self._driven.put_down)
        except BaseException as error:  # noqa: BLE001 -- the boundary of foreign code: SystemExit ends a run, not us
            return Ending(error=error)

    def _put_down(self) -> None:
        if self._task is not None and not self._task.done():
            self._driven.put_down = True
            self._task.cancel()
