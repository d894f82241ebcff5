"""People who use a small whole server, everything that they were told, and whether a database still holds it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import apsw

# The tests' own small server: real storage, log, bus and worker, without edges.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cloche.agents.function import AgentRun, Write
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import (
    TERMINAL_TYPES,
    AgentStarted,
    ApprovalRequested,
    Envelope,
    ToolCompleted,
)
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.domain.tools import Effect
from cloche.errors import AlreadyDecidedError, StorageError
from cloche.events.codec import decode
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, RunId, TenantId, ThreadId, UserId
from cloche.tools.tool import ToolContext, tool
from support.world import World

T = TypeVar("T")

PIECES = 8
PIECE = "so it goes, and on it goes; " * 12
RETRY_S = 0.01
SLOW_S = 30.0
_TERMINAL_OF = {
    ExecutionState.COMPLETED: "agent_completed",
    ExecutionState.FAILED: "agent_failed",
    ExecutionState.DEAD: "agent_failed",
    ExecutionState.TIMEOUT: "agent_timed_out",
    ExecutionState.CANCELLED: "agent_cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that somebody sent, and the answer."""

    scope: Scope
    text: str
    agent: str
    client_message_id: str
    asked_thread: ThreadId | None
    accepted: Accepted


@dataclass(slots=True)
class Told:
    """Everything that was acknowledged: accepted messages, events that a follower was given, runs told as ended."""

    sent: dict[str, Sent] = field(default_factory=dict[str, Sent])
    events: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])
    ended: dict[str, str] = field(default_factory=dict[str, str])
    finished_calls: set[str] = field(default_factory=set[str])


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was told, and how far the disk was then."""

    position: int
    told: Sent | tuple[str, int, bytes] | tuple[str, str]


class Ledger:
    """What was told, in order."""

    def __init__(self, position: Callable[[], int] = lambda: 0) -> None:
        self._position = position
        self.entries: list[Entry] = []

    def note(self, told: Sent | tuple[str, int, bytes] | tuple[str, str]) -> None:
        """Somebody outside was told this, now."""
        self.entries.append(Entry(self._position(), told))

    def told(self, count: int | None = None) -> Told:
        """What was told so far, or with the first so many entries."""
        told = Told()
        add(told, self.entries[:count])
        return told


def add(told: Told, entries: Iterable[Entry]) -> None:
    """These entries were told as well."""
    for entry in entries:
        match entry.told:
            case Sent() as sent:
                told.sent[sent.client_message_id] = sent
            case (str() as thread, int() as seq, bytes() as body):
                told.events.setdefault(thread, {})[seq] = body
                envelope = decode(body)
                if envelope.type == ToolCompleted.type:
                    data = decoded(envelope)
                    assert isinstance(data, ToolCompleted)
                    told.finished_calls.add(data.tool_call_id)
            case (str() as run_id, str() as state):
                told.ended[run_id] = state


class Cast:
    """The agents of the crowd, and which calls of their tool were made."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def join(self, world: World) -> None:
        """The world has these agents."""

        async def note(context: ToolContext, line: str) -> int:
            """Note a line."""
            self.calls.append(context.tool_call_id)
            return len(line)

        world.programs.add("worker", _works, tools={"note": tool(note, effect=Effect.INTERNAL)})
        world.programs.add("asker", _asks)
        world.programs.add("held", _waits)


async def _works(run: AgentRun) -> None:
    await run.think("looking at it")
    await run.call_tool("note", line=run.text)

    async def writing(write: Write) -> None:
        for number in range(PIECES):
            await write(f"{number} {PIECE}")
            await asyncio.sleep(0)

    await run.stream(writing)


async def _asks(run: AgentRun) -> str:
    approval = await run.ask("shall I?")
    return f"it is {approval.state}"


async def _waits(run: AgentRun) -> None:
    await run.say("waiting to be stopped")
    await asyncio.get_running_loop().create_future()


