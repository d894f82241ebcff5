"""Real SQLite without threads: one connection in memory, driven in the loop's own thread.

A transaction is one step of the loop. Before it stands a step in which its caller waits for the writer, after it one in
which the outcome is on its way, and both may take their time: in between, others run, and processes die.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar, cast

import apsw

from chaos.simulated_loop import SimulatedLoop
from cloche.errors import StorageUnavailableError
from cloche.storage.database import Work
from cloche.storage.schema import upgrade_statements
from cloche.storage.sqlite import _run_through, _SqliteTransaction
from cloche.storage.sqlite_statistics import statistics_statements

T = TypeVar("T")


_FILLED = "tenants users threads messages events runs executions steps approvals usage_entries idempotency tool_intents"
_CLEAR = tuple(f"DELETE FROM {name}" for name in _FILLED.split())


class SimulatedDisk:
    """The rows that outlive processes."""

    def __init__(self) -> None:
        self.connection = cast("Any", apsw.Connection(":memory:", statementcachesize=512))
        schema = f"{upgrade_statements('sqlite', None)}; {statistics_statements()}"
        self.connection.execute(f"BEGIN IMMEDIATE; {schema}; COMMIT").fetchall()

    def clear(self) -> None:
        """There is no row."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        for statement in ("BEGIN", *_CLEAR, "COMMIT"):
            self.connection.execute(statement)

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """What is committed."""
        return self.connection.execute(sql, params).fetchall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How the store behaves: how often it takes its time, how long at most, and how often it fails or begins again."""

    slow: float = 0.0
    delay_s: float = 0.0
    failing: float = 0.0
    repeating: float = 0.0


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    future: asyncio.Future[Any]
    outcome: object = None
    error: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class SimulatedDatabase:
    """One process's way to the disk: a ``Database`` with one writer, group commit, and readers apart."""

    def __init__(
        self, disk: SimulatedDisk, loop: SimulatedLoop, chance: Random, weather: Weather, context: Context
    ) -> None:
        self._disk = disk
        self._loop = loop
        self._chance = chance
        self._context = context
        self._writes: deque[_Job] = deque()
        self._committed: deque[list[_Job]] = deque()
        self._is_writing = False
        self._in_work = 0
        self._when_free: list[Callable[[], None]] = []
        self.weather = weather
        self.failures = 0

    async def write(self, work: Work[T]) -> T:
        """See ``Database.write``."""
        job = _Job(work, self._loop.create_future())
        self._writes.append(job)
        self._in_work += 1
        if not self._is_writing:
            self._is_writing = True
            self._soon(self._write_next)
        return await job.future

    async def read(self, work: Work[T]) -> T:
        """See ``Database.read``."""
        job = _Job(work, self._loop.create_future())
        self._soon(lambda: self._read(job))
        return await job.future

    def when_free(self, callback: Callable[[], None]) -> bool:
        """See ``Database.when_free``."""
        if self._in_work:
            self._when_free.append(callback)
        return self._in_work > 0

    async def ping(self) -> float:
        """See ``Database.ping``."""
        return 0.0

    async def aclose(self) -> None:
        """See ``Database.aclose``."""

    def _soon(self, callback: Callable[[], None]) -> None:
        weather = self.weather
        if weather.slow and self._chance.random() < weather.slow:
            delay_s = self._chance.random() * weather.delay_s
            self._loop.call_later(delay_s, callback, context=self._context)
        else:
            self._loop.call_soon(callback, context=self._context)

    def _write_next(self) -> None:
        batch = [self._writes.popleft()]
        while self._writes and self._chance.random() < 0.5:
            batch.append(self._writes.popleft())
        for job in batch:
            self._commit(job)
        self._committed.append(batch)
        self._soon(self._deliver_next)
        if self._writes:
            self._soon(self._write_next)
        else:
            self._is_writing = False

    def _commit(self, job: _Job) -> None:
        execute, weather = self._disk.connection.execute, self.weather
        execute("BEGIN IMMEDIATE")
        self._run(job)
        if weather.repeating and job.error is None and self._chance.random() < weather.repeating:
            # Another transaction of its batch has failed: this one begins anew.
            execute("ROLLBACK")
            execute("BEGIN IMMEDIATE")
            self._run(job)
        if job.error is None and weather.failing and self._chance.random() < weather.failing:
            self.failures += 1
            job.error = StorageUnavailableError("the disk did not answer")
        execute("COMMIT" if job.error is None else "ROLLBACK")

    def _run(self, job: _Job) -> None:
        transaction = _SqliteTransaction(self._disk.connection)
        job.error = None
        try:
            job.outcome = _run_through(job.work(transaction))
        except BaseException as error:  # noqa: BLE001 -- it belongs to the caller, who gets it
            job.error = error
        job.callbacks = transaction.callbacks

    def _deliver_next(self) -> None:
        batch = self._committed.popleft()
        self._in_work -= len(batch)
        for job in batch:
            if job.error is None:
                for callback in job.callbacks:
                    callback()
            self._answer(job)
        waiting, self._when_free = self._when_free, []
        for callback in waiting:
            self._loop.call_soon(callback)

    def _read(self, job: _Job) -> None:
        if self.weather.failing and self._chance.random() < self.weather.failing:
            self.failures += 1
            job.error = StorageUnavailableError("the disk did not answer")
        else:
            self._run(job)
        self._soon(lambda: self._answer(job))

    def _answer(self, job: _Job) -> None:
        if job.future.cancelled():
            return
        if job.error is None:
            job.future.set_result(job.outcome)
        else:
            job.future.set_exception(job.error)
