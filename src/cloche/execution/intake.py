"""Accepting a message: message, run and events in one transaction, answered after the commit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import msgspec

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.domain.approvals import Approval
from cloche.domain.events import EventData, MessageCreated, RunQueued
from cloche.domain.messages import MAX_CLIENT_MESSAGE_ID, Message, MessageRole, Part
from cloche.domain.runs import UNDONE_STATES, ExecutionState, OnBusy, OnPendingApproval, Run, RunRef
from cloche.domain.scope import Scope
from cloche.domain.threads import title_from
from cloche.domain.usage import Usage
from cloche.errors import (
    ApprovalPendingError,
    DrainingError,
    IdempotencyMismatchError,
    InvalidInputError,
    QuotaExceededError,
    RetryRefusedError,
    ThreadBusyError,
)
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.execution.cancellation import Cancellation
from cloche.execution.claiming import Begun, Claimed, Claiming
from cloche.execution.program import Programs
from cloche.execution.worker import Seat, Worker
from cloche.ids import MessageId, RequestId, RunId, ThreadId, TraceId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository
from cloche.telemetry import Telemetry

MAX_LIVE_RUNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A message as a person sends it. Without a thread, a new one is made."""

    parts: tuple[Part, ...]
    client_message_id: str
    thread_id: ThreadId | None = None
    agent: str | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """The wish that an ended run's message is answered anew."""

    run_id: RunId
    client_message_id: str | None = None
    on_busy: OnBusy = OnBusy.ENQUEUE
    on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender is told once the message is durable. ``seq`` is the first event of its run."""

    thread_id: str
    message_id: str
    run_id: str
    seq: int
    replayed: bool = False


@dataclass(slots=True, kw_only=True)
class _Outcome:
    accepted: Accepted
    offers: Sequence[RunRef] = ()
    signals: Sequence[RunRef] = ()
    claimed: Claimed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """What is before a run on its thread: how many, whom to signal, and why it waits."""

    blockers: int = 0
    signals: Sequence[RunRef] = ()
    reason: Literal["accepted", "thread_busy", "interrupting", "approval_pending"] = "accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """Who asks for a run, and the ids that it will have."""

    scope: Scope
    run_id: RunId
    request_id: RequestId
    trace_id: TraceId


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A checked message, and the ids that its things will have."""

    call: _Call
    sending: Sending
    spec: AgentSpec
    digest: bytes
    message_id: MessageId
    new_thread: ThreadId


_Taking = Callable[[Transaction, Claiming | None], Awaitable[_Outcome]]


