"""The load of idle connections: sockets that follow a thread each, on which nothing happens."""

from __future__ import annotations

import argparse
import asyncio
import time

from bench.generator import Found, Meter, Person, Stage, parser, people_in, run
from bench.usage import resident_mb
from bench.wires import Websocket

_OPEN_S = 60.0
_AT_ONCE = 50
_SETTLE_S = 1.5
_WARM_UP = 10


class Idler:
    """One socket; ``opened`` is done when its thread is followed."""

    def __init__(self, stage: Stage, person: Person, path: str) -> None:
        self.opened: asyncio.Future[None] = stage.loop.create_future()
        self._thread_id = person.threads[0]
        self.wire = Websocket(path, person.token, self._subscribe, self._frame)

    def _subscribe(self) -> None:
        self.wire.say({"op": "subscribe", "ref": 0, "thread_id": self._thread_id})

    def _frame(self, frame: bytes, _: float) -> None:
        if b'"ok":false' in frame:
            raise ConnectionError(f"the server refused: {frame!r}")
        if b'"head_seq"' in frame and not self.opened.done():
            self.opened.set_result(None)


async def _come(stage: Stage, people: list[Person], path: str) -> list[Websocket]:
    idlers = [Idler(stage, person, path) for person in people]
    waiting = iter(idlers)

    async def connect() -> None:
        for idler in waiting:
            await stage.connect(idler.wire)
            await stage.wait([idler.opened], within_s=_OPEN_S)

    await asyncio.gather(*(connect() for _ in range(_AT_ONCE)))
    return [idler.wire for idler in idlers]


async def measure(options: argparse.Namespace) -> Found:
    """For each number of connections: the rate at which they came, what they weigh, and what they cost at rest."""
    stage, people = Stage(options.url, options.pid), people_in(options.people)
    path = f"{options.prefix}/v1/ws"
    # What the first connections load stays, and is not theirs.
    for wire in await _come(stage, people[:_WARM_UP], path):
        wire.leave()
    await stage.rest(_SETTLE_S)
    before_mb, steps, wires = resident_mb(options.pid), list[Found](), list[Websocket]()
    for count in options.counts:
        started, meter = time.perf_counter(), Meter(options.pid)
        coming = people[_WARM_UP + len(wires) : _WARM_UP + count]
        wires += await _come(stage, coming, path)
        seconds, used = time.perf_counter() - started, meter.read()
        await stage.rest(_SETTLE_S)
        meter = Meter(options.pid)
        await stage.rest(options.seconds)
        grown_mb = resident_mb(options.pid) - before_mb
        steps.append(
            {
                "connections": count,
                "kib_per_connection": round(grown_mb * 1024 / count, 1),
                "connects_per_s": round(len(coming) / seconds, 1),
                "cpu_ms_per_connect": round(1000 * used["server_cpu_s"] / len(coming), 3),
                "connecting_load_cpu": used["load_cpu"],
                **meter.read(),
            }
        )
    for wire in wires:
        wire.leave()
    return {"steps": steps, "before_mb": round(before_mb, 1)}


def main() -> None:
    options = parser("bench.idle_load")
    options.add_argument("--counts", type=lambda text: [int(number) for number in text.split(",")], required=True)
    options.add_argument("--seconds", type=float, default=20.0, help="at rest; each connection is pinged every 20 s")
    run(measure, options.parse_args())


if __name__ == "__main__":
    main()
