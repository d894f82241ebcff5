"""Runs in the database: every move goes through the one table of transitions, every write names the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.runs import ExecutionState, Failure, Run, RunRef, check_state, sources
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.errors import IllegalTransitionError, LeaseLostError, NotFoundError
from cloche.ids import MessageId, RequestId, RunId, TenantId, ThreadId, TraceId, UserId
from cloche.storage.database import Param, Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of

_MICROSECOND = timedelta(microseconds=1)
_TIMES = tuple(f"{state}_at" for state in ExecutionState)
COLUMNS = (
    "tenant_id, user_id, thread_id, id, message_id, agent, agent_version, model, state, epoch, attempt, losses, "
    "timeout_us, deadline_at, request_id, trace_id, failure_code, failure_message, failure_retryable, usage, first_seq, "
    "last_seq, created_at, " + ", ".join(_TIMES) + ", retry_of"
)
_ONE = "tenant_id = ? AND user_id = ? AND id = ?"
_FENCE = " AND epoch = ? AND state <> 'pending'"
_TERMINAL = ", ".join(f"'{state}'" for state in ExecutionState if state.is_terminal)
_ENDED_SINCE = (
    "CASE state "
    + " ".join(f"WHEN '{state}' THEN {state}_at" for state in ExecutionState if state.is_terminal)
    + " END"
)


class RunRow(NamedTuple):
    """A row of ``runs``, in the order of ``COLUMNS``."""

    tenant_id: str
    user_id: str
    thread_id: str
    id: str
    message_id: str
    agent: str
    agent_version: str
    model: str
    state: str
    epoch: int
    attempt: int
    losses: int
    timeout_us: int
    deadline_at: int | None
    request_id: str
    trace_id: str
    failure_code: str | None
    failure_message: str | None
    failure_retryable: int | None
    usage: bytes
    first_seq: int
    last_seq: int
    created_at: int
    pending_at: int | None
    starting_at: int | None
    running_at: int | None
    waiting_at: int | None
    completing_at: int | None
    cancelling_at: int | None
    completed_at: int | None
    failed_at: int | None
    timeout_at: int | None
    dead_at: int | None
    cancelled_at: int | None
    retry_of: str | None


class StateRow(NamedTuple):
    """A run's state and epoch."""

    state: str
    epoch: int


class _ThreadStateRow(NamedTuple):
    thread_id: str
    state: str


class _AdmissionRow(NamedTuple):
    first_seq: int
    id: str
    admitted_at: int | None


def _move_statement(to: ExecutionState) -> str:
    allowed = ", ".join(f"'{state}'" for state in sorted(sources(to)))
    return f"UPDATE runs SET state = '{to}', {to}_at = ? WHERE {_ONE} AND state IN ({allowed})"


def _end_statement(to: ExecutionState) -> str:
    # What is completed was completing for the length of this statement.
    through = ExecutionState.COMPLETING if to is ExecutionState.COMPLETED else to
    allowed = ", ".join(f"'{state}'" for state in sorted(sources(through) | sources(to)))
    times = ", ".join(f"{state}_at = ?" for state in dict.fromkeys((through, to)))
    return (
        f"UPDATE runs SET state = '{to}', {times}, ended_at = ?, last_seq = ?, usage = ?, failure_code = ?, "
        "failure_message = ?, failure_retryable = ?, worker_id = NULL, lease_until = NULL "
        f"WHERE {_ONE} AND state IN ({allowed})"
    )


_MOVES: Mapping[ExecutionState, str] = {
    state: _move_statement(state) for state in ExecutionState if not state.is_terminal
}
_ENDS: Mapping[ExecutionState, str] = {state: _end_statement(state) for state in ExecutionState if state.is_terminal}


