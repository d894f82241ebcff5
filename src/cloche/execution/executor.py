"""One execution of one run, from the claim to its end: a pipeline, and the boundary of what agents may do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.agents import AgentLimits, AgentSpec
from cloche.domain.context import UserExecutionContext
from cloche.domain.events import Receipt
from cloche.domain.messages import Message
from cloche.domain.runs import ExecutionState, Failure, Run
from cloche.domain.scope import Scope
from cloche.domain.text import sound_text
from cloche.domain.usage import Usage
from cloche.errors import (
    AgentFailedError,
    AgentOutputTooLargeError,
    AgentReturnedNothingError,
    ClocheError,
    LeaseLostError,
)
from cloche.events.log import EventLog
from cloche.execution.claiming import Claimed
from cloche.execution.control import RunControl, StopReason
from cloche.execution.endings import Ended, RunEndings
from cloche.execution.patience import patiently
from cloche.execution.program import Program, Programs
from cloche.execution.run_handle import RunHandle
from cloche.execution.supervision import Ending, Supervised
from cloche.execution.waiting import Waiting
from cloche.execution.writer import Entry, RunWriter, Unsent
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.telemetry import LogEvent, Telemetry, count

T = TypeVar("T")

HISTORY_MESSAGES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What came of a program's run, and what it left to be written."""

    claimed: Claimed
    handle: RunHandle | None
    ending: Ending[str | None]
    rest: Sequence[Entry]

    @property
    def usage(self) -> Usage:
        return self.claimed.run.usage if self.handle is None else self.handle.usage


