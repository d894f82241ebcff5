"""The oracle: what stands in the files of a case after each of its processes, and which promises that breaks.

It reads the database by plain SQL and takes nothing from the program but the checkers of event order.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import msgspec

from chaos.records import ACKED, EFFECTS, EVENT, RECEIVED
from cloche.domain.event_order import check_gapless, check_run
from cloche.domain.events import TERMINAL_TYPES, Envelope
from cloche.events.codec import decode
from cloche.execution.intake import Accepted

# Their calls are not made again when the outcome is not known.
REPORTED = frozenset({"note", "pays", "signs"})
# Those that change nothing outside, as they declare: a call that the journal does not know yet is made anew.
HARMLESS = frozenset({"look", "reads"})
UNKNOWN = "tool_outcome_unknown"


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """The files of a case at one moment, while none of its processes writes."""

    log: list[tuple[int, bytes]] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    runs: list[tuple[str, str, int]] = field(default_factory=list)
    calls: dict[str, tuple[str, str]] = field(default_factory=dict)
    open_steps: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    open_executions: int = 0
    soundness: list[str] = field(default_factory=list)
    acked: Accepted | None = None
    received: list[bytes] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)

    def lines(self, tool: str) -> list[str]:
        """The ids of the calls whose effect happened, one for each time."""
        return [call for name, call in self.effects if name == tool]

    @property
    def events(self) -> list[Envelope]:
        return [decode(body) for _, body in self.log]

    @property
    def answer(self) -> str:
        """The text of the run's last message."""
        said = [event.data for event in self.events if event.type == "message_completed"]
        parts: list[dict[str, str]] = msgspec.json.decode(said[-1])["parts"] if said else []
        return "".join(part["text"] for part in parts)


def look(folder: Path) -> Aftermath:
    """What stands there. The database is read from a copy: looking at it must not mend it."""
    found = Aftermath()
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        for path in folder.glob("cloche.db*"):
            shutil.copy(path, copy)
        if (copy / "cloche.db").exists():
            _read_rows(copy / "cloche.db", found)
    if (folder / RECEIVED).exists():
        for line in (folder / RECEIVED).read_bytes().splitlines():
            if line.startswith(ACKED):
                found.acked = msgspec.json.decode(line.removeprefix(ACKED), type=Accepted)
            else:
                found.received.append(line.removeprefix(EVENT))
    if (folder / EFFECTS).exists():
        for line in (folder / EFFECTS).read_text(encoding="utf-8").splitlines():
            name, _, call = line.partition(" ")
            found.effects.append((name, call))
    return found


def _read_rows(path: Path, found: Aftermath) -> None:
    connection = apsw.Connection(str(path))
    try:
        rows = connection.execute
        found.soundness = [str(row[0]) for row in rows("PRAGMA integrity_check") if row[0] != "ok"]
        found.log = [(int(seq), bytes(body)) for seq, body in rows("SELECT seq, body FROM events ORDER BY seq")]
        found.heads = [int(row[0]) for row in rows("SELECT head_seq FROM threads")]
        found.runs = [(str(a), str(b), int(c)) for a, b, c in rows("SELECT id, state, last_seq FROM runs")]
        steps = list(rows("SELECT kind, name, state, reference FROM steps ORDER BY idx"))
        found.calls = {str(name): (str(state), str(call)) for kind, name, state, call in steps if kind == "tool"}
        found.open_steps = [str(name) for _, name, state, _ in steps if state == "started"]
        found.messages = [(str(a), str(b)) for a, b in rows("SELECT id, role FROM messages")]
        found.open_executions = int(next(rows("SELECT COUNT(*) FROM executions WHERE ended_at IS NULL"))[0])
    finally:
        connection.close()


def broken_now(now: Aftermath) -> list[str]:
    """The promises that must hold at every moment: what was told is there, and is what was told."""
    broken = [f"the database is damaged: {text}" for text in now.soundness]
    stored = dict(now.log)
    broken += [str(each) for each in check_gapless([seq for seq, _ in now.log], after=0)]
    broken += [str(each) for each in check_gapless([decode(body).seq for body in now.received], after=0)]
    for body in now.received:
        if stored.get(decode(body).seq) != body:
            broken.append(f"an event was shown and is not in the log: {body[:120]!r}")
    if now.acked is not None and now.acked.message_id not in dict(now.messages):
        broken.append("the acknowledged message is not there")
    if now.acked is not None and now.acked.run_id not in {run for run, _, _ in now.runs}:
        broken.append("the acknowledged run is not there")
    if now.heads and now.log and now.heads != [now.log[-1][0]]:
        broken.append(f"the thread says {now.heads}, its log ends at {now.log[-1][0]}")
    return broken