class RunRepository:
    """The runs of one user."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def create(self, tx: Transaction, run: Run, *, is_admitted: bool, worker: str | None = None) -> None:
        """The run has its row: pending, and to be claimed once it is admitted; or at work, in the hands of ``worker``."""
        columns: dict[str, Param] = {
            "tenant_id": self._tenant,
            "user_id": self._user,
            "id": str(run.id),
            "thread_id": str(run.thread_id),
            "message_id": str(run.message_id),
            "agent": run.agent,
            "agent_version": run.agent_version,
            "model": run.model,
            "state": str(run.state),
            "request_id": str(run.request_id),
            "trace_id": str(run.trace_id),
            "epoch": run.epoch,
            "attempt": run.attempt,
            "losses": run.losses,
            "timeout_us": run.timeout // _MICROSECOND,
            "first_seq": run.first_seq,
            "last_seq": run.last_seq,
            "created_at": to_micros(run.created_at),
            "deadline_at": None if run.deadline_at is None else to_micros(run.deadline_at),
            "worker_id": worker,
            "retry_of": None if run.retry_of is None else str(run.retry_of),
            "admitted_at": to_micros(run.created_at) if is_admitted else None,
            "usage": msgspec.json.encode(run.usage),
            "pending_at": to_micros(run.created_at),
            **{f"{state}_at": to_micros(at) for state, at in run.state_times.items()},
        }
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        await tx.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", *columns.values())

    async def find(self, tx: Transaction, run_id: RunId) -> Run | None:
        """The run, or None when this user has none of that id."""
        row = await tx.first(
            RunRow,
            f"SELECT {COLUMNS} FROM runs WHERE {_ONE}",
            self._tenant,
            self._user,
            str(run_id),
        )
        return None if row is None else run_of(row)

    async def get(self, tx: Transaction, run_id: RunId) -> Run:
        """The run.

        Raises:
            NotFoundError: this user has none of that id.
        """
        found = await self.find(tx, run_id)
        if found is None:
            raise NotFoundError("there is no such run")
        return found

    async def list(self, tx: Transaction, page: PageRequest, *, thread_id: ThreadId | None = None) -> Page[Run]:
        """The user's runs, or one thread's, newest first."""
        # An id is made when its run is, and ids increase.
        _, identity = page.before or (0, "~")
        place, values = ("AND thread_id = ? ", (str(thread_id),)) if thread_id is not None else ("", ())
        rows = await tx.fetch(
            RunRow,
            f"SELECT {COLUMNS} FROM runs WHERE tenant_id = ? AND user_id = ? {place}AND id < ? ORDER BY id DESC LIMIT ?",
            self._tenant,
            self._user,
            *values,
            identity,
            page.limit + 1,
        )
        kept = rows[: page.limit]
        cursor = cursor_of("runs", kept[-1].created_at, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[run_of(row) for row in kept], next_cursor=cursor)

    async def live(self, tx: Transaction, thread_id: ThreadId) -> list[Run]:
        """The runs of the thread that have not ended, in their order."""
        rows = await tx.fetch(
            RunRow,
            f"SELECT {COLUMNS} FROM runs WHERE tenant_id = ? AND user_id = ? AND thread_id = ? AND ended_at IS NULL "
            "ORDER BY first_seq",
            self._tenant,
            self._user,
            str(thread_id),
        )
        return [run_of(row) for row in rows]

    async def live_states(self, tx: Transaction) -> dict[ThreadId, list[ExecutionState]]:
        """The states of this user's runs that have not ended, by thread; a thread without any is not there."""
        rows = await tx.fetch(
            _ThreadStateRow,
            "SELECT thread_id, state FROM runs WHERE tenant_id = ? AND user_id = ? AND ended_at IS NULL",
            self._tenant,
            self._user,
        )
        found: dict[ThreadId, list[ExecutionState]] = {}
        for row in rows:
            found.setdefault(ThreadId(row.thread_id), []).append(ExecutionState(row.state))
        return found

    async def move(
        self, tx: Transaction, run_id: RunId, to: ExecutionState, *, at: datetime, epoch: int | None
    ) -> None:
        """The run is in the live state ``to`` since ``at``. With an ``epoch``, only while that execution owns it.

        It does so no longer once the run was offered again, even before the next one has claimed it.

        Raises:
            NotFoundError: this user has no such run.
            LeaseLostError: another execution owns it.
            IllegalTransitionError: the table has no such move from the run's state.
        """
        check_state(to)
        assert not to.is_terminal, "a run ends by ``end``"
        fence = () if epoch is None else (epoch,)
        statement = _MOVES[to] if epoch is None else _MOVES[to] + _FENCE
        if not await tx.execute(statement, to_micros(at), self._tenant, self._user, str(run_id), *fence):
            await self._explain(tx, run_id, to, epoch)

    async def end(
        self,
        tx: Transaction,
        run_id: RunId,
        to: ExecutionState,
        *,
        at: datetime,
        epoch: int | None,
        last_seq: int,
        usage: Usage,
        failure: Failure | None,
    ) -> None:
        """The run is over: in the terminal state ``to`` since ``at``, with what came of it.

        ``last_seq`` is the number of its last event. A run completes through ``completing``. The fence is that of
        ``move``.

        Raises:
            NotFoundError: this user has no such run.
            LeaseLostError: another execution owns it.
            IllegalTransitionError: the table has no such move from the run's state.
        """
        assert check_state(to).is_terminal, "a run moves by ``move``"
        now = to_micros(at)
        times = (now, now, now) if to is ExecutionState.COMPLETED else (now, now)
        fence = () if epoch is None else (epoch,)
        if not await tx.execute(
            _ENDS[to] if epoch is None else _ENDS[to] + _FENCE,
            *times,
            last_seq,
            msgspec.json.encode(usage),
            None if failure is None else failure.code,
            None if failure is None else failure.message,
            None if failure is None else int(failure.retryable),
            self._tenant,
            self._user,
            str(run_id),
            *fence,
        ):
            await self._explain(tx, run_id, to, epoch)

    async def fence(self, tx: Transaction, run_id: RunId, epoch: int) -> ExecutionState:
        """The run's state, while this execution owns it.

        Guarantees: nobody else moves the run until the transaction ends.

        Raises:
            LeaseLostError: another execution owns it, it was offered again, or it has ended.
        """
        found = await self._state(tx, run_id)
        state = None if found is None or found.epoch != epoch else ExecutionState(found.state)
        if state is None or state is ExecutionState.PENDING or state.is_terminal:
            raise LeaseLostError(f"execution {epoch} no longer owns the run")
        return state

    async def admit(self, tx: Transaction, run_id: RunId, *, at: datetime) -> bool:
        """The run may be claimed; False when it could be already."""
        return bool(
            await tx.execute(
                f"UPDATE runs SET admitted_at = ? WHERE {_ONE} AND admitted_at IS NULL AND ended_at IS NULL",
                to_micros(at),
                self._tenant,
                self._user,
                str(run_id),
            )
        )

    async def next_to_admit(self, tx: Transaction, thread_id: ThreadId) -> RunId | None:
        """The oldest run that waits on a thread on which no admitted run is live, or None."""
        rows = await tx.fetch(
            _AdmissionRow,
            "SELECT first_seq, id, admitted_at FROM runs WHERE tenant_id = ? AND user_id = ? AND thread_id = ? "
            "AND ended_at IS NULL",
            self._tenant,
            self._user,
            str(thread_id),
        )
        if not rows or any(row.admitted_at is not None for row in rows):
            return None
        return RunId(min(rows).id)

    async def pause(self, tx: Transaction, run_id: RunId, epoch: int, *, at: datetime) -> None:
        """The run waits for a person; its deadline stands still, what was left of it counts on when it goes on.

        Raises:
            LeaseLostError: another execution owns it.
            IllegalTransitionError: it is not running.
        """
        await self.move(tx, run_id, ExecutionState.WAITING, at=at, epoch=epoch)
        await tx.execute(
            f"UPDATE runs SET timeout_us = CASE WHEN deadline_at - ? > 1000000 THEN deadline_at - ? ELSE 1000000 END, "
            f"deadline_at = NULL WHERE {_ONE} AND deadline_at IS NOT NULL",
            to_micros(at),
            to_micros(at),
            self._tenant,
            self._user,
            str(run_id),
        )

    async def request_cancel(self, tx: Transaction, run_id: RunId, *, reason: str, at: datetime) -> None:
        """The wish to cancel is recorded with its first reason."""
        await tx.execute(
            f"UPDATE runs SET cancel_requested_at = COALESCE(cancel_requested_at, ?), "
            f"cancel_reason = COALESCE(cancel_reason, ?) WHERE {_ONE}",
            to_micros(at),
            reason,
            self._tenant,
            self._user,
            str(run_id),
        )

    async def end_execution(self, tx: Transaction, run_id: RunId, epoch: int, state: str, *, at: datetime) -> None:
        """The execution's row says how it ended."""
        await tx.execute(
            "UPDATE executions SET state = ?, ended_at = ? WHERE tenant_id = ? AND user_id = ? AND run_id = ? "
            "AND epoch = ? AND ended_at IS NULL",
            state,
            to_micros(at),
            self._tenant,
            self._user,
            str(run_id),
            epoch,
        )

    async def close(self, tx: Transaction, run_id: RunId, *, last_seq: int, at: datetime) -> bool:
        """The run, which is in a terminal state, counts as over since it came there (``at`` if that is not known).

        ``last_seq`` is the number of its last event. False for a run that is not over, or that is not there.
        """
        return bool(
            await tx.execute(
                f"UPDATE runs SET ended_at = COALESCE(ended_at, {_ENDED_SINCE}, ?), last_seq = ?, worker_id = NULL "
                f"WHERE {_ONE} AND state IN ({_TERMINAL})",
                to_micros(at),
                last_seq,
                self._tenant,
                self._user,
                str(run_id),
            )
        )

    async def _state(self, tx: Transaction, run_id: RunId) -> StateRow | None:
        return await tx.first(
            StateRow,
            f"SELECT state, epoch FROM runs WHERE {_ONE}",
            self._tenant,
            self._user,
            str(run_id),
        )

    async def _explain(self, tx: Transaction, run_id: RunId, to: ExecutionState, epoch: int | None) -> None:
        found = await self._state(tx, run_id)
        if found is None:
            raise NotFoundError("there is no such run")
        if epoch is not None and (found.epoch != epoch or found.state == ExecutionState.PENDING):
            raise LeaseLostError(f"execution {epoch} no longer owns the run, which is {found.state} in {found.epoch}")
        raise IllegalTransitionError(
            f"a run cannot move from {found.state} to {to}", details={"state": found.state, "to": str(to)}
        )