class Intake:
    """The way in for messages.

    A run that its process's worker can take at once begins in the transaction that accepts it; any other is offered.
    """

    def __init__(
        self,
        *,
        database: Database,
        log: EventLog,
        bus: Bus,
        clock: Clock,
        telemetry: Telemetry,
        programs: Programs,
        cancellation: Cancellation,
        worker: Worker | None,
    ) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._programs = programs
        self._cancellation = cancellation
        self._worker = worker
        self._draining = False

    def close(self) -> None:
        """No message is taken any more."""
        self._draining = True

    async def accept(
        self, scope: Scope, sending: Sending, *, request_id: RequestId, trace_id: TraceId | None = None
    ) -> Accepted:
        """The message and its run are durable, and the run will be executed.

        Guarantees: the same ``client_message_id`` with the same body gives the same answer and no second run.
        Cancellation: the message is either wholly accepted or wholly not; asking again tells which.

        Raises:
            NotFoundError: the thread or agent is none of this user's.
            IdempotencyMismatchError: another body was sent under this client id.
            ThreadBusyError: the thread works, and ``on_busy`` is ``reject``.
            ApprovalPendingError: the thread waits for an approval, and ``on_pending_approval`` is ``reject``.
            QuotaExceededError: the user has too many runs that have not ended.
            DrainingError: the process is shutting down.
        """
        self._check_open()
        _check_client_id(sending.client_message_id)
        asked = _Asked(
            call=_Call(scope=scope, run_id=RunId.new(), request_id=request_id, trace_id=trace_id or TraceId.new()),
            sending=sending,
            spec=self._programs.spec(sending.agent),
            digest=_digest(sending),
            message_id=MessageId.new(),
            new_thread=ThreadId.new(),
        )
        return await self._take(asked.call, lambda tx, claiming: self._accept(tx, asked, claiming))

    async def retry(
        self, scope: Scope, retrying: Retrying, *, request_id: RequestId, trace_id: TraceId | None = None
    ) -> Accepted:
        """A fresh run of the ended run's message is durable, on the same thread, and will be executed.

        Its agent is the one of that name as it is declared now. The message stays one: the run's first event is
        ``run_queued`` with ``retry_of``.

        Guarantees: the same ``client_message_id`` with the same run gives the same answer and no second retry.
        Cancellation: as for ``accept``.

        Raises:
            NotFoundError: this user has no such run, its thread was deleted, or its agent is not here any more.
            RetryRefusedError: the run has not ended, or it completed.
            IdempotencyMismatchError: another run was tried again under this client id.
            ThreadBusyError: the thread works, and ``on_busy`` is ``reject``.
            ApprovalPendingError: the thread waits for an approval, and ``on_pending_approval`` is ``reject``.
            QuotaExceededError: the user has too many runs that have not ended.
            DrainingError: the process is shutting down.
        """
        self._check_open()
        if retrying.client_message_id is not None:
            _check_client_id(retrying.client_message_id)
        call = _Call(scope=scope, run_id=RunId.new(), request_id=request_id, trace_id=trace_id or TraceId.new())
        return await self._take(call, lambda tx, claiming: self._try_again(tx, call, retrying, claiming))

    def _check_open(self) -> None:
        if self._draining:
            raise DrainingError("the server is shutting down; send again in a moment", retry_after_s=2)

    async def _take(self, call: _Call, taking: _Taking) -> Accepted:
        """What ``taking`` wrote is durable; its run is at work here, where there is a place, or else offered."""
        worker = self._worker
        seat = None if worker is None else worker.reserve(call.run_id)

        async def work(tx: Transaction) -> Accepted:
            outcome = await taking(tx, None if seat is None or worker is None else worker.claiming)
            tx.after_commit(lambda: self._tell(outcome, seat))
            return outcome.accepted

        try:
            return await self._database.write(work)
        except asyncio.CancelledError:
            if worker is not None and seat is not None:
                worker.release_unless_begun(seat)
            raise
        except BaseException:
            if worker is not None and seat is not None:
                worker.release(seat)
            raise

    async def _accept(self, tx: Transaction, asked: _Asked, claiming: Claiming | None) -> _Outcome:
        scope, sending, now = asked.call.scope, asked.sending, self._clock.now()
        known = await self._find_known(tx, scope, sending, asked.digest)
        if known is not None:
            return _Outcome(accepted=known)
        thread_id = sending.thread_id  # one that is given was looked up with what is known of the message
        if thread_id is None:
            thread_id, title = asked.new_thread, title_from(sending.parts[0].text)
            await ThreadRepository(scope).create(tx, thread_id, title=title, metadata={}, at=now)
        way = await self._make_way(tx, scope, sending, thread_id)
        created = MessageCreated(
            message_id=asked.message_id,
            role=MessageRole.USER,
            parts=sending.parts,
            by=scope.user_id,
            client_message_id=sending.client_message_id,
        )
        run, begun = await self._enter(
            tx,
            scope,
            _pending_run(asked.call, asked.spec, thread_id, asked.message_id, now),
            (created, RunQueued(position=way.blockers, reason=way.reason)),
            is_free=not way.blockers,
            claiming=claiming,
        )
        message = Message(
            id=run.message_id,
            thread_id=thread_id,
            run_id=run.id,
            seq=run.first_seq,
            role=MessageRole.USER,
            parts=sending.parts,
            client_message_id=sending.client_message_id,
            created_at=now,
        )
        await MessageRepository(scope).create(
            tx,
            message.id,
            thread_id=thread_id,
            run_id=run.id,
            seq=message.seq,
            role=message.role,
            parts=message.parts,
            at=now,
            client_message_id=message.client_message_id,
            body_digest=asked.digest,
        )
        outcome = _outcome(way, run, begun, message)
        if sending.thread_id is None:
            await MessageRepository(scope).keep_answer(
                tx, _key(sending), asked.digest, msgspec.json.encode(outcome.accepted), at=now
            )
        return outcome

    async def _try_again(self, tx: Transaction, call: _Call, retrying: Retrying, claiming: Claiming | None) -> _Outcome:
        scope, now, client_id = call.scope, self._clock.now(), retrying.client_message_id
        messages, key, digest = MessageRepository(scope), f"retry:{client_id}", str(retrying.run_id).encode()
        if client_id is not None:
            known = await self._find_answer(tx, messages, key, digest)
            if known is not None:
                return _Outcome(accepted=known)
        former = await RunRepository(scope).get(tx, retrying.run_id)
        await ThreadRepository(scope).get(tx, former.thread_id)
        if former.state not in UNDONE_STATES:
            raise RetryRefusedError(
                f"the run is {former.state}: there is nothing to try again", details={"state": str(former.state)}
            )
        spec = self._programs.spec(former.agent)
        way = await self._make_way(tx, scope, retrying, former.thread_id)
        run, begun = await self._enter(
            tx,
            scope,
            replace(_pending_run(call, spec, former.thread_id, former.message_id, now), retry_of=former.id),
            (RunQueued(position=way.blockers, reason=way.reason, retry_of=former.id),),
            is_free=not way.blockers,
            claiming=claiming,
        )
        outcome = _outcome(way, run, begun, await messages.get(tx, run.message_id))
        if client_id is not None:
            await messages.keep_answer(tx, key, digest, msgspec.json.encode(outcome.accepted), at=now)
        return outcome

    async def _enter(
        self,
        tx: Transaction,
        scope: Scope,
        run: Run,
        told: Sequence[EventData],
        *,
        is_free: bool,
        claiming: Claiming | None,
    ) -> tuple[Run, Begun | None]:
        """The run has its row and its first events. With ``claiming`` it has begun, where the thread is free for it."""
        begun = await claiming.begin(tx, run) if is_free and claiming is not None else None
        drafts = [
            draft(event, thread_id=run.thread_id, run_id=run.id, at=run.created_at, trace_id=run.trace_id)
            for event in told
        ]
        stored = await self._log.append(
            tx,
            scope,
            run.thread_id,
            drafts if begun is None else [*drafts, begun.started],
            at=run.created_at,
            own=len(told),
        )
        run = replace(run if begun is None else begun.run, first_seq=stored[0].seq)
        await RunRepository(scope).create(tx, run, is_admitted=is_free, worker=claiming and begun and claiming.worker)
        return run, begun

    def _tell(self, outcome: _Outcome, seat: Seat | None) -> None:
        """Workers hear of what was committed, whether or not the sender is still there."""
        if self._worker is not None and seat is not None:
            if outcome.claimed is not None:
                self._worker.begin(seat, outcome.claimed)
            else:
                self._worker.release(seat)
        for ref in outcome.signals:
            self._bus.signal_cancel(ref)
        for ref in outcome.offers:
            self._bus.offer(ref)
        if not outcome.accepted.replayed:
            self._telemetry.figures.runs_accepted += 1

    async def _find_known(self, tx: Transaction, scope: Scope, sending: Sending, digest: bytes) -> Accepted | None:
        messages = MessageRepository(scope)
        if sending.thread_id is None:
            return await self._find_answer(tx, messages, _key(sending), digest)
        await ThreadRepository(scope).get(tx, sending.thread_id)
        sent = await messages.find_sent(tx, sending.thread_id, sending.client_message_id)
        if sent is None:
            return None
        _check_digest(sent.body_digest, digest)
        return Accepted(
            thread_id=str(sending.thread_id), message_id=sent.id, run_id=sent.run_id, seq=sent.seq, replayed=True
        )

    async def _find_answer(
        self, tx: Transaction, messages: MessageRepository, key: str, digest: bytes
    ) -> Accepted | None:
        answer = await messages.find_answer(tx, key)
        if answer is None:
            return None
        _check_digest(answer.body_digest, digest)
        return msgspec.structs.replace(msgspec.json.decode(answer.answer, type=Accepted), replayed=True)

    async def _make_way(self, tx: Transaction, scope: Scope, sending: Sending | Retrying, thread_id: ThreadId) -> _Way:
        """What is before the new run, after those that it interrupts were cancelled."""
        runs = RunRepository(scope)
        of_user = await runs.live_states(tx)
        if sum(len(states) for states in of_user.values()) >= MAX_LIVE_RUNS:
            raise QuotaExceededError(
                f"{MAX_LIVE_RUNS} runs of yours have not ended yet", details={"limit": MAX_LIVE_RUNS}, retry_after_s=5
            )
        if thread_id not in of_user:
            return _Way()
        live = await runs.live(tx, thread_id)
        waiting = await ApprovalRepository(scope).open_of_thread(tx, thread_id)
        if waiting and sending.on_pending_approval is OnPendingApproval.REJECT:
            raise _approval_pending(waiting[0])
        if not waiting and sending.on_busy is OnBusy.REJECT:
            raise ThreadBusyError("a run is working on the thread", details={"run_id": str(live[0].id)})
        interrupt = sending.on_busy is OnBusy.INTERRUPT
        if waiting:
            interrupt = sending.on_pending_approval is OnPendingApproval.CANCEL_APPROVAL
        if not interrupt:
            return _Way(blockers=len(live), reason="approval_pending" if waiting else "thread_busy")
        signals: list[RunRef] = []
        ended = 0
        for run in reversed(live):
            stopped = await self._cancellation.cancel_in(tx, scope, run, reason="a newer message interrupted the run")
            if stopped.signal:
                signals.append(run.ref)
            else:
                ended += 1
        return _Way(blockers=len(live) - ended, signals=signals, reason="interrupting" if signals else "accepted")