class Thread:
    """Somebody's thread: a follower who keeps its place, answers questions, and stops what has to be stopped."""

    def __init__(self, world: World, scope: Scope, thread_id: ThreadId, ledger: Ledger, refused: list[StorageError]):
        self._world = world
        self._scope = scope
        self._ledger = ledger
        self._refused = refused
        self._thread_id = thread_id
        self._position = 0
        self._moved = asyncio.Event()
        self.ended: set[str] = set()
        self.started: set[str] = set()
        self.left_alone: set[str] = set()

    async def follow(self) -> None:
        """Take every event, once, until cancelled; a log that cannot be read is read again from the same place."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._follow(group)
                except StorageError as error:
                    self._refused.append(error)
                    await asyncio.sleep(RETRY_S)

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        async for batch in self._world.log.follow(self._scope, self._thread_id, after=self._position):
            for event in batch:
                self._ledger.note((str(self._thread_id), event.seq, event.body))
                self._position = event.seq
                self._take(group, decode(event.body))

    def _take(self, group: asyncio.TaskGroup, envelope: Envelope) -> None:
        run_id = str(envelope.run_id)
        data = decoded(envelope)
        if envelope.type in TERMINAL_TYPES:
            self.ended.add(run_id)
        if isinstance(data, ApprovalRequested):
            group.create_task(self._decide(ApprovalId(data.approval_id)))
        if isinstance(data, AgentStarted):
            self.started.add(run_id)
            if data.agent == "held" and run_id not in self.left_alone:
                group.create_task(self._cancel(RunId(run_id)))
        self._moved.set()

    async def _decide(self, approval_id: ApprovalId) -> None:
        try:
            await patiently(
                self._refused,
                lambda: self._world.decisions.decide(self._scope, approval_id, ApprovalDecision.APPROVE),
            )
        except AlreadyDecidedError:
            return

    async def _cancel(self, run_id: RunId) -> None:
        await patiently(self._refused, lambda: self._world.cancellation.cancel(self._scope, run_id))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    async def until_ended(self, run_id: str) -> None:
        """The run's end was told, and its state is what the end said."""
        await self.until(lambda: run_id in self.ended)
        run = await patiently(self._refused, lambda: self._world.run(self._scope, run_id))
        self._ledger.note((run_id, str(run.state)))


