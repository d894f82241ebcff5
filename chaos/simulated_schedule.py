"""One schedule: two people, their threads, their clicks, their streams, and a server that dies under them."""

# A simulation turns what is wired together inside of the server.
# ruff: noqa: ANN401, SLF001

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, TypeVar, cast

from chaos.schedule_checks import check_all
from chaos.simulated_loop import EndlessScheduleError, SimulatedLoop
from chaos.simulated_server import START, GoneError, SimulatedProcess
from chaos.simulated_store import SimulatedDisk, Weather
from cloche import ids
from cloche.clock import to_micros
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import OnBusy, OnPendingApproval
from cloche.domain.scope import Scope
from cloche.errors import (
    AlreadyDecidedError,
    ApprovalPendingError,
    NotFoundError,
    RetryRefusedError,
    StorageError,
    ThreadBusyError,
)
from cloche.execution.intake import Retrying
from cloche.ids import ApprovalId, RequestId, RunId, SessionId, TenantId, ThreadId, UserId

T = TypeVar("T")

_LETTERS = "ttmwwssnlpaavzh"
_AFTERWARDS = 12


@dataclass(slots=True, eq=False)
class Stream:
    """One follower, what it wants to see, and how far it is."""

    person: int
    thread_id: ThreadId
    position: int
    stays: bool
    # How often it leaves after what it got, and comes back with its position.
    hops: int


@dataclass(slots=True)
class Outcome:
    """What came of a schedule."""

    seed: int
    violations: list[str] = field(default_factory=list[str])
    steps: int = 0
    runs: int = 0
    events: int = 0
    deaths: int = 0
    swept: int = 0
    order: str = ""