def broken_at_the_end(now: Aftermath) -> list[str]:
    """The promises that must hold once a process has followed the run to its end."""
    broken = [f"{each.rule} at {each.seq}: {each.detail}" for each in check_run(now.events)]
    ends = [event for event in now.events if event.type in TERMINAL_TYPES]
    if [event.type for event in ends] != ["agent_completed"]:
        broken.append(f"the run's ends are {[event.type for event in ends]}")
    if [body for _, body in now.log] != now.received:
        broken.append(f"the client has {len(now.received)} events, the log {len(now.log)}")
    if len(now.runs) != 1 or now.runs[0][1] != "completed":
        broken.append(f"the runs are {now.runs}")
    elif ends and now.runs[0][2] != ends[-1].seq:
        broken.append(f"the run's last event is {ends[-1].seq}, its row says {now.runs[0][2]}")
    if now.open_executions:
        broken.append(f"{now.open_executions} executions never ended")
    if now.open_steps:
        broken.append(f"steps never ended: {now.open_steps}")
    roles = Counter(role for _, role in now.messages)
    said = sum(event.type == "message_completed" for event in now.events)
    if roles != Counter({"user": 1, "assistant": said}):
        broken.append(f"the messages are {dict(roles)}, and {said} were completed in the log")
    return broken


def broken_effects(before: Aftermath, now: Aftermath, tools: frozenset[str], *, ended: bool) -> list[str]:
    """What one process did to the world outside, against what the journal had told it before it began."""
    broken: list[str] = []
    for tool in sorted(tools):
        was, lines = before.lines(tool), now.lines(tool)
        more = len(lines) - len(was)
        state, _ = before.calls.get(tool, ("none", ""))
        if state in ("done", "failed") or (state == "started" and tool in REPORTED):
            most = least = 0
        else:
            most, least = 1, int(ended)
        if not least <= more <= most:
            broken.append(f"{tool} was {state} and took effect {more} more times, not {least} to {most}")
        if len(set(lines)) > 1 and tool not in HARMLESS:
            broken.append(f"{tool} took effect under {len(set(lines))} idempotency keys")
        if tool in REPORTED and len(lines) > 1:
            broken.append(f"{tool} took effect {len(lines)} times")
        if ended:
            broken += _broken_tale(now, tool, lines, unknown=state == "started" and tool in REPORTED)
    return broken


def overlaps(now: Aftermath) -> list[str]:
    """Calls that began while a process of an earlier attempt still worked on them."""
    at_work: set[str] = set()
    broken: list[str] = []
    for word, process in now.effects:
        if word == "begin":
            broken += [f"the call began again while process {other} still worked on it" for other in at_work]
            at_work.add(process)
        elif word == "end":
            at_work.discard(process)
    # One that never ended was killed with its server, unless it shows up again.
    ended = {process for word, process in now.effects if word == "end"}
    return [text for text in broken if any(f"process {process} " in text for process in ended)]


def _broken_tale(now: Aftermath, tool: str, lines: list[str], *, unknown: bool) -> list[str]:
    """What the agent and the log were told of the call, against what happened."""
    told = dict(word.split("=", 1) for word in now.answer.split() if "=" in word).get(tool)
    completed = [
        data
        for event in now.events
        if event.type == "tool_completed" and (data := msgspec.json.decode(event.data))["tool"] == tool
    ]
    if len(completed) != 1:
        return [f"{tool} was completed {len(completed)} times in the log"]
    call, ok = completed[0]["tool_call_id"], completed[0]["ok"]
    broken: list[str] = []
    if unknown and (ok or told != UNKNOWN):
        broken.append(f"{tool} has an unknown outcome, the agent was told {told}")
    if ok and (told != call or call not in lines):
        broken.append(f"{tool} is ok as {call}, the agent was told {told}, outside there is {lines}")
    if not ok and (tool not in REPORTED or told != UNKNOWN):
        broken.append(f"{tool} failed: {completed[0].get('error')}, the agent was told {told}")
    return broken
