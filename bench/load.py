"""The load of bursts: N users, each with a connection and a thread of its own, who send a message and wait for the
run's end.

A process of its own, which reads one whole run of each user closely before the clock starts. Prints its findings as
JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

from bench.burst import ASKED, SAID
from bench.generator import Found, Meter, Person, Stage, parser, people_in, quantiles_ms, run
from bench.wires import EventStream, Posts, Websocket

WARM_UP_RUNS = 5
_LAST_WORDS_S = 15.0
_WARM_UP_S = 60.0
_EVENT = b'{"seq":'
_OF_AGENT = b'"type":"agent_'
_COMPLETED = b'"type":"agent_completed"'
_BAD_ENDS = (b'"type":"agent_failed"', b'"type":"agent_timed_out"', b'"type":"agent_cancelled"')


class Findings:
    """What all users saw while the clock ran."""

    def __init__(self) -> None:
        self.counting = False
        self.stopping = False
        self.runs = 0
        self.events = 0
        self.frames = 0
        self.first_event_s: list[float] = []
        self.run_s: list[float] = []


class User:
    """``ready`` is done when the first runs are over and one was read closely, ``idle`` when no run is under way."""

    def __init__(self, stage: Stage, person: Person, label: str, findings: Findings, prefix: str) -> None:
        self.ready: asyncio.Future[None] = stage.loop.create_future()
        self.idle: asyncio.Future[None] = stage.loop.create_future()
        self._stage = stage
        self._token = person.token
        self._label = label
        self._findings = findings
        self._prefix = prefix
        self._kept: list[bytes] | None = []
        self._sent = 0
        self._sent_at = 0.0
        self._first_at: float | None = None
        self._run_events = 0
        self._run_frames = 0

    async def come(self) -> None:
        """The user is connected, and its first message under way."""
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError

    def write(self, message: dict[str, object]) -> None:
        raise NotImplementedError

    def send(self) -> None:
        """The next message is on its way."""
        self._sent += 1
        self._first_at = None
        self._run_events = self._run_frames = 0
        self.write({"client_message_id": f"{self._label}-{self._sent}", "text": ASKED})
        self._sent_at = time.perf_counter()

    def events(self, frame: bytes, now: float) -> None:
        """A frame with events."""
        if self._first_at is None:
            self._first_at = now
        self._run_events += frame.count(_EVENT)
        self._run_frames += 1
        if self._kept is not None:
            self._kept.append(frame)
        if _OF_AGENT in frame:
            if _COMPLETED in frame:
                self._completed(now)
            elif any(end in frame for end in _BAD_ENDS):
                raise ConnectionError(f"a run did not complete: {frame!r}")

    def went_well(self) -> None:
        """A run has completed, and the next one may be asked for."""
        if self._findings.stopping:
            self.idle.set_result(None)
        else:
            self.send()

    def _completed(self, now: float) -> None:
        assert self._first_at is not None
        found = self._findings
        if found.counting:
            found.runs += 1
            found.events += self._run_events
            found.frames += self._run_frames
            found.first_event_s.append(self._first_at - self._sent_at)
            found.run_s.append(now - self._sent_at)
        if self._kept is not None:
            check_run(self._kept)
            self._kept = None
        if self._sent == WARM_UP_RUNS:
            self.ready.set_result(None)
        self.went_well()


class SocketUser(User):
    """Sends and follows on one WebSocket."""

    has_threads = True

    async def come(self) -> None:
        self._thread: str | None = None
        path = f"{self._prefix}/v1/ws"
        self._wire = Websocket(path, self._token, self.send, self._frame)
        await self._stage.connect(self._wire)

    def leave(self) -> None:
        self._wire.leave()

    def write(self, message: dict[str, object]) -> None:
        if self._thread is not None:
            message["thread_id"] = self._thread
        self._wire.say({"op": "send", "ref": self._sent, **message})

    def _frame(self, frame: bytes, now: float) -> None:
        if _EVENT in frame:
            self.events(frame, now)
        else:
            self._answer(frame)

    def _answer(self, frame: bytes) -> None:
        """An answer or a notice: the first one to a message names the thread, which is then followed."""
        said: dict[str, Any] = json.loads(frame)
        if said.get("ok") is False:
            raise ConnectionError(f"the server refused: {frame!r}")
        if self.has_threads and self._thread is None and "run_id" in said:
            self._thread = said["thread_id"]
            self._wire.say({"op": "subscribe", "ref": 0, "thread_id": self._thread})


class BareSocketUser(SocketUser):
    has_threads = False


class StreamUser(User):
    """Sends with POST on one kept connection, and follows the thread's event stream on another."""

    async def come(self) -> None:
        self._stream: EventStream | None = None
        self._thread: str | None = None
        self._opening: asyncio.Task[EventStream] | None = None
        self._is_answered = self._is_over = False
        self._wire = await self._stage.connect(Posts(self._token, self._answer))
        self.send()

    def leave(self) -> None:
        self._wire.leave()
        if self._opening is not None:
            self._opening.result().leave()

    def write(self, message: dict[str, object]) -> None:
        self._is_answered = self._is_over = False
        of_thread = "" if self._thread is None else f"/threads/{self._thread}"
        self._wire.post(f"{self._prefix}/v1{of_thread}/messages", message)

    def went_well(self) -> None:
        """The stream may tell of the end before the request is answered."""
        self._is_over = True
        self._go_on()

    def _answer(self, said: dict[str, Any]) -> None:
        self._is_answered = True
        if self._thread is None:
            self._thread = said["thread_id"]
            path = f"{self._prefix}/v1/threads/{self._thread}/events?after=0"
            self._opening = self._stage.loop.create_task(
                self._stage.connect(EventStream(path, self._token, self._chunk))
            )
        self._go_on()

    def _go_on(self) -> None:
        if self._is_answered and self._is_over:
            super().went_well()

    def _chunk(self, chunk: bytes, now: float) -> None:
        if _EVENT in chunk:
            self.events(chunk, now)


