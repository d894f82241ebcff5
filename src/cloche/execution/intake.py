"""Accepting a message: message, run and events in one transaction, answered after the commit."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import msgspec

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.agents import AgentSpec
from cloche.domain.approvals import Approval
from cloche.domain.events import MessageCreated, RunQueued
from cloche.domain.messages import MAX_CLIENT_MESSAGE_ID, Message, MessageRole, Part
from cloche.domain.runs import ExecutionState, OnBusy, OnPendingApproval, Run, RunRef
from cloche.domain.scope import Scope
from cloche.domain.threads import title_from
from cloche.domain.usage import Usage
from cloche.errors import (
    ApprovalPendingError,
    DrainingError,
    IdempotencyMismatchError,
    InvalidInputError,
    QuotaExceededError,
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


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender is told once the message is durable."""

    thread_id: str
    message_id: str
    run_id: str
    seq: int
    replayed: bool = False


@dataclass(slots=True, kw_only=True)
class _Outcome:
    accepted: Accepted
    offers: Sequence[RunRef]
    signals: Sequence[RunRef]
    claimed: Claimed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A checked request, and the ids that its things will have."""

    scope: Scope
    sending: Sending
    spec: AgentSpec
    digest: bytes
    run_id: RunId
    message_id: MessageId
    new_thread: ThreadId
    request_id: RequestId
    trace_id: TraceId


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
        if self._draining:
            raise DrainingError("the server is shutting down; send again in a moment", retry_after_s=2)
        _check_client_id(sending.client_message_id)
        spec = self._programs.spec(sending.agent)
        asked = _Asked(
            scope=scope,
            sending=sending,
            spec=spec,
            digest=_digest(sending),
            run_id=RunId.new(),
            message_id=MessageId.new(),
            new_thread=ThreadId.new(),
            request_id=request_id,
            trace_id=trace_id or TraceId.new(),
        )

        worker = self._worker
        seat = None if worker is None else worker.reserve(asked.run_id)

        async def work(tx: Transaction) -> Accepted:
            outcome = await self._accept(tx, asked, None if seat is None or worker is None else worker.claiming)
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
        scope, sending = asked.scope, asked.sending
        known = await self._find_known(tx, scope, sending, asked.digest)
        if known is not None:
            return _Outcome(accepted=known, offers=(), signals=())
        thread_id = await self._thread(tx, asked)
        blockers, offers, signals, reason = await self._make_way(tx, scope, sending, thread_id)
        run = _pending_run(asked, thread_id, self._clock.now())
        created = MessageCreated(
            message_id=asked.message_id,
            role=MessageRole.USER,
            parts=sending.parts,
            by=scope.user_id,
            client_message_id=sending.client_message_id,
        )
        begun = None if blockers or claiming is None else await claiming.begin(tx, run)
        drafts = [
            draft(event, thread_id=thread_id, run_id=run.id, at=run.created_at, trace_id=run.trace_id)
            for event in (created, RunQueued(position=blockers, reason=reason))
        ]
        stored = await self._log.append(
            tx, scope, thread_id, drafts if begun is None else [*drafts, begun.started], at=run.created_at
        )
        run = replace(run if begun is None else begun.run, first_seq=stored[0].seq)
        await self._insert(tx, asked, run, is_admitted=not blockers, worker=claiming and begun and claiming.worker)
        if not blockers and begun is None:
            offers = [*offers, run.ref]
        accepted = Accepted(
            thread_id=str(thread_id), message_id=str(run.message_id), run_id=str(run.id), seq=stored[0].seq
        )
        if sending.thread_id is None:
            await MessageRepository(scope).keep_answer(
                tx, _key(sending), asked.digest, msgspec.json.encode(accepted), at=run.created_at
            )
        claimed = None if begun is None else _claimed(asked, run, begun)
        return _Outcome(accepted=accepted, offers=offers, signals=signals, claimed=claimed)

    async def _thread(self, tx: Transaction, asked: _Asked) -> ThreadId:
        thread_id = asked.sending.thread_id
        if thread_id is not None:
            return thread_id  # it was looked up with what is known of the message
        title = title_from(asked.sending.parts[0].text)
        await ThreadRepository(asked.scope).create(tx, asked.new_thread, title=title, metadata={}, at=self._clock.now())
        return asked.new_thread

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

    async def _insert(self, tx: Transaction, asked: _Asked, run: Run, *, is_admitted: bool, worker: str | None) -> None:
        await MessageRepository(asked.scope).create(
            tx,
            run.message_id,
            thread_id=run.thread_id,
            run_id=run.id,
            seq=run.first_seq,
            role=MessageRole.USER,
            parts=asked.sending.parts,
            at=run.created_at,
            client_message_id=asked.sending.client_message_id,
            body_digest=asked.digest,
        )
        await RunRepository(asked.scope).create(tx, run, is_admitted=is_admitted, worker=worker)

    async def _find_known(self, tx: Transaction, scope: Scope, sending: Sending, digest: bytes) -> Accepted | None:
        messages = MessageRepository(scope)
        if sending.thread_id is None:
            answer = await messages.find_answer(tx, _key(sending))
            if answer is None:
                return None
            _check_digest(answer.body_digest, digest)
            known = msgspec.json.decode(answer.answer, type=Accepted)
            return msgspec.structs.replace(known, replayed=True)
        await ThreadRepository(scope).get(tx, sending.thread_id)
        sent = await messages.find_sent(tx, sending.thread_id, sending.client_message_id)
        if sent is None:
            return None
        _check_digest(sent.body_digest, digest)
        return Accepted(
            thread_id=str(sending.thread_id), message_id=sent.id, run_id=sent.run_id, seq=sent.seq, replayed=True
        )

    async def _make_way(
        self, tx: Transaction, scope: Scope, sending: Sending, thread_id: ThreadId
    ) -> tuple[int, list[RunRef], list[RunRef], Literal["accepted", "thread_busy", "interrupting", "approval_pending"]]:
        """How many runs are before the new one, whom to offer and signal, and why it waits."""
        runs = RunRepository(scope)
        of_user = await runs.live_states(tx)
        if sum(len(states) for states in of_user.values()) >= MAX_LIVE_RUNS:
            raise QuotaExceededError(
                f"{MAX_LIVE_RUNS} runs of yours have not ended yet", details={"limit": MAX_LIVE_RUNS}, retry_after_s=5
            )
        if thread_id not in of_user:
            return 0, [], [], "accepted"
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
            return len(live), [], [], "approval_pending" if waiting else "thread_busy"
        signals: list[RunRef] = []
        ended = 0
        for run in reversed(live):
            stopped = await self._cancellation.cancel_in(tx, scope, run, reason="a newer message interrupted the run")
            if stopped.signal:
                signals.append(run.ref)
            else:
                ended += 1
        return len(live) - ended, [], signals, "interrupting" if signals else "accepted"


def _pending_run(asked: _Asked, thread_id: ThreadId, at: datetime) -> Run:
    return Run(
        ref=RunRef(
            tenant_id=asked.scope.tenant_id, user_id=asked.scope.user_id, thread_id=thread_id, run_id=asked.run_id
        ),
        message_id=asked.message_id,
        agent=asked.spec.name,
        agent_version=asked.spec.version,
        model=asked.spec.model,
        state=ExecutionState.PENDING,
        epoch=0,
        attempt=0,
        losses=0,
        timeout=asked.spec.limits.run_timeout,
        deadline_at=None,
        request_id=asked.request_id,
        trace_id=asked.trace_id,
        failure=None,
        usage=Usage(),
        first_seq=0,
        last_seq=0,
        created_at=at,
        state_times={},
    )


def _claimed(asked: _Asked, run: Run, begun: Begun) -> Claimed:
    message = Message(
        id=run.message_id,
        thread_id=run.thread_id,
        run_id=run.id,
        seq=run.first_seq,
        role=MessageRole.USER,
        parts=asked.sending.parts,
        client_message_id=asked.sending.client_message_id,
        created_at=run.created_at,
    )
    return Claimed(run=run, execution_id=begun.execution_id, scope=begun.scope, message=message, steps=(), refusal=None)


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
