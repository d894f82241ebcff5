"""What must hold at the end of a schedule, read from the disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import msgspec

from chaos.simulated_store import SimulatedDisk
from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import TERMINAL_TYPES, AgentStarted, ApprovalResolved, Envelope
from cloche.domain.runs import ExecutionState
from cloche.events.codec import decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What a finished run was told to do, and what may have happened to it."""

    script: str
    agent: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run, as the disk has it."""

    id: str
    thread_id: str
    user_id: str
    state: str
    first_seq: int
    last_seq: int
    failure_code: str | None
    message: bytes
    agent: str


def check_all(disk: SimulatedDisk, cancelled: Mapping[str, str], deaths: int) -> Generator[str]:
    """Every broken promise. ``cancelled`` are the runs whose cancel was acknowledged, with the state that was told."""
    events: dict[str, list[Envelope]] = defaultdict(list)
    for thread, body in disk.rows("SELECT thread_id, body FROM events ORDER BY thread_id, seq"):
        events[thread].append(decode(body))
    runs = [
        RunRow(*row)
        for row in disk.rows(
            "SELECT runs.id, runs.thread_id, runs.user_id, runs.state, runs.first_seq, runs.last_seq, "
            "runs.failure_code, messages.parts, runs.agent FROM runs JOIN messages ON messages.id = runs.message_id "
            "ORDER BY runs.thread_id, runs.first_seq"
        )
    ]
    for thread, head in disk.rows("SELECT id, head_seq FROM threads"):
        for broken in check_gapless([event.seq for event in events[thread]], after=0):
            yield f"{thread}: {broken}"
        if len(events[thread]) != head:
            yield f"{thread}: its head is {head}, and it has {len(events[thread])} events"
        yield from _check_thread(thread, events[thread], [run for run in runs if run.thread_id == thread])
    for run in runs:
        of_run = [event for event in events[run.thread_id] if event.run_id == run.id]
        yield from _check_run(run, of_run, cancelled, deaths)
    yield from _check_approvals(disk, events)
    for (count,) in disk.rows("SELECT COUNT(*) FROM executions WHERE ended_at IS NULL"):
        if count:
            yield f"{count} executions have not ended"


def _check_run(run: RunRow, events: list[Envelope], cancelled: Mapping[str, str], deaths: int) -> Generator[str]:
    state = ExecutionState(run.state)
    if not state.is_terminal:
        yield f"{run.id}: stuck in {state}"
        return
    for broken in check_run(events):
        yield f"{run.id} ({run.state}): {broken.rule} at {broken.seq}: {broken.detail}"
    if not events or events[-1].seq != run.last_seq or events[0].seq != run.first_seq:
        yield f"{run.id}: its row says {run.first_seq} to {run.last_seq}, its events do not"
    if cancelled.get(run.id) in {"cancelling", "cancelled"} and run.state != "cancelled":
        yield f"{run.id}: a cancel was acknowledged as {cancelled[run.id]}, and it is {run.state}"
    text = msgspec.json.decode(run.message)[0]["text"]
    script = text.split()[1]
    may = {"completed", "cancelled"}
    if "x" in script:
        may.add("failed")
    if run.agent == "hurried":
        may.add("timeout")
    if deaths > 2:
        may.add("dead")
    if run.state not in may:
        yield f"{run.id} ({script}, {run.agent}): ended as {run.state} ({run.failure_code})"


def _check_thread(thread: str, events: list[Envelope], runs: list[RunRow]) -> Generator[str]:
    """One run after the other works on a thread, in the order of their messages."""
    working: str | None = None
    first = {run.id: run.first_seq for run in runs}
    last_started = 0
    for event in events:
        if event.run_id is None:
            continue
        if event.type == AgentStarted.type:
            if working not in (None, event.run_id):
                yield f"{thread}: {event.run_id} began while {working} worked"
            if first.get(event.run_id, 0) < last_started:
                yield f"{thread}: {event.run_id} began before its turn"
            working, last_started = event.run_id, first.get(event.run_id, 0)
        elif event.type in TERMINAL_TYPES and working == event.run_id:
            working = None


def _check_approvals(disk: SimulatedDisk, events: Mapping[str, list[Envelope]]) -> Generator[str]:
    told: dict[str, list[str]] = defaultdict(list)
    for of_thread in events.values():
        for event in of_thread:
            if event.type == ApprovalResolved.type:
                resolved = decoded(event)
                assert isinstance(resolved, ApprovalResolved)
                told[resolved.approval_id].append(resolved.decision)
    words = {"approve": "approved", "deny": "denied", "expired": "expired", "cancelled": "cancelled"}
    for identity, state in disk.rows("SELECT id, state FROM approvals"):
        decisions = told.pop(identity, [])
        if [words[decision] for decision in decisions] != [state]:
            yield f"{identity} is {state}, and was told as {decisions}"
    for identity in told:
        yield f"{identity} was decided and does not exist"