def events_in(frame: bytes) -> list[dict[str, Any]]:
    """The events of a WebSocket's frame, or of a chunk of an event stream."""
    if frame.startswith(b"{"):
        return json.loads(frame)["events"]
    return [json.loads(line[6:]) for line in frame.split(b"\n") if line.startswith(b"data: " + _EVENT)]


def check_run(frames: Sequence[bytes]) -> None:
    """The frames are one whole run, and say what the agent said.

    Raises:
        ValueError: they are not, or do not.
    """
    events = [event for frame in frames for event in events_in(frame)]
    types = [event["type"] for event in events]
    text = "".join(event["data"]["text"] for event in events if event["type"] == "message_delta")
    wanted = ["message_created", "run_queued", "agent_started", "tool_executing", "tool_completed", "message_delta"]
    wanted += ["message_completed", "agent_completed"]
    seen = list(dict.fromkeys(kind for kind in types if kind != "agent_thinking"))
    seqs = [event["seq"] for event in events]
    if seen != wanted or text != SAID or seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        raise ValueError(f"this is not the run that was asked for: {types} {text!r}")


async def measure(options: argparse.Namespace) -> Found:
    """Everybody comes in and warms up; then the clock runs; then everybody finishes and leaves."""
    stage, findings = Stage(options.url, options.pid), Findings()
    kind = StreamUser if options.wire == "sse" else BareSocketUser if options.bare else SocketUser
    users: list[User] = []
    for number, person in enumerate(people_in(options.people)[: options.users]):
        user = kind(stage, person, f"{time.time_ns()}-{number}", findings, options.prefix)
        await user.come()
        users.append(user)
    assert len(users) == options.users, "everybody needs a token"
    await stage.wait([user.ready for user in users], within_s=_WARM_UP_S)

    meter = Meter(options.pid)
    findings.counting = True
    await stage.rest(options.seconds)
    findings.counting = False
    used = meter.read()
    findings.stopping = True
    await stage.wait([user.idle for user in users], within_s=_LAST_WORDS_S)
    for user in users:
        user.leave()
    if not findings.runs:
        raise RuntimeError("no run completed while the clock ran")
    seconds = used["seconds"]
    return {
        "users": options.users,
        "runs": findings.runs,
        "runs_per_s": round(findings.runs / seconds, 1),
        "events_per_s": round(findings.events / seconds, 1),
        "events_per_run": round(findings.events / findings.runs, 2),
        "frames_per_run": round(findings.frames / findings.runs, 2),
        "first_event_ms": quantiles_ms(findings.first_event_s),
        "run_ms": quantiles_ms(findings.run_s),
        "server_cpu_ms_per_run": round(1000 * used["server_cpu_s"] / findings.runs, 3),
        **used,
    }


def main() -> None:
    options = parser("bench.load")
    options.add_argument("--wire", choices=("ws", "sse"), default="ws")
    options.add_argument("--users", type=int, default=16)
    options.add_argument("--seconds", type=float, default=5.0)
    run(measure, options.parse_args())


if __name__ == "__main__":
    main()