class Executor:
    """Executes claimed runs."""

    def __init__(
        self,
        *,
        database: Database,
        log: EventLog,
        bus: Bus,
        clock: Clock,
        telemetry: Telemetry,
        programs: Programs,
        grace: timedelta,
    ) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._programs = programs
        self._grace_s = grace.total_seconds()
        self._endings = RunEndings(log, clock)

    async def execute(self, claimed: Claimed, control: RunControl) -> None:
        """The run has ended, or waits, or was released to another execution.

        Cancellation: the program is stopped; the run stays as it is and is recovered later.
        """
        run = claimed.run
        handle: RunHandle | None = None
        ending: Ending[str | None]
        try:
            with self._telemetry.span("run", {"run_id": run.id, "agent": run.agent}):
                handle, ending = await self._attempt(claimed, control)
        except Exception as error:
            ending = Ending(error=error)
        done = _Done(claimed=claimed, handle=handle, ending=ending, rest=handle.writer.take_rest() if handle else [])
        try:
            await self._settle(done, control)
        except Exception as error:
            # A fault of ours in the ending itself: the run still ends, and the log says why.
            fault = _Done(claimed=claimed, handle=None, ending=Ending(error=error), rest=[])
            await self._end(run, lambda tx: self._finish(tx, fault))

    async def _attempt(self, claimed: Claimed, control: RunControl) -> tuple[RunHandle | None, Ending[str | None]]:
        run = claimed.run
        if claimed.refusal is not None:
            return None, Ending(error=claimed.refusal)
        try:
            await self._programs.prepare(run.agent)
            spec, program = self._programs.make(run.agent, run.agent_version)
        except ClocheError as error:
            return None, Ending(error=error)
        except Exception as error:
            return None, Ending(error=error)
        handle = self._handle(claimed, spec, control)
        writer = handle.writer
        async with asyncio.TaskGroup() as group:
            flushing = group.create_task(_quietly(writer.flush_loop()))
            try:
                ending = await self._run_program(program, handle, control)
                writer.close()
                if control.reason is StopReason.LEASE_LOST:
                    flushing.cancel()
                else:
                    await _stopping(flushing, control)
            finally:
                flushing.cancel()
        return handle, ending

    async def _run_program(self, program: Program, handle: RunHandle, control: RunControl) -> Ending[str | None]:
        supervised = Supervised(program.run(handle), grace_s=self._grace_s)
        control.bind(supervised.stop)
        deadline = handle.run.deadline_at
        assert deadline is not None, "a claimed run has one"
        left_s = (deadline - self._clock.now()).total_seconds()
        timer = asyncio.get_running_loop().call_later(max(left_s, 0), control.stop, StopReason.DEADLINE)
        try:
            return await supervised.run()
        finally:
            timer.cancel()

    def _handle(self, claimed: Claimed, spec: AgentSpec, control: RunControl) -> RunHandle:
        run, scope = claimed.run, claimed.scope
        context = UserExecutionContext(
            scope=scope,
            thread_id=run.thread_id,
            run_id=run.id,
            request_id=run.request_id,
            trace_id=run.trace_id,
            created_at=run.created_at,
            execution_id=claimed.execution_id,
            deadline_at=run.deadline_at,
        )
        writer = RunWriter(
            database=self._database,
            log=self._log,
            clock=self._clock,
            telemetry=self._telemetry,
            scope=scope,
            run=run,
            execution_id=claimed.execution_id,
        )
        waiting = Waiting(
            database=self._database,
            log=self._log,
            clock=self._clock,
            telemetry=self._telemetry,
            scope=scope,
            run=run,
            on_suspended=lambda: control.stop(StopReason.SUSPENDED),
        )
        return RunHandle(
            run=run,
            spec=spec,
            context=context,
            message=claimed.message,
            read_history=lambda: self._patiently(run, lambda: self._database.read(lambda tx: _history(tx, scope, run))),
            recorded={step.index: step for step in claimed.steps},
            writer=writer,
            waiting=waiting,
            clock=self._clock,
        )

    async def _settle(self, done: _Done, control: RunControl) -> None:
        run, handle = done.claimed.run, done.handle
        if isinstance(done.ending.error, LeaseLostError) or (
            handle and isinstance(handle.writer.failure, LeaseLostError)
        ):
            control.stop(StopReason.LEASE_LOST)
        match control.reason:
            case StopReason.LEASE_LOST:
                self._telemetry.warning(LogEvent.RUN_LEASE_LOST, run=run.id, epoch=run.epoch)
            case StopReason.SUSPENDED:
                await self._end(run, lambda tx: self._suspend(tx, done), or_left=LogEvent.RUN_SUSPENDED)
            case StopReason.DRAINED if done.ending.stopped:
                await self._end(run, lambda tx: self._release(tx, done), or_left=LogEvent.RUN_RELEASED)
            case StopReason.CANCELLED:
                await self._end(run, lambda tx: self._cancel(tx, done))
            case StopReason.DEADLINE if done.ending.stopped:
                await self._end(run, lambda tx: self._time_out(tx, done))
            case _:
                await self._end(run, lambda tx: self._finish(tx, done))

    async def _end(
        self,
        run: Run,
        work: Callable[[Transaction], Awaitable[Ended | None]],
        *,
        or_left: LogEvent = LogEvent.RUN_RELEASED,
    ) -> None:
        """The run has ended as ``work`` says; or is left to another execution when that is None."""
        try:
            ended = await self._patiently(run, lambda: self._database.write(work))
        except LeaseLostError:
            self._telemetry.warning(LogEvent.RUN_LEASE_LOST, run=run.id, epoch=run.epoch)
            return
        if ended is None:
            self._telemetry.info(or_left, run=run.id, epoch=run.epoch)
            return
        seconds = (self._clock.now() - run.created_at).total_seconds()
        self._telemetry.figures.run_duration.observe(seconds)
        count(self._telemetry.figures.runs_ended, ended.state)
        self._telemetry.info(
            LogEvent.RUN_ENDED,
            run=run.id,
            thread=run.thread_id,
            state=ended.state,
            code=ended.code,
            attempt=run.attempt,
            duration_s=round(seconds, 4),
        )
        if ended.following is not None:
            self._bus.offer(ended.following)

    async def _finish(self, tx: Transaction, done: _Done) -> Ended:
        run, scope, handle = done.claimed.run, done.claimed.scope, done.handle
        state, unsent = await self._begin_end(tx, done)
        if state is ExecutionState.CANCELLING:
            # The person's cancel was recorded first: the run ends as cancelled.
            return await self._cancelled(tx, done, unsent)
        ending, error = done.ending, done.ending.error
        answer = sound_text(ending.value) if ending.value and ending.value.strip() else None
        last = None if handle is None else handle.last_message_id
        if error is None and ending.stopped:
            error = AgentFailedError("the agent's own code cancelled its task")
        if error is None and answer is None and last is None:
            error = AgentReturnedNothingError()
        if error is None and answer is not None and handle is not None:
            error = _too_large(answer, handle.spec.limits)
        if error is not None:
            failure = self._failure(run, error)
            return await self._endings.fail(tx, scope, run, failure, usage=done.usage, unsent=unsent)
        loose = handle.unfinished() if handle is not None and handle.running_steps else None
        return await self._endings.complete(
            tx, scope, run, answer=answer, last_message_id=last, usage=done.usage, unsent=unsent, loose=loose
        )

    async def _cancel(self, tx: Transaction, done: _Done) -> Ended:
        _, unsent = await self._begin_end(tx, done)
        return await self._cancelled(tx, done, unsent)

    async def _cancelled(self, tx: Transaction, done: _Done, unsent: Unsent) -> Ended:
        handle, is_stopped = done.handle, done.ending.stopped
        stopped = tuple(handle.running_steps.values()) if handle else ()
        finished = tuple(handle.finished_steps) if handle else ()
        receipt = Receipt(
            stopped=(*stopped, "agent") if is_stopped else stopped,
            already_done=finished if is_stopped else (*finished, "agent"),
        )
        reason = "the run was cancelled"
        return await self._endings.cancel(
            tx, done.claimed.scope, done.claimed.run, receipt, reason=reason, usage=done.usage, unsent=unsent
        )

    async def _time_out(self, tx: Transaction, done: _Done) -> Ended:
        state, unsent = await self._begin_end(tx, done)
        if state is ExecutionState.CANCELLING:
            return await self._cancelled(tx, done, unsent)
        return await self._endings.time_out(tx, done.claimed.scope, done.claimed.run, usage=done.usage, unsent=unsent)

    async def _suspend(self, tx: Transaction, done: _Done) -> Ended | None:
        """The run waits; or is cancelled, when that was wished before it let go."""
        state, unsent = await self._begin_end(tx, done)
        if state is ExecutionState.CANCELLING:
            return await self._cancelled(tx, done, unsent)
        if done.handle is not None:
            await done.handle.writer.append(tx, unsent)
        return None

    async def _release(self, tx: Transaction, done: _Done) -> Ended | None:
        ended = await self._suspend(tx, done)
        if ended is None:
            run, runs, now = done.claimed.run, RunRepository(done.claimed.scope), self._clock.now()
            await runs.move(tx, run.id, ExecutionState.PENDING, at=now, epoch=run.epoch)
            await runs.end_execution(tx, run.id, run.epoch, "released", at=now)
        return ended

    async def _begin_end(self, tx: Transaction, done: _Done) -> tuple[ExecutionState, Unsent]:
        """The run's state while this execution owns it; what its program left is in the transaction but for its events."""
        run = done.claimed.run
        state = await RunRepository(done.claimed.scope).fence(tx, run.id, run.epoch)
        if done.handle is None:
            return state, Unsent()
        return state, await done.handle.writer.prepare(tx, done.rest)

    def _failure(self, run: Run, error: BaseException) -> Failure:
        ours = _cloche_error(error)
        if ours is not None:
            return Failure(code=ours.code, message=sound_text(ours.message), retryable=ours.retryable)
        self._telemetry.error(LogEvent.RUN_RAISED, error, run=run.id, agent=run.agent)
        failed = AgentFailedError(
            f"the agent raised {type(error).__name__}; the server's log has the details under {run.id}"
        )
        return Failure(code=failed.code, message=failed.message, retryable=False)

    async def _patiently(self, run: Run, attempt_it: Callable[[], Awaitable[T]]) -> T:
        return await patiently(attempt_it, run_id=run.id, telemetry=self._telemetry)