async def patiently(refused: list[StorageError], ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the database answers, as a client does whom it refuses with a retryable error."""
    while True:
        try:
            return await ask()
        except StorageError as error:
            refused.append(error)
            await asyncio.sleep(RETRY_S)


class Crowd:
    """People who talk to a world at the same time."""

    def __init__(self, world: World, ledger: Ledger, refused: list[StorageError] | None = None) -> None:
        self._world = world
        self.ledger = ledger
        self.refused = [] if refused is None else refused

    async def arrive_and_talk(self, name: str, agents: Sequence[str]) -> None:
        """Somebody new has a thread, and talks on it."""
        scope = await patiently(self.refused, self._world.person)
        await self.talk(scope, name, agents)

    async def talk(self, scope: Scope, name: str, agents: Sequence[str], *, leave: bool = False) -> None:
        """One person's thread: two messages at once, then one after the other, each to its end.

        With ``leave`` the last one, to an agent that waits to be stopped, is left as it works.
        """
        first = await self._send(scope, f"{name}-0", agents[0], None)
        thread_id = ThreadId(first.accepted.thread_id)
        thread = Thread(self._world, scope, thread_id, self.ledger, self.refused)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(thread.follow())
            before = first
            for number, agent in enumerate(agents[1:], 1):
                sent = await self._send(scope, f"{name}-{number}", agent, thread_id)
                await thread.until_ended(before.accepted.run_id)
                before = sent
            await thread.until_ended(before.accepted.run_id)
            if leave:
                await self._leave(thread, scope, f"{name}-left", thread_id)
            following.cancel()

    async def _leave(self, thread: Thread, scope: Scope, name: str, thread_id: ThreadId) -> None:
        # The thread hears of the run before its follower can: both are in this task's turn.
        sent = await self._send(scope, name, "held", thread_id, thread=thread)
        await thread.until(lambda: sent.accepted.run_id in thread.started)

    async def _send(
        self, scope: Scope, name: str, agent: str, thread_id: ThreadId | None, *, thread: Thread | None = None
    ) -> Sent:
        text = f"{name} says {PIECE}"
        accepted = await patiently(
            self.refused,
            lambda: self._world.send(scope, text, thread_id=thread_id, agent=agent, client_message_id=name),
        )
        if thread is not None:
            thread.left_alone.add(accepted.run_id)
        sent = Sent(
            scope=scope,
            text=text,
            agent=agent,
            client_message_id=name,
            asked_thread=thread_id,
            accepted=accepted,
        )
        self.ledger.note(sent)
        return sent

    async def end_everything(self, path: Path) -> None:
        """Every run in the database was told as ended; questions are answered and what waits is stopped."""
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        threads: dict[tuple[str, str, str], list[str]] = {}
        for *key, run_id in connection.execute("SELECT tenant_id, user_id, thread_id, id FROM runs"):
            threads.setdefault((key[0], key[1], key[2]), []).append(str(run_id))
        connection.close()
        async with asyncio.TaskGroup() as group:
            for (tenant, user, thread_id), runs in threads.items():
                scope = Scope(tenant_id=TenantId(tenant), user_id=UserId(user), permissions=permissions_of(Role.MEMBER))
                group.create_task(self._end(scope, ThreadId(thread_id), runs))

    async def _end(self, scope: Scope, thread_id: ThreadId, runs: list[str]) -> None:
        thread = Thread(self._world, scope, thread_id, self.ledger, self.refused)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(thread.follow())
            for run_id in runs:
                await thread.until_ended(run_id)
            following.cancel()

    async def send_again(self, told: Told) -> list[str]:
        """What is wrong with the answers to messages that are sent a second time."""
        found: list[str] = []
        for sent in told.sent.values():
            again = await self._world.send(
                sent.scope,
                sent.text,
                thread_id=sent.asked_thread,
                agent=sent.agent,
                client_message_id=sent.client_message_id,
            )
            if not again.replayed or again.run_id != sent.accepted.run_id:
                found.append(f"{sent.client_message_id} was taken a second time, as {again.run_id}")
        return found


def check(connection: apsw.Connection, told: Told, *, all_ended: bool = False) -> list[str]:
    """What the database has lost of what was told, or holds twice, or holds in a wrong order."""
    found = [f"integrity: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    if found:
        return found
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "runs" not in tables:
        return ["the schema is gone"] if told.sent or told.events else []
    events = _events(connection)
    states = {str(row[0]): str(row[1]) for row in connection.execute("SELECT id, state FROM runs")}
    return [
        *_check_messages(connection, told, states),
        *_check_events(told, events),
        *_check_runs(told, events, states, all_ended=all_ended),
    ]


_Row = tuple[int, str, str, bytes]


def _events(connection: apsw.Connection) -> dict[str, list[_Row]]:
    threads: dict[str, list[_Row]] = {}
    sql = "SELECT thread_id, seq, run_id, type, body FROM events ORDER BY thread_id, seq"
    for thread, seq, run, kind, body in connection.execute(sql):
        threads.setdefault(str(thread), []).append((int(seq), str(run), str(kind), bytes(body)))  # type: ignore[arg-type]
    return threads


def _check_messages(connection: apsw.Connection, told: Told, states: dict[str, str]) -> list[str]:
    found: list[str] = []
    rows: dict[str, list[tuple[str, str, str]]] = {}
    sql = "SELECT client_message_id, id, run_id, thread_id FROM messages WHERE client_message_id IS NOT NULL"
    for name, message, run, thread in connection.execute(sql):
        rows.setdefault(str(name), []).append((str(message), str(run), str(thread)))
        if str(run) not in states:
            found.append(f"message {name} has no run")
    for name, sent in told.sent.items():
        accepted = sent.accepted
        if rows.get(name) != [(accepted.message_id, accepted.run_id, accepted.thread_id)]:
            found.append(f"message {name} was accepted as {accepted.message_id}; there is {rows.get(name)}")
    found += [f"message {name} is there {len(kept)} times" for name, kept in rows.items() if len(kept) > 1]
    return found


def _check_events(told: Told, events: dict[str, list[_Row]]) -> list[str]:
    found: list[str] = []
    for thread, rows in events.items():
        found += [f"{thread}: {broken}" for broken in check_gapless([row[0] for row in rows], after=0)]
    for thread, given in told.events.items():
        kept = {row[0]: row[3] for row in events.get(thread, [])}
        lost = [seq for seq, body in given.items() if kept.get(seq) != body]
        if lost:
            found.append(f"{thread}: events {lost[0]} to {lost[-1]} were delivered and are not there")
    return found


def _check_runs(told: Told, events: dict[str, list[_Row]], states: dict[str, str], *, all_ended: bool) -> list[str]:
    found: list[str] = []
    ends = Counter[tuple[str, str]](
        (row[1], row[2]) for rows in events.values() for row in rows if row[2] in TERMINAL_TYPES
    )
    begun = Counter[str](row[1] for rows in events.values() for row in rows if row[2] == "run_queued")
    per_run = Counter[str](run for run, _ in ends.elements())
    for run, state in states.items():
        wanted = _TERMINAL_OF.get(ExecutionState(state))
        if per_run[run] != (wanted is not None) or (wanted and not ends[run, wanted]):
            found.append(f"run {run} is {state} and has the ends {[end for end in ends if end[0] == run]}")
        if begun[run] != 1:
            found.append(f"run {run} has {begun[run]} beginnings")
        if all_ended and wanted is None:
            found.append(f"run {run} is {state} for ever")
    for run, state in told.ended.items():
        if states.get(run) != state:
            found.append(f"run {run} was told as {state} and is {states.get(run)}")
    if all_ended:
        found += _check_stories(events)
    return found


def _check_stories(events: dict[str, list[_Row]]) -> list[str]:
    stories: dict[str, list[Envelope]] = {}
    for rows in events.values():
        for row in rows:
            stories.setdefault(row[1], []).append(decode(row[3]))
    return [f"run {run}: {broken}" for run, story in stories.items() for broken in check_run(story)]