def run_of(row: RunRow) -> Run:
    """The run that a row tells of."""
    times: tuple[int | None, ...] = (
        row.pending_at,
        row.starting_at,
        row.running_at,
        row.waiting_at,
        row.completing_at,
        row.cancelling_at,
        row.completed_at,
        row.failed_at,
        row.timeout_at,
        row.dead_at,
        row.cancelled_at,
    )
    failure = (
        None
        if row.failure_code is None
        else Failure(code=row.failure_code, message=row.failure_message or "", retryable=bool(row.failure_retryable))
    )
    return Run(
        ref=RunRef(
            tenant_id=TenantId(row.tenant_id),
            user_id=UserId(row.user_id),
            thread_id=ThreadId(row.thread_id),
            run_id=RunId(row.id),
        ),
        message_id=MessageId(row.message_id),
        agent=row.agent,
        agent_version=row.agent_version,
        model=row.model,
        state=ExecutionState(row.state),
        epoch=row.epoch,
        attempt=row.attempt,
        losses=row.losses,
        timeout=timedelta(microseconds=row.timeout_us),
        deadline_at=None if row.deadline_at is None else from_micros(row.deadline_at),
        request_id=RequestId(row.request_id),
        trace_id=TraceId(row.trace_id),
        failure=failure,
        usage=msgspec.json.decode(row.usage, type=Usage),
        first_seq=row.first_seq,
        last_seq=row.last_seq,
        created_at=from_micros(row.created_at),
        state_times={
            state: from_micros(value) for state, value in zip(ExecutionState, times, strict=True) if value is not None
        },
        retry_of=None if row.retry_of is None else RunId(row.retry_of),
    )
