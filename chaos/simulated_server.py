"""A simulated process: the whole core over the simulated disk, and agents whose work is written in the message."""

# A simulation turns what is wired together inside of the server.
# ruff: noqa: ANN401, SLF001

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any, TypeVar, cast

from chaos.simulated_loop import PROCESS, SimulatedLoop
from chaos.simulated_store import SimulatedDatabase, SimulatedDisk, Weather
from cloche.agents.function import AgentRun, Write
from cloche.domain.agents import AgentLimits
from cloche.domain.tools import Effect, OnUnknown
from cloche.errors import StorageError
from cloche.events.hub import Hub, Topic, TopicKey
from cloche.events.log import EventLog
from cloche.storage.events import StoredEvent
from cloche.tools.tool import Tool, ToolContext, tool
from support.world import World

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
HURRIED = timedelta(milliseconds=80)
GRACE = timedelta(milliseconds=50)


class GoneError(Exception):
    """The connection to the process broke: whether the call was done is not known."""


class LoopClock:
    """The loop's time, as a ``Clock``."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()


class _InOrder(dict[Any, None]):
    """A set that has an order, which its elements' addresses do not change."""

    def add(self, element: object) -> None:
        self[element] = None

    def discard(self, element: object) -> None:
        self.pop(element, None)


class OrderedHub(Hub):
    """The hub, whose followers are told in the same order each time, and which tells other processes what moved."""

    def __init__(self, on_publish: Callable[[TopicKey, int], None]) -> None:
        super().__init__()
        self._on_publish = on_publish

    def publish(self, key: TopicKey, events: Sequence[StoredEvent]) -> None:
        super().publish(key, events)
        self._on_publish(key, events[-1].seq)

    def join(self, key: TopicKey, follower: Any) -> Topic:
        topic = super().join(key, follower)
        if not isinstance(topic.followers, _InOrder):
            ordered = _InOrder()
            ordered.add(follower)
            topic.followers = cast("Any", ordered)
        return topic


