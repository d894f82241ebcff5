"""The processes that are killed: a small whole server without edges, its one client, and where both end.

Run as ``python -m chaos.victim`` this is a nursery: see ``chaos.nursery``. Every life of a case does the same thing: it
recovers what a former one left, sends the message (again), and follows the thread from where its client stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import traceback
from contextlib import AbstractContextManager, aclosing, nullcontext
from pathlib import Path

import msgspec

from chaos.nursery import PREPARE, Answer, Life, Request
from chaos.plants import plant
from chaos.points import Points
from chaos.records import ACKED, EFFECTS, EVENT, PERSON, POINTS, RECEIVED, Person
from chaos.stories import STORIES, Effects
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import decoded
from cloche.domain.events import TERMINAL_TYPES, ApprovalRequested, ApprovalResolved
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.scope import Scope
from cloche.errors import AlreadyDecidedError
from cloche.events.codec import decode
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, SessionId, TenantId, ThreadId, UserId
from cloche.storage.sqlite import DATABASE_FILE, owned
from support.world import World, opened_world, working

_PR_SET_PTRACER = 0x59616D61
_WAKING_S = 0.005
_QUIET_TURNS = 4


class Client:
    """Somebody who sends one message and follows the thread; what they have seen outlives the process."""

    def __init__(self, folder: Path, points: Points) -> None:
        self._points = points
        self._file = os.open(folder / RECEIVED, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.position = 0
        self.has_ended = False
        self.asked: set[str] = set()
        self.acked: bytes | None = None
        for line in (folder / RECEIVED).read_bytes().splitlines():
            self._take(line)

    def keep(self, kind: bytes, body: bytes) -> None:
        """The client has it. After its process was thought dead, the client is somewhere else."""
        if not self._points.woken:
            os.write(self._file, kind + body + b"\n")
            self._take(kind + body)

    def _take(self, line: bytes) -> None:
        if line.startswith(ACKED):
            self.acked = line.removeprefix(ACKED)
            return
        event = decode(line.removeprefix(EVENT))
        self.position = event.seq
        self.has_ended = self.has_ended or event.type in TERMINAL_TYPES
        data = decoded(event)
        if isinstance(data, ApprovalRequested):
            self.asked.add(data.approval_id)
        elif isinstance(data, ApprovalResolved):
            self.asked.discard(data.approval_id)


async def _converse(world: World, scope: Scope, client: Client, points: Points) -> None:
    """The message is sent, and the thread followed to the end of its run."""
    accepted = await world.send(scope, "once", client_message_id="the one message")
    points.reach("client: acknowledged")
    body = msgspec.json.encode(Accepted(**{**msgspec.structs.asdict(accepted), "replayed": False}))
    assert client.acked in (None, body), f"acknowledged {client.acked!r}, then {body!r}"
    if client.acked is None:
        client.keep(ACKED, body)
    async with aclosing(world.log.follow(scope, ThreadId(accepted.thread_id), after=client.position)) as batches:
        while not client.has_ended:
            for approval in sorted(client.asked):
                await _consent(world, scope, approval)
            for event in await anext(batches):
                points.reach("client: received")
                client.keep(EVENT, event.body)
                if decode(event.body).type in TERMINAL_TYPES:
                    return


async def _consent(world: World, scope: Scope, approval: str) -> None:
    """The person says yes, who cannot know whether their first yes was heard."""
    with contextlib.suppress(AlreadyDecidedError):
        await world.decisions.decide(scope, ApprovalId(approval), ApprovalDecision.APPROVE)


async def _come_to_rest(world: World, points: Points) -> None:
    """A process that was thought dead, and is not, has done what it will do."""
    quiet = 0
    while quiet < _QUIET_TURNS:
        await asyncio.sleep(_WAKING_S)
        still = points.woken and not world.worker.working and not world.bus.depth
        quiet = quiet + 1 if still else 0


async def _live(life: Life) -> None:
    folder = Path(life.folder)
    points = Points(armed=life.point, occurrence=life.occurrence, stops=life.stops, lists=life.lists)
    plant(life.plant)
    points.install()
    scope = _scope(msgspec.json.decode((folder / PERSON).read_bytes(), type=Person))
    client = Client(folder, points)
    owning: AbstractContextManager[None] = nullcontext() if life.shares else owned(folder)
    with owning:
        async with opened_world(folder / DATABASE_FILE) as world:
            STORIES[life.story](world, Effects(folder / EFFECTS, points.reach))
            await world.recovery.recover_all()
            async with working(world):
                await _to_the_end(life, world, scope, client, points)
    if life.lists:
        (folder / POINTS).write_bytes(msgspec.json.encode(points.seen))


async def _to_the_end(life: Life, world: World, scope: Scope, client: Client, points: Points) -> None:
    if not life.stops:
        await _converse(world, scope, client, points)
        return
    async with asyncio.TaskGroup() as group:
        conversing = group.create_task(_converse(world, scope, client, points))
        resting = group.create_task(_come_to_rest(world, points))
        await asyncio.wait({conversing, resting}, return_when=asyncio.FIRST_COMPLETED)
        if points.woken:
            await resting
        conversing.cancel()
        resting.cancel()


def _scope(person: Person) -> Scope:
    return Scope(
        tenant_id=TenantId(person.tenant_id),
        user_id=UserId(person.user_id),
        session_id=SessionId.new(),
        permissions=permissions_of(Role.MEMBER),
    )


async def _prepare(life: Life) -> None:
    folder = Path(life.folder)
    async with opened_world(folder / DATABASE_FILE) as world:
        scope = await world.person()
    person = Person(tenant_id=str(scope.tenant_id), user_id=str(scope.user_id))
    (folder / PERSON).write_bytes(msgspec.json.encode(person))


def _let_anybody_trace() -> None:
    """strace, which is no ancestor of ours, may follow this process where the kernel asks for consent."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(2 ** (8 * ctypes.sizeof(ctypes.c_ulong)) - 1), 0, 0, 0)


def _be(life: Life) -> None:
    """The forked child's whole life; never returns."""
    code = 1
    try:
        signal.alarm(life.limit_s)
        output = os.open(Path(life.folder) / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if life.gated:
            _let_anybody_trace()
            (Path(life.folder) / "gate").read_bytes()
        asyncio.run(_prepare(life) if life.does == PREPARE else _live(life))
        code = 0
    except BaseException:  # noqa: BLE001 -- it is told to the harness, by the exit code and the output
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _answer(request: Request) -> Answer:
    if request.life is not None:
        pid = os.fork()
        if pid == 0:
            _be(request.life)
        return Answer(pid=pid)
    if request.wake:
        os.kill(request.wake, signal.SIGCONT)
        return Answer(pid=request.wake)
    pid, status = os.waitpid(request.wait, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return Answer(pid=pid, state="stopped")
    code = os.waitstatus_to_exitcode(status)
    return Answer(pid=pid, state=f"exit:{code}" if code >= 0 else f"signal:{-code}")


def nurse() -> None:
    """Answer requests until there are no more."""
    # What is there now is never collected, so children need not copy its pages to count references.
    gc.collect()
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        answer = _answer(msgspec.json.decode(line, type=Request))
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    nurse()