def _outcome(way: _Way, run: Run, begun: Begun | None, message: Message) -> _Outcome:
    accepted = Accepted(
        thread_id=str(run.thread_id), message_id=str(run.message_id), run_id=str(run.id), seq=run.first_seq
    )
    if begun is not None:
        claimed = Claimed(
            run=run, execution_id=begun.execution_id, scope=begun.scope, message=message, steps=(), refusal=None
        )
        return _Outcome(accepted=accepted, signals=way.signals, claimed=claimed)
    return _Outcome(accepted=accepted, offers=() if way.blockers else (run.ref,), signals=way.signals)


def _pending_run(call: _Call, spec: AgentSpec, thread_id: ThreadId, message_id: MessageId, at: datetime) -> Run:
    return Run(
        ref=RunRef(tenant_id=call.scope.tenant_id, user_id=call.scope.user_id, thread_id=thread_id, run_id=call.run_id),
        message_id=message_id,
        agent=spec.name,
        agent_version=spec.version,
        model=spec.model,
        state=ExecutionState.PENDING,
        epoch=0,
        attempt=0,
        losses=0,
        timeout=spec.limits.run_timeout,
        deadline_at=None,
        request_id=call.request_id,
        trace_id=call.trace_id,
        failure=None,
        usage=Usage(),
        first_seq=0,
        last_seq=0,
        created_at=at,
        state_times={},
    )


def _check_client_id(value: str) -> None:
    if not value or len(value) > MAX_CLIENT_MESSAGE_ID or not value.isprintable():
        raise InvalidInputError(
            f"client_message_id must be 1 to {MAX_CLIENT_MESSAGE_ID} printable characters",
            details={"place": "$.client_message_id"},
        )


def _check_digest(known: bytes, digest: bytes) -> None:
    if known != digest:
        raise IdempotencyMismatchError("another message was sent under this client_message_id")


def _digest(sending: Sending) -> bytes:
    body = msgspec.json.encode([sending.thread_id and str(sending.thread_id), sending.agent, sending.parts])
    return hashlib.blake2b(body, digest_size=16).digest()


def _key(sending: Sending) -> str:
    return f"send:{sending.client_message_id}"


def _approval_pending(approval: Approval) -> ApprovalPendingError:
    return ApprovalPendingError(
        "the thread's run waits for an approval",
        details={"approval_id": str(approval.id), "run_id": str(approval.run_id)},
    )