class SimulatedProcess:
    """One process: a ``World`` in a context of its own, which can be called, killed and frozen."""

    def __init__(self, number: int, disk: SimulatedDisk, loop: SimulatedLoop, chance: Random, weather: Weather) -> None:
        self.number = number
        self._loop = loop
        self._context = copy_context()
        self._context.run(PROCESS.set, number)
        self._answers: dict[asyncio.Future[Any], asyncio.Task[Any]] = {}
        self.database = SimulatedDatabase(disk, loop, chance, weather, self._context)
        self.world = World(cast("Any", self.database), LoopClock(loop), concurrency=3, grace=GRACE)
        # Its parts exist already; each that publishes or follows does so through the log.
        self.neighbours: list[SimulatedProcess] = []
        self.hub = OrderedHub(self._tell_neighbours)
        self.world.hub = self.hub
        self.log: EventLog = self.world.log
        self.log._hub = self.hub
        self.is_gone = False
        tools = simulated_tools()
        for name, limits in (("scripted", AgentLimits()), ("hurried", AgentLimits(run_timeout=HURRIED))):
            self.world.programs.add(name, _agent, tools=tools, limits=limits)

    def wake(self, key: TopicKey, head: int) -> None:
        """Another process has moved the thread."""
        self._loop.call_soon(self.hub.wake, key, head, context=self._context)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """The coroutine runs in the process; its outcome, or ``GoneError``. Cancelling it breaks the connection."""
        answer: asyncio.Future[T] = self._loop.create_future()
        task = self._loop.create_task(coroutine, context=self._context.copy())
        self._answers[answer] = task
        task.add_done_callback(lambda _: self._tell(answer, task), context=self._context)
        return answer

    def hang_up(self, answer: asyncio.Future[Any]) -> None:
        """The caller is gone: what it called is cancelled in the process, if it still works."""
        task = self._answers.get(answer)
        if task is not None:
            task.cancel()
            _break(answer)

    def break_off(self) -> None:
        """Every caller is told that the process is gone."""
        self.is_gone = True
        for answer in self._answers:
            _break(answer)

    async def recover(self) -> None:
        """What the process before it left is taken over."""
        await self.world.recovery.recover_all()

    def work(self) -> None:
        """Runs are taken from now on."""
        self._working = self._loop.create_task(self.world.worker.run(), context=self._context.copy())

    async def sweep(self) -> None:
        """One sweep, as the server makes it now and then."""
        try:
            await self.world.recovery.sweep()
        except StorageError:
            return

    def let_go(self) -> None:
        """No other run is taken: what is thawed after its lease was given away finishes what it believes to own."""
        self.world.worker._draining = True

    def _tell_neighbours(self, key: TopicKey, head: int) -> None:
        for neighbour in self.neighbours:
            if neighbour is not self:
                neighbour.wake(key, head)

    def _tell(self, answer: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
        self._answers.pop(answer, None)
        error = None if task.cancelled() else task.exception()
        if answer.done():
            return
        if task.cancelled():
            _break(answer)
        elif error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(task.result())


def _break(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(GoneError())
        answer.exception()  # its caller may be gone as well


@cache
def simulated_tools() -> dict[str, Tool]:
    """The agents' tools. Each tells the loop's listener of its call."""

    async def send(context: ToolContext, mark: str) -> str:
        """Do something outside."""
        _loop().called("send", mark, context.tool_call_id)
        await asyncio.sleep(_length(0.02))
        return mark

    async def note(context: ToolContext, mark: str) -> str:
        """Write something down inside."""
        _loop().called("note", mark, context.tool_call_id)
        context.progress("noting", 0.5)
        return mark

    async def look(context: ToolContext, mark: str) -> str:
        """Look at something."""
        _loop().called("look", mark, context.tool_call_id)
        await asyncio.sleep(_length(0.01))
        return mark

    async def pay(context: ToolContext, mark: str) -> str:
        """Do something outside that a person must allow."""
        _loop().called("pay", mark, context.tool_call_id)
        return mark

    async def hang(context: ToolContext, mark: str) -> str:
        """Take longer than is allowed, and do not listen at once."""
        _loop().called("hang", mark, context.tool_call_id)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(_length(0.1))
            raise
        return mark

    made = [
        tool(send, effect=Effect.EXTERNAL, on_unknown=OnUnknown.REPORT),
        tool(note, effect=Effect.INTERNAL),
        tool(look),
        tool(pay, effect=Effect.EXTERNAL, needs_approval=True),
        tool(hang, effect=Effect.EXTERNAL, timeout=timedelta(milliseconds=100)),
    ]
    return {one.spec.name: one for one in made}


def _loop() -> SimulatedLoop:
    return cast("SimulatedLoop", asyncio.get_running_loop())


def _length(most_s: float) -> float:
    return _loop().chance.random() * most_s


async def _agent(run: AgentRun) -> str | None:
    """The message is ``owner script``: each letter of the script is a step."""
    owner, script = run.text.split()
    for number, letter in enumerate(script):
        mark = f"{owner}-{run.context.run_id}-{number}"
        await _step(run, letter, mark)
    return None if script.endswith(("m", "w")) else f"{owner} done"


_TOOLS = {"s": "send", "n": "note", "l": "look", "p": "pay", "h": "hang"}


async def _step(run: AgentRun, letter: str, mark: str) -> None:
    if letter in _TOOLS:
        await run.call_tool(_TOOLS[letter], mark=mark)
        return

    async def writing(write: Write) -> None:
        await write("one ")
        await asyncio.sleep(_length(0.05))
        await write("two ")
        await write(mark)

    match letter:
        case "t":
            await run.think(mark)
        case "m":
            await run.say(mark)
        case "w":
            await run.stream(writing)
        case "a":
            await run.ask("May I?", expires_in=timedelta(seconds=0.05 if mark[-1] in "02" else 3600))
        case "v":
            await run.now()
        case "z":
            await asyncio.sleep(_length(0.1))
        case _:
            raise ValueError(letter)
