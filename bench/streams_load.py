"""The load of paced streams and of fan-out: threads that each say a message at a pace, and sockets that follow them.

While tokens flow, frames are only kept, with the time at which they were read; what they say is looked at afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import datetime
from itertools import pairwise

import msgspec

from bench.generator import Found, Meter, Person, Stage, parser, people_in, quantiles_ms, run
from bench.pace import Pace, tokens_in
from bench.wires import Websocket

_OPEN_S = 120.0
_SLACK_S = 90.0
_OF_AGENT = b'"type":"agent_'
_STARTED = b'"type":"agent_started"'
_DELTA = b'"type":"message_delta"'
_OPENED = (b'"stream_opened"', b'"head_seq"')


class _Text(msgspec.Struct):
    text: str = ""


class _Event(msgspec.Struct):
    seq: int
    type: str
    at: str
    data: _Text


class _Frame(msgspec.Struct):
    events: list[_Event]


_READ = msgspec.json.Decoder(_Frame).decode


class Reader:
    """One socket that follows one thread."""

    def __init__(self, stage: Stage, person: Person, thread_id: str, path: str) -> None:
        self.opened: asyncio.Future[None] = stage.loop.create_future()
        self.flowing: asyncio.Future[None] = stage.loop.create_future()
        self.over: asyncio.Future[None] = stage.loop.create_future()
        self.kept: list[tuple[float, bytes]] = []
        self._thread_id = thread_id
        self._wire = Websocket(path, person.token, self._subscribe, self._frame)

    async def come(self, stage: Stage) -> None:
        await stage.connect(self._wire)
        await stage.wait([self.opened], within_s=_OPEN_S)

    def send(self, text: str) -> None:
        said = {"op": "send", "ref": 1, "thread_id": self._thread_id, "client_message_id": "paced", "text": text}
        self._wire.say({**said, "agent": "paced"})

    def leave(self) -> None:
        self._wire.leave()

    def _subscribe(self) -> None:
        self._wire.say({"op": "subscribe", "ref": 0, "thread_id": self._thread_id})

    def _frame(self, frame: bytes, now: float) -> None:
        if frame.startswith(b'{"events"'):
            self.kept.append((now, frame))
            if not self.flowing.done() and _DELTA in frame:
                self.flowing.set_result(None)
            if _OF_AGENT in frame and (_STARTED not in frame or frame.count(_OF_AGENT) > 1):
                self.over.set_result(None)
        elif b'"ok":false' in frame:
            raise ConnectionError(f"the server refused: {frame!r}")
        elif not self.opened.done() and any(mark in frame for mark in _OPENED):
            self.opened.set_result(None)


class Tally:
    """What all readers saw, in the wall-clock seconds from ``begins`` to ``ends``."""

    def __init__(self, wall_at_zero: float, begins: float, ends: float) -> None:
        self.due_s: list[float] = []
        self.commit_s: list[float] = []
        self.tokens = self.deltas = self.lost = self.doubled = self.events = self.frames = 0
        self.first_read: dict[int, float] = {}
        self.behind_first: list[tuple[int, float]] = []
        self._wall_at_zero = wall_at_zero
        self._begins = begins
        self._ends = ends

    def add(self, reader: Reader, count: int) -> None:
        numbers: list[int] = []
        seqs: list[int] = []
        for monotonic, frame in reader.kept:
            read_at = self._wall_at_zero + monotonic
            self.frames += 1
            for event in _READ(frame).events:
                seqs.append(event.seq)
                if event.type == "message_delta":
                    numbers += self._delta(event, read_at)
        self.events += len(seqs)
        self.lost += count - len(set(numbers)) + sum(later - sooner > 1 for sooner, later in pairwise(seqs))
        self.doubled += len(numbers) - len(set(numbers)) + sum(b <= a for a, b in pairwise(numbers))

    def _delta(self, event: _Event, read_at: float) -> list[int]:
        tokens = tokens_in(event.data.text)
        self.tokens += len(tokens)
        self.deltas += 1
        if self._begins <= read_at <= self._ends:
            self.due_s += [read_at - due for _, due in tokens]
            self.commit_s.append(read_at - datetime.fromisoformat(event.at).timestamp())
            self.first_read[event.seq] = min(self.first_read.get(event.seq, read_at), read_at)
            self.behind_first.append((event.seq, read_at))
        return [number for number, _ in tokens]


async def measure(options: argparse.Namespace) -> Found:
    """Everybody follows; then the messages are sent, spread over a time; the clock runs while all of them flow."""
    stage = Stage(options.url, options.pid)
    path = f"{options.prefix}/v1/ws"
    readers: list[Reader] = []
    for person in people_in(options.people)[: options.streams]:
        readers += [Reader(stage, person, person.threads[0], path) for _ in range(options.sockets)]
    assert len(readers) == options.streams * options.sockets, "everybody needs a token"
    for start in range(0, len(readers), 50):
        await asyncio.gather(*(reader.come(stage) for reader in readers[start : start + 50]))

    pace = Pace(count=options.count, gap_ms=options.gap_ms)
    asked = f"{options.joined}x {pace}" if options.joined > 1 else str(pace)
    wall_at_zero = time.time() - time.perf_counter()
    sent_at = time.perf_counter()
    speakers = readers[:: options.sockets]
    for number, speaker in enumerate(speakers):
        await stage.rest(max(sent_at + number * options.ramp_s / len(speakers) - time.perf_counter(), 0))
        speaker.send(asked)
    await stage.wait([reader.flowing for reader in readers], within_s=_SLACK_S)
    began, meter = time.perf_counter(), Meter(options.pid)
    lasts_s = options.count * options.gap_ms / 1000
    # The first message ends first, so until then all of them flow.
    left_s = sent_at + lasts_s - began
    if left_s < lasts_s / 10:
        raise RuntimeError(f"the streams do not flow at the same time: the last began after {began - sent_at:.1f} s")
    await stage.rest(left_s)
    used = meter.read()
    await stage.wait([reader.over for reader in readers], within_s=_SLACK_S)
    for reader in readers:
        reader.leave()

    tally = Tally(wall_at_zero, wall_at_zero + began, wall_at_zero + began + used["seconds"])
    for reader in readers:
        tally.add(reader, options.count * options.joined)
    spread_s = [read_at - tally.first_read[seq] for seq, read_at in tally.behind_first]
    return {
        "streams": options.streams,
        "sockets": len(readers),
        "due_to_client_ms": quantiles_ms(tally.due_s),
        "commit_to_client_ms": quantiles_ms(tally.commit_s),
        "first_to_client_ms": quantiles_ms(spread_s),
        "tokens_per_s": round(len(tally.due_s) / used["seconds"], 1),
        "tokens": tally.tokens,
        "lost": tally.lost,
        "doubled": tally.doubled,
        "deltas_per_token": round(tally.deltas / max(tally.tokens, 1), 3),
        **used,
    }


def main() -> None:
    options = parser("bench.streams_load")
    options.add_argument("--streams", type=int, required=True)
    options.add_argument("--sockets", type=int, default=1, help="that follow each stream")
    options.add_argument("--count", type=int, required=True, help="of tokens of each stream")
    options.add_argument("--gap-ms", type=float, required=True)
    options.add_argument("--ramp-s", type=float, default=1.0, help="over which the streams begin")
    options.add_argument("--joined", type=int, default=1, help="tokens in each frame of the bare server")
    run(measure, options.parse_args())


if __name__ == "__main__":
    main()
