"""What every load process has: its options, a watch on what goes wrong, and its own use of the processor."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvloop

from bench.usage import cpu_time
from bench.wires import Wire

W = TypeVar("W", bound=Wire)
Found = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user with an open session, and threads that nothing has happened on."""

    token: str
    threads: list[str]


class Stage:
    """Where the clients of one load process live: the first thing that goes wrong ends the measurement."""

    def __init__(self, url: str, pid: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = pid
        self.broken: asyncio.Future[None] = self.loop.create_future()
        address = urlsplit(url)
        assert address.hostname, "a server says all of its address"
        assert address.port, "a server says all of its address"
        self._host, self._port = address.hostname, address.port
        self.loop.set_exception_handler(self._fail)

    async def connect(self, wire: W) -> W:
        await self.loop.create_connection(lambda: wire, self._host, self._port)
        return wire

    async def wait(self, wanted: Sequence[asyncio.Future[None]], *, within_s: float) -> None:
        """All of these are done, or the first failure is raised."""
        if wanted:
            done = asyncio.gather(*wanted)
            await asyncio.wait({done, self.broken}, return_when=asyncio.FIRST_COMPLETED, timeout=within_s)
            if not done.done():
                done.cancel()
                missing = sum(not future.done() for future in wanted)
                self._check()
                raise TimeoutError(f"after {within_s:.0f} s {missing} of {len(wanted)} still wait")
        self._check()

    async def rest(self, seconds: float) -> None:
        await asyncio.wait({self.broken}, timeout=seconds)
        self._check()

    def _check(self) -> None:
        if self.broken.done():
            self.broken.result()

    def _fail(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.broken.done():
            self.broken.set_exception(context.get("exception") or RuntimeError(context["message"]))


class Meter:
    """The processor time of the server and of this process since it was made."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._server = cpu_time(pid)
        self._own_s = time.process_time()
        self._started = time.perf_counter()

    def read(self) -> Found:
        """Seconds gone by, the cores that were used, and the server's processor seconds."""
        seconds = time.perf_counter() - self._started
        after, own_s = cpu_time(self._pid), time.process_time() - self._own_s
        total_s = after.total_s - self._server.total_s
        return {
            "seconds": round(seconds, 3),
            "server_cpu_s": round(total_s, 6),
            "server_cpu": round(total_s / seconds, 4),
            "server_loop_cpu": round((after.loop_s - self._server.loop_s) / seconds, 4),
            "load_cpu": round(own_s / seconds, 4),
            "machine_load": round(os.getloadavg()[0], 2),
        }


def quantiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        name: round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 3)
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
    }


def parser(name: str) -> argparse.ArgumentParser:
    """The options that each load process has."""
    made = argparse.ArgumentParser(prog=name)
    made.add_argument("--url", required=True)
    made.add_argument("--prefix", default="", help="of every path")
    made.add_argument("--people", required=True, type=Path, help="a file with who they are")
    made.add_argument("--pid", type=int, required=True, help="of the server")
    made.add_argument("--bare", action="store_true", help="the server has no threads and answers nothing")
    return made


def people_in(file: Path) -> list[Person]:
    return [Person(**person) for person in json.loads(file.read_text(encoding="ascii"))]


def run(measure: Callable[[argparse.Namespace], Awaitable[Found]], options: argparse.Namespace) -> None:
    """The findings are on standard output."""

    async def measured() -> Found:
        return await measure(options)

    json.dump(uvloop.run(measured()), sys.stdout)
    print()