class Counted:
    """Suffixes of ids that count, so that a schedule names its things alike each time."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> str:
        self._last += 1
        return f"{self._last:026d}"


def play(seed: int, disk: SimulatedDisk) -> Outcome:
    """The schedule of that seed, from an empty disk to quiet."""
    chance = Random(seed)
    loop = SimulatedLoop(chance, chance.choice((0.0, 0.2, 0.6, 1.0)))
    suffixes = ids._next_suffix
    ids._next_suffix = Counted().next  # type: ignore[misc]
    disk.clear()
    schedule = Schedule(seed, disk, loop, chance)
    asyncio.set_event_loop(loop)
    try:
        try:
            loop.run_until_complete(schedule.play())
        except EndlessScheduleError as error:
            schedule.outcome.violations.append(str(error))
        schedule.outcome.steps = loop.steps
        _end(loop)
        schedule.outcome.violations += loop.faults
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        ids._next_suffix = suffixes  # type: ignore[misc]
    return schedule.outcome


def _end(loop: SimulatedLoop) -> None:
    """Whatever is left is stopped, the dead included."""
    loop.come_to_an_end()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        with suppress(EndlessScheduleError):
            loop.run_until_complete(asyncio.wait(left))


class Schedule:
    """What happens, drawn from one seed."""

    def __init__(self, seed: int, disk: SimulatedDisk, loop: SimulatedLoop, chance: Random) -> None:
        self._disk = disk
        self._loop = loop
        loop.called = self._called
        self._chance = chance
        self._rows = disk.rows
        self.outcome = Outcome(seed)
        self._weather = Weather(
            slow=chance.choice((0.0, 0.3, 0.8)),
            delay_s=chance.choice((0.001, 0.02)),
            failing=chance.choice((0.0, 0.0, 0.03, 0.2)),
            repeating=chance.choice((0.0, 0.1)),
        )
        self._people: list[Scope] = []
        self._threads: list[tuple[int, ThreadId]] = []
        self._runs: list[tuple[int, str]] = []
        self._cancelled: dict[str, str] = {}
        self._decided: dict[str, list[str]] = {}
        self._accepted: dict[str, str] = {}
        self._asked: set[str] = set()
        self._done: dict[str, int] = {}
        self._streams: list[Stream] = []
        self._process: SimulatedProcess | None = None
        self._processes: list[SimulatedProcess] = []
        self._thawed: set[int] = set()
        self._outside = copy_context()
        self._up = asyncio.Event()
        self._sent = 0
        self._digest = hashlib.blake2b(digest_size=8)

    async def play(self) -> None:
        chance = self._chance
        await self._prepare()
        async with asyncio.TaskGroup() as group:
            self._group = group
            await self._start()
            ends = chance.random() * 1.5
            for _ in range(chance.choice((1, 2, 2, 3, 3, 5))):
                group.create_task(self._send(chance.random() * ends))
            for _ in range(chance.randint(0, 2)):
                group.create_task(self._cancel(chance.random() * ends))
            for _ in range(chance.choice((1, 2, 2, 4))):
                group.create_task(self._stream(chance.random() * ends))
            for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
                group.create_task(self._die(chance.random() * ends))
            group.create_task(self._pry(chance.random() * ends))
            if chance.random() < 0.3:
                group.create_task(self._sweep(chance.random() * ends))
            await self._settle()
            self._check()
            for task in tuple(group._tasks):  # type: ignore[attr-defined]
                task.cancel()

    async def _prepare(self) -> None:
        now = to_micros(START)
        same = self._chance.random() < 0.5
        tenants = [TenantId.new(), TenantId.new()]
        execute = self._disk.connection.execute
        execute("BEGIN")
        for tenant in tenants:
            execute(
                "INSERT INTO tenants (id, slug, name, status, created_at, retention_us, retention_events) "
                "VALUES (?, ?, 'A tenant', 'active', ?, 1, 1)",
                (str(tenant), str(tenant), now),
            )
        for number in range(2):
            tenant, user = tenants[0 if same else number], UserId.new()
            execute(
                "INSERT INTO users (tenant_id, id, email, name, role, status, created_at, updated_at) "
                "VALUES (?, ?, ?, 'A person', 'member', 'active', ?, ?)",
                (str(tenant), str(user), str(user), now, now),
            )
            self._people.append(
                Scope(
                    tenant_id=tenant,
                    user_id=user,
                    session_id=SessionId.new(),
                    permissions=permissions_of(Role.MEMBER),
                )
            )
        for person in (0, 1, self._chance.randrange(2)):
            thread = ThreadId.new()
            scope = self._people[person]
            execute(
                "INSERT INTO threads (tenant_id, user_id, id, title, metadata, log_epoch, head_seq, first_seq, "
                "created_at, updated_at) VALUES (?, ?, ?, '', '{}', ?, 0, 1, ?, ?)",
                (str(scope.tenant_id), str(scope.user_id), str(thread), now, now, now),
            )
            self._threads.append((person, thread))
        execute("COMMIT")

    # The server.

    async def _start(self) -> None:
        number = len(self._processes) + 1
        process = SimulatedProcess(number, self._disk, self._loop, self._chance, self._weather)
        process.neighbours = self._processes
        self._processes.append(process)
        process.database.weather = Weather(slow=self._weather.slow, delay_s=self._weather.delay_s)
        await process.call(process.recover())
        process.database.weather = self._weather
        process.work()
        self._process = process
        self._up.set()

    async def _die(self, at: float) -> None:
        """The process is killed; or it stops, another takes over, and it goes on where it stood."""
        chance = self._chance
        await asyncio.sleep(at)
        process = self._process
        if process is None:
            return
        self.outcome.deaths += 1
        self._process = None
        self._up.clear()
        self._loop.freeze(process.number)
        process.break_off()
        await asyncio.sleep(chance.random() * 0.05)
        await self._start()
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.1)
            process.let_go()
            self._thawed.add(process.number)
            self._loop.thaw(process.number)

    async def _sweep(self, at: float) -> None:
        await asyncio.sleep(at)
        with suppress(GoneError, StorageError):
            await self._ask(lambda process: process.sweep())

    async def _ask(self, make: Callable[[SimulatedProcess], Any], *, patience_s: float | None = None) -> Any:
        """What the process answers; its caller may hang up first."""
        await self._up.wait()
        process = self._process
        assert process is not None
        answer = process.call(make(process))
        if patience_s is not None:
            self._loop.call_later(patience_s, process.hang_up, answer)
        return await answer

    def _patience(self) -> float | None:
        return self._chance.random() * 0.03 if self._chance.random() < 0.3 else None

    # What people do.

    async def _send(self, at: float) -> None:
        chance = self._chance
        await asyncio.sleep(at)
        person, thread = chance.choice(self._threads)
        script = "".join(chance.choice(_LETTERS) for _ in range(chance.randint(1, 4)))
        if chance.random() < 0.1:
            script += "x"
        self._sent += 1
        name = f"message-{self._sent}"
        options = {
            "agent": "hurried" if chance.random() < 0.15 else "scripted",
            "on_busy": chance.choice(tuple(OnBusy)),
            "on_pending_approval": chance.choice(tuple(OnPendingApproval)),
        }
        text = f"{self._canary(person)} {script}"
        scope = self._people[person]
        while True:
            patience = self._patience()
            try:
                accepted = await self._ask(
                    lambda process: process.world.send(
                        scope, text, thread_id=thread, client_message_id=name, **cast("Any", options)
                    ),
                    patience_s=patience,
                )
            except (GoneError, StorageError):
                continue
            except (ThreadBusyError, ApprovalPendingError):
                return
            break
        known = self._rows("SELECT id FROM runs WHERE id = ? AND user_id = ?", accepted.run_id, str(scope.user_id))
        if not known:
            self._broken(f"{accepted.run_id} was acknowledged and is not on the disk")
        if self._accepted.setdefault(name, accepted.run_id) != accepted.run_id:
            self._broken(f"{name} was accepted twice")
        self._runs.append((person, accepted.run_id))
        if chance.random() < 0.2:
            self._group.create_task(self._cancel(chance.random() * 0.2, (person, accepted.run_id)))

    async def _cancel(self, at: float, chosen: tuple[int, str] | None = None) -> None:
        await asyncio.sleep(at)
        if chosen is None:
            if not self._runs:
                return
            chosen = self._chance.choice(self._runs)
        person, run_id = chosen
        with suppress(GoneError, StorageError):
            state = await self._ask(
                lambda process: process.world.cancellation.cancel(self._people[person], RunId(run_id)),
                patience_s=self._patience(),
            )
            self._cancelled[run_id] = str(state)
            if self._chance.random() < 0.5:
                await self._retry(person, run_id)

    async def _retry(self, person: int, run_id: str) -> None:
        scope, name = self._people[person], f"retry-of-{run_id}"
        wish = Retrying(run_id=RunId(run_id), client_message_id=name)
        while True:
            try:
                accepted = await self._ask(
                    lambda process: process.world.intake.retry(scope, wish, request_id=RequestId.new()),
                    patience_s=self._patience(),
                )
            except (GoneError, StorageError):
                continue
            except (RetryRefusedError, ApprovalPendingError):
                return
            break
        if self._accepted.setdefault(name, accepted.run_id) != accepted.run_id:
            self._broken(f"{name} was accepted twice")

    async def _decide(self, at: float, person: int, approval_id: str, *, patience_s: float | None) -> None:
        await asyncio.sleep(at)
        decision = self._chance.choice(tuple(ApprovalDecision))
        try:
            make = partial(_decided, self._people[person], ApprovalId(approval_id), decision)
            decided = await self._ask(make, patience_s=patience_s)
        except (GoneError, StorageError, AlreadyDecidedError):
            return
        won = self._decided.setdefault(approval_id, [])
        won.append(str(decided.state))
        if len(won) > 1:
            self._broken(f"{approval_id} was decided {len(won)} times: {won}")

    async def _pry(self, at: float) -> None:
        """A person asks for what is another's."""
        await asyncio.sleep(at)
        person, thread = self._chance.choice(self._threads)
        stranger = self._people[1 - person]

        async def attempt(what: str, make: Callable[[SimulatedProcess], Any]) -> None:
            try:
                await self._ask(make)
            except NotFoundError:
                return
            except (GoneError, StorageError):
                return
            self._broken(f"{what} of another was not refused")

        await attempt("a thread's log", lambda process: process.log.subscribe(stranger, thread))
        await attempt("a thread", lambda process: process.world.send(stranger, "mine t", thread_id=thread))
        if self._runs:
            owner, run_id = self._chance.choice(self._runs)
            other = self._people[1 - owner]
            await attempt("a run", lambda process: process.world.cancellation.cancel(other, RunId(run_id)))
        for approval_id, user_id in self._rows("SELECT id, user_id FROM approvals ORDER BY id LIMIT 1"):
            other = self._people[1 - self._person_of(user_id)]
            wanted, decision = ApprovalId(approval_id), ApprovalDecision.APPROVE
            make = partial(_decided, other, wanted, decision)
            await attempt("an approval", make)

    # What people see.

    async def _stream(self, at: float) -> None:
        chance = self._chance
        await asyncio.sleep(at)
        person, thread = chance.choice(self._threads)
        ((head,),) = self._rows("SELECT head_seq FROM threads WHERE id = ?", str(thread))
        start = chance.choice((0, head, chance.randint(0, head)))
        stream = Stream(person, thread, start, stays=chance.random() < 0.7, hops=chance.choice((0, 2, 8)))
        self._streams.append(stream)
        visits = chance.randint(1, 3)
        while stream.stays or visits > 0:
            hops = stream.hops
            patience = None if stream.stays and visits <= 0 else chance.random() * 0.3
            with suppress(GoneError, StorageError):
                await self._ask(lambda process: self._follow(process, stream), patience_s=patience)
            visits -= hops == stream.hops
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.1)
        self._streams.remove(stream)

    async def _follow(self, process: SimulatedProcess, stream: Stream) -> None:
        scope = self._people[stream.person]
        subscription, opening, snapshot = await process.log.subscribe(scope, stream.thread_id, after=stream.position)
        with subscription:
            if snapshot is not None or not opening.recovered:
                self._broken(f"{stream.thread_id}: a stream after {stream.position} was not recovered")
            while True:
                events = await subscription.next()
                if process.is_gone:
                    return  # It was thawed; nobody is at the other end any more.
                for event in events:
                    self._deliver(stream, event)
                if stream.hops and self._chance.random() < 0.5:
                    stream.hops -= 1
                    return
                if self._chance.random() < 0.2:
                    await asyncio.sleep(self._chance.random() * 0.1)

    def _deliver(self, stream: Stream, event: Any) -> None:
        thread = stream.thread_id
        if event.seq != stream.position + 1:
            self._broken(f"{thread}: a stream got {event.seq} after {stream.position}")
        stream.position = event.seq
        self._digest.update(event.body)
        stored = self._rows("SELECT body FROM events WHERE thread_id = ? AND seq = ?", str(thread), event.seq)
        if not stored or stored[0][0] != event.body:
            self._broken(f"{thread}: {event.seq} was delivered and is not in the log")
        if self._canary(1 - stream.person).encode() in event.body or str(thread).encode() not in event.body:
            self._broken(f"{thread}: another's event was delivered")
        if b'"type":"approval_requested"' in event.body:
            self._answer_questions()

    def _answer_questions(self) -> None:
        """Two people's clicks, for some of the open questions."""
        chance = self._chance
        for approval_id, user_id in self._rows("SELECT id, user_id FROM approvals WHERE state = 'pending' ORDER BY id"):
            if approval_id in self._asked:
                continue
            self._asked.add(approval_id)
            person = self._person_of(user_id)
            at = chance.random() * 0.1
            for _ in range(chance.choice((0, 1, 2, 2))):
                task = self._decide(at + chance.random() * 0.01, person, approval_id, patience_s=self._patience())
                # Not in the process that delivered the question.
                self._loop.create_task(task, context=self._outside.copy())

    def _person_of(self, user_id: str) -> int:
        return 0 if user_id == str(self._people[0].user_id) else 1

    @staticmethod
    def _canary(person: int) -> str:
        return ("sunflower", "marigold")[person]

    # What tools do.

    def _called(self, name: str, mark: str, tool_call_id: str) -> None:
        if name in {"send", "pay", "hang"}:
            self._done[mark] = self._done.get(mark, 0) + 1
            if self._done[mark] > 1:
                self._broken(f"{mark}: an effect outside happened {self._done[mark]} times")
        if not self._thawed:
            finished = self._rows("SELECT 1 FROM steps WHERE reference = ? AND state <> 'started'", tool_call_id)
            if finished:
                self._broken(f"{mark}: a call of {name} that had finished ran again")

    # The end.

    async def _settle(self) -> None:
        """Everything that was going to happen has happened; then people answer, and the server sweeps, until all is done."""
        for _ in range(_AFTERWARDS):
            await self._loop.quiet()
            self._weather = Weather()
            for process in self._processes:
                process.database.weather = self._weather
            pending = self._rows("SELECT id, user_id FROM approvals WHERE state = 'pending' ORDER BY id")
            for approval_id, user_id in pending:
                await self._decide(0, self._person_of(user_id), approval_id, patience_s=None)
            await self._loop.quiet()
            if not self._rows("SELECT id FROM runs WHERE ended_at IS NULL"):
                return
            self.outcome.swept += not self._rows("SELECT id FROM approvals WHERE state = 'pending'")
            await self._ask(lambda process: process.sweep())

    def _check(self) -> None:
        outcome = self.outcome
        outcome.violations += check_all(self._disk, self._cancelled, outcome.deaths)
        for stream in self._streams:
            ((head,),) = self._rows("SELECT head_seq FROM threads WHERE id = ?", str(stream.thread_id))
            if stream.position != head:
                self._broken(f"{stream.thread_id}: a stream stands at {stream.position}, and the log at {head}")
        for approval_id, won in self._decided.items():
            ((state,),) = self._rows("SELECT state FROM approvals WHERE id = ?", approval_id)
            if won != [state]:
                self._broken(f"{approval_id} is {state}; its deciders were told {won}")
        for name, run_id in self._accepted.items():
            if len(self._rows("SELECT id FROM runs WHERE id = ?", run_id)) != 1:
                self._broken(f"{name}: its run {run_id} is gone")
        ((outcome.runs,),) = self._rows("SELECT COUNT(*) FROM runs")
        ((outcome.events,),) = self._rows("SELECT COUNT(*) FROM events")
        for (body,) in self._rows("SELECT body FROM events ORDER BY thread_id, seq"):
            self._digest.update(body)
        outcome.order = self._digest.hexdigest()

    def _broken(self, text: str) -> None:
        self.outcome.violations.append(text)


def _decided(scope: Scope, approval_id: ApprovalId, decision: ApprovalDecision, process: SimulatedProcess) -> Any:
    return process.world.decisions.decide(scope, approval_id, decision)
