"""People, threads and runs to test with, made through the repositories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.permissions import Role, permissions_of
from cloche.domain.runs import TRANSITIONS, ExecutionState, Failure, Run, RunRef
from cloche.domain.scope import Scope, SystemScope
from cloche.domain.usage import Usage
from cloche.ids import (
    ApprovalId,
    ExecutionId,
    MessageId,
    RequestId,
    RunId,
    SessionId,
    TenantId,
    ThreadId,
    TraceId,
)
from cloche.storage.claims import ClaimRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft, EventRepository
from cloche.storage.runs import RunRepository
from cloche.storage.tenants import TenantDirectory
from cloche.storage.threads import ThreadRepository
from cloche.storage.users import MemberRepository

NOW = datetime(2031, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DIGEST = "hash"  # of a password that nobody knows
SYSTEM = SystemScope(purpose="contract suites")

# What people and models write: every one of them is sound text, and comes back character for character.
ODD_TEXTS = (
    "",
    " \t\r\n ",
    "' OR 1=1; DROP TABLE runs; --",
    '{}[]"\\%_?$1:name',
    "ẞŒ İi ﷺ 𝄞 👩\u200d👩\u200d👧\u200d👦 e\u0301 \u202eright to left\u202c \ufeff\ufffd\uffff",
    "\x01\x1f\x7f\x80\x9f\u2028\u2029",
    "x" * 60_000,
    "𝄞" * 15_000,
)


class AnyRow(tuple[object, ...]):
    """A row of however many columns a statement has."""

    __slots__ = ()

    def __new__(cls, *values: object) -> Self:
        """The values, in the order of the columns."""
        return super().__new__(cls, values)


async def rows(database: Database, sql: str, *params: int | str | bytes | None) -> list[AnyRow]:
    """Every row of a statement's answer."""
    return await database.read(lambda tx: tx.fetch(AnyRow, sql, *params))


async def newcomer(
    database: Database, *, tenant_id: TenantId | None = None, role: Role = Role.MEMBER, name: str = "A person"
) -> Scope:
    """The scope of a user who was just added, to a tenant of their own where none is named."""

    async def work(tx: Transaction) -> Scope:
        tenant = tenant_id
        if tenant is None:
            made = await TenantDirectory(SYSTEM).create(tx, slug=str(TenantId.new()), name="A tenant", at=NOW)
            tenant = made.id
        user = await MemberRepository(SYSTEM, tenant).create(
            tx, email=f"{RequestId.new()}@example.org", name=name, role=role, password_hash=DIGEST, at=NOW
        )
        return Scope(tenant_id=tenant, user_id=user.id, session_id=SessionId.new(), permissions=permissions_of(role))

    return await database.write(work)


async def add_thread(
    database: Database, scope: Scope, thread_id: ThreadId | None = None, *, title: str = "A thread", at: datetime = NOW
) -> ThreadId:
    """The id of a thread that was just created, with an empty log."""
    made = thread_id or ThreadId.new()
    await database.write(lambda tx: ThreadRepository(scope).create(tx, made, title=title, metadata={}, at=at))
    return made


def event_draft(text: str = "", run_id: RunId | None = None) -> EventDraft:
    """An event that holds a text, of a run or of none."""
    return EventDraft("agent_thinking", None if run_id is None else str(run_id), f'"text":"{text}"}}'.encode())


async def append_events(
    database: Database, scope: Scope, thread_id: ThreadId, drafts: Sequence[EventDraft], *, at: datetime = NOW
) -> list[int]:
    """The numbers that the events got."""
    stored = await database.write(lambda tx: EventRepository(scope).append(tx, thread_id, drafts, at=at))
    return [event.seq for event in stored]


