"""The load of a long thread: runs on one that has many already, in turn with first runs on empty ones."""

from __future__ import annotations

import argparse
import asyncio
import time

from bench.burst import ASKED
from bench.generator import Found, Meter, Stage, parser, people_in, quantiles_ms, run
from bench.wires import Websocket

_RUN_S = 30.0
_WARM_UP = 40


class Talker:
    """One socket, on which one thing happens at a time."""

    def __init__(self, stage: Stage, path: str, token: str) -> None:
        self.waiting: asyncio.Future[None] = stage.loop.create_future()
        self.wire = Websocket(path, token, self._done, self._frame)
        self._stage = stage
        self._sent = 0

    async def follow(self, thread_id: str) -> None:
        await self._ask({"op": "subscribe", "thread_id": thread_id})

    async def unfollow(self, thread_id: str) -> None:
        await self._ask({"op": "unsubscribe", "thread_id": thread_id})

    async def run_on(self, thread_id: str) -> float:
        """Seconds from the message to the end of its run."""
        started = time.perf_counter()
        await self._ask(
            {"op": "send", "thread_id": thread_id, "client_message_id": f"message-{self._sent}", "text": ASKED}
        )
        return time.perf_counter() - started

    async def _ask(self, message: dict[str, object]) -> None:
        self._sent += 1
        self.waiting = self._stage.loop.create_future()
        self.wire.say({**message, "ref": self._sent})
        await self._stage.wait([self.waiting], within_s=_RUN_S)

    def _done(self) -> None:
        if not self.waiting.done():
            self.waiting.set_result(None)

    def _frame(self, frame: bytes, _: float) -> None:
        if b'"ok":false' in frame or b'"type":"agent_failed"' in frame:
            raise ConnectionError(f"the server refused: {frame!r}")
        # A message is over with its run's end, anything else with its answer.
        if b'"type":"agent_completed"' in frame or (b'"ok":true' in frame and b'"run_id"' not in frame):
            self._done()


async def measure(options: argparse.Namespace) -> Found:
    """The processor time of runs on the long thread over that of first runs, in blocks that take turns."""
    stage = Stage(options.url, options.pid)
    person = people_in(options.people)[0]
    talker = Talker(stage, f"{options.prefix}/v1/ws", person.token)
    await stage.connect(talker.wire)
    await stage.wait([talker.waiting], within_s=_RUN_S)
    fresh = iter(person.threads)
    warm, long_thread = next(fresh), next(fresh)
    for thread_id, runs in ((warm, _WARM_UP), (long_thread, options.runs)):
        await talker.follow(thread_id)
        for _ in range(runs):
            await talker.run_on(thread_id)
    first, late = list[Found](), list[Found]()
    for _ in range(options.blocks):
        threads = [next(fresh) for _ in range(options.block)]
        for thread_id in threads:
            await talker.follow(thread_id)
        first.append(await _block(talker, options.pid, threads))
        for thread_id in threads:
            await talker.unfollow(thread_id)
        late.append(await _block(talker, options.pid, [long_thread] * options.block))
    talker.wire.leave()
    return {"runs_before": options.runs, "first": first, "late": late}


async def _block(talker: Talker, pid: int, threads: list[str]) -> Found:
    meter = Meter(pid)
    seconds = [await talker.run_on(thread_id) for thread_id in threads]
    used = meter.read()
    return {"cpu_ms_per_run": 1000 * used["server_cpu_s"] / len(threads), "run_ms": quantiles_ms(seconds), **used}


def main() -> None:
    options = parser("bench.thread_load")
    options.add_argument("--runs", type=int, default=490, help="on the long thread before it is measured")
    options.add_argument("--block", type=int, default=10, help="runs that are measured together")
    options.add_argument("--blocks", type=int, default=8)
    run(measure, options.parse_args())


if __name__ == "__main__":
    main()