async def _history(tx: Transaction, scope: Scope, run: Run) -> list[Message]:
    """The thread's last messages before the run began, without the one that it answers; the same for every attempt."""
    found = await MessageRepository(scope).before(tx, run.thread_id, run.first_seq - 1, HISTORY_MESSAGES + 1)
    return [message for message in found if message.id != run.message_id][-HISTORY_MESSAGES:]


async def _quietly(flush_loop: Awaitable[None]) -> None:
    """The flush loop, whose end is not the end of the group that runs it."""
    try:
        await flush_loop
    except asyncio.CancelledError:
        return


async def _stopping(flushing: asyncio.Task[None], control: RunControl) -> None:
    """Wait until everything is flushed; a drain does not wait for a database that does not answer."""
    while not flushing.done() and control.reason is not StopReason.LEASE_LOST:
        await asyncio.wait({flushing}, timeout=1.0)
        if control.reason is StopReason.DRAINED:
            return


def _too_large(answer: str, limits: AgentLimits) -> AgentOutputTooLargeError | None:
    limit = limits.max_answer_bytes
    if len(answer) <= limit:
        return None
    return AgentOutputTooLargeError(f"the agent's answer has more than {limit} characters", details={"limit": limit})


def _cloche_error(error: BaseException) -> ClocheError | None:
    if isinstance(error, ClocheError):
        return error
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            found = _cloche_error(inner)
            if found is not None:
                return found
    return None