def pending_run(scope: Scope, thread_id: ThreadId, *, first_seq: int = 1, at: datetime = NOW) -> Run:
    """A run as it is before it is written."""
    return Run(
        ref=RunRef(tenant_id=scope.tenant_id, user_id=scope.user_id, thread_id=thread_id, run_id=RunId.new()),
        message_id=MessageId.new(),
        agent="gardener",
        agent_version="1",
        model="scripted",
        state=ExecutionState.PENDING,
        epoch=0,
        attempt=0,
        losses=0,
        timeout=timedelta(minutes=10),
        deadline_at=None,
        request_id=RequestId.new(),
        trace_id=TraceId.new(),
        failure=None,
        usage=Usage(),
        first_seq=first_seq,
        last_seq=0,
        created_at=at,
        state_times={ExecutionState.PENDING: at},
    )


async def add_run(
    database: Database,
    scope: Scope,
    thread_id: ThreadId | None = None,
    *,
    is_admitted: bool = True,
    at: datetime = NOW,
) -> Run:
    """A pending run with its first event, on a thread of its own where none is named."""
    place = thread_id or await add_thread(database, scope)

    async def work(tx: Transaction) -> Run:
        stored = await EventRepository(scope).append(tx, place, [event_draft("asked")], at=at)
        run = pending_run(scope, place, first_seq=stored[0].seq, at=at)
        await RunRepository(scope).create(tx, run, is_admitted=is_admitted)
        return run

    return await database.write(work)


async def claim(database: Database, ref: RunRef, *, worker: str = "worker-1", at: datetime = NOW) -> Run | None:
    """The run, if this worker got it."""
    return await database.write(
        lambda tx: ClaimRepository(SYSTEM).claim(tx, ref, worker=worker, execution_id=ExecutionId.new(), at=at)
    )


async def add_claimed_run(database: Database, scope: Scope, thread_id: ThreadId | None = None) -> Run:
    """A run in the state ``starting`` that an execution owns."""
    claimed = await claim(database, (await add_run(database, scope, thread_id)).ref)
    assert claimed is not None, "nobody else knows of the run"
    return claimed


def way_to(state: ExecutionState) -> list[ExecutionState]:
    """The shortest way of moves from ``pending`` to a state."""
    ways: dict[ExecutionState, list[ExecutionState]] = {ExecutionState.PENDING: []}
    waiting = [ExecutionState.PENDING]
    while state not in ways:
        here = waiting.pop(0)
        for there in sorted(TRANSITIONS[here] - set(ways)):
            ways[there] = [*ways[here], there]
            waiting.append(there)
    return ways[state]


async def move(
    tx: Transaction,
    scope: Scope,
    run_id: RunId,
    to: ExecutionState,
    *,
    at: datetime = NOW,
    epoch: int | None = None,
    usage: Usage | None = None,
    failure: Failure | None = None,
) -> None:
    """The run moved to a live state, or ended in a terminal one."""
    runs = RunRepository(scope)
    if to.is_terminal:
        await runs.end(tx, run_id, to, at=at, epoch=epoch, last_seq=1, usage=usage or Usage(), failure=failure)
    else:
        await runs.move(tx, run_id, to, at=at, epoch=epoch)


async def move_to(database: Database, scope: Scope, run_id: RunId, *states: ExecutionState) -> None:
    """The run went through these states, whoever owns it."""

    async def work(tx: Transaction) -> None:
        for state in states:
            await move(tx, scope, run_id, state)

    await database.write(work)


def open_approval(run: Run, *, tool_call_id: str = "call-1", at: datetime = NOW) -> Approval:
    """A question of the run to its person."""
    return Approval(
        id=ApprovalId.new(),
        user_id=run.ref.user_id,
        delegate_id=None,
        thread_id=run.thread_id,
        run_id=run.id,
        tool_call_id=tool_call_id,
        tool="prune",
        question="May I?",
        arguments={"plant": "rose", "nested": [1, None, {"a": "ü"}]},
        schema={"type": "object"},
        state=ApprovalState.PENDING,
        created_at=at,
        expires_at=at + timedelta(days=7),
        decided_at=None,
        decided_by=None,
        edited_arguments=None,
    )
