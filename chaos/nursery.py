"""Where victims come from: a process that has imported everything, and forks one for each life of a case.

It starts no thread and no event loop of its own, so a fork of it is as good as a fresh process, and costs a few
milliseconds. The harness talks to it in lines of JSON.
"""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

T = TypeVar("T")
R = TypeVar("R")

ROOT = Path(__file__).parent.parent
PREPARE = "prepare"
LIVE = "live"


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a case: what it does, and where it ends.

    ``point`` is the failpoint at whose ``occurrence`` it is killed, or stopped as by SIGSTOP when ``stops``. ``plant``
    names a fault that is put into the program. ``gated`` lives wait for somebody to open their gate, a FIFO.
    """

    folder: str
    does: str = LIVE
    story: str = "golden"
    point: str = ""
    occurrence: int = 1
    stops: bool = False
    plant: str = ""
    lists: bool = False
    gated: bool = False
    shares: bool = False
    limit_s: int = 20


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the nursery: one of starting a life, waiting for a process, and waking a stopped one."""

    life: Life | None = None
    wait: int = 0
    wake: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The process, and after a wait how it is: ``exit:N``, ``signal:N`` or ``stopped``."""

    pid: int
    state: str = ""


class Nursery:
    """One warmed process. Used by one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.victim"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, life: Life) -> int:
        """The life has begun; its process id."""
        return self._ask(Request(life=life)).pid

    def wait(self, pid: int) -> str:
        """How the process ended, or that it is stopped."""
        return self._ask(Request(wait=pid)).state

    def wake(self, pid: int) -> None:
        """A stopped process goes on."""
        self._ask(Request(wake=pid))

    def live(self, life: Life) -> str:
        """A whole life, and how it ended."""
        return self.wait(self.start(life))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery is gone")
        return msgspec.json.decode(line, type=Answer)


class Nurseries:
    """Some nurseries, and a thread for each: cases are worked through side by side."""

    def __init__(self, nurseries: list[Nursery], pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._free: queue.SimpleQueue[Nursery] = queue.SimpleQueue()
        for nursery in nurseries:
            self._free.put(nursery)

    def each(self, work: Callable[[Nursery, T], R], cases: Iterable[T]) -> Generator[R]:
        """What ``work`` gives for each case, in their order."""

        def taken(case: T) -> R:
            nursery = self._free.get()
            try:
                return work(nursery, case)
            finally:
                self._free.put(nursery)

        yield from self._pool.map(taken, cases)

    def one(self, work: Callable[[Nursery, T], R], case: T) -> R:
        """What ``work`` gives for the case."""
        return next(self.each(work, [case]))


@contextmanager
def opened_nurseries(count: int = 2) -> Generator[Nurseries]:
    """So many nurseries, gone with all their children at the end of the block."""
    with ExitStack() as stack:
        nurseries = [stack.enter_context(Nursery()) for _ in range(count)]
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=count))
        yield Nurseries(nurseries, pool)
