"""The embedded engine: SQLite through apsw, one writer thread with group commit, readers apart.

WAL and ``synchronous=FULL``: a commit that was reported survives a power cut. The writer takes every transaction that
waits, runs one after the other, and commits them together; the cost of the disk is shared, the order is one. When one
of them fails after it has written, all of them run again, each inside a savepoint.

Source: https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import asyncio
import fcntl
import queue
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

import apsw

from cloche.clock import Clock
from cloche.errors import (
    ClocheError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from cloche.storage.database import Param, R, Transaction, Work
from cloche.storage.schema import check_version, require_version, upgrade_statements
from cloche.storage.sqlite_statistics import statistics_statements

T = TypeVar("T")

DATABASE_FILE = "cloche.db"  # its name in the data folder
BUSY_TIMEOUT_MS = 5_000
MAX_BATCH = 256
MAX_WAITING = 10_000
READERS = 2
_STOP = None


class _Cursor(Protocol):
    def fetchall(self) -> list[tuple[Param, ...]]: ...


class _Connection(Protocol):
    """The part of ``apsw.Connection`` that is used here, typed without holes."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statements: str, bindings: Sequence[Param] = ()) -> _Cursor: ...

    def total_changes(self) -> int: ...

    def set_busy_timeout(self, milliseconds: int) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class WriterFigures:
    """What the writer did so far, for the metrics page."""

    commits: int = 0
    transactions: int = 0
    largest_batch: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Work[T]
    future: asyncio.Future[T]
    outcome: T | None = None
    error: BaseException | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


_Jobs = queue.SimpleQueue[_Job[object] | None]


class _SqliteTransaction:
    """The statements of one transaction, run at once in the thread that owns the connection."""

    __slots__ = ("_connection", "callbacks")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self.callbacks: list[Callable[[], None]] = []

    async def fetch(self, row: type[R], sql: str, *params: Param) -> list[R]:
        return [_made(row, values) for values in self._connection.execute(sql, params).fetchall()]

    async def first(self, row: type[R], sql: str, *params: Param) -> R | None:
        found = self._connection.execute(sql, params).fetchall()
        return _made(row, found[0]) if found else None

    async def execute(self, sql: str, *params: Param) -> int:
        before = self._connection.total_changes()
        self._connection.execute(sql, params)
        return self._connection.total_changes() - before

    def after_commit(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)


def _made(row: type[R], values: tuple[Param, ...]) -> R:
    """A NamedTuple of its fields, in order."""
    make = cast("Callable[..., R]", row)
    return make(*values)


def _run_through(awaitable: Awaitable[T]) -> T:
    """Run a transaction function to its end in this thread; its statements never suspend."""
    steps = cast("Generator[object, None, T]", awaitable.__await__())
    try:
        steps.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    steps.close()
    raise RuntimeError("a transaction awaited something other than its own statements")


class SqliteDatabase:
    """One SQLite file, opened. Made by ``open_sqlite``."""

    dialect = "sqlite"

    def __init__(self, path: Path, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._clock = clock
        self._loop = loop
        self._writes: _Jobs = queue.SimpleQueue()
        self._reads: _Jobs = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._stopping: asyncio.Future[None] | None = None
        self._writing = 0
        self._when_free: list[Callable[[], None]] = []
        self.figures = WriterFigures()

    @property
    def waiting(self) -> int:
        """How many transactions wait for the writer."""
        return self._writes.qsize()

    def start(self) -> None:
        """The writer and reader threads run."""
        self._threads = [threading.Thread(target=self._write_loop, name="cloche-writer", daemon=True)]
        self._threads += [
            threading.Thread(target=self._read_loop, name=f"cloche-reader-{number}", daemon=True)
            for number in range(READERS)
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, work: Work[T]) -> T:
        """See ``Database.write``."""
        future = self._submit(self._writes, work)
        self._writing += 1
        return await future

    def when_free(self, callback: Callable[[], None]) -> bool:
        """See ``Database.when_free``."""
        if self._writing:
            self._when_free.append(callback)
        return self._writing > 0

    async def read(self, work: Work[T]) -> T:
        """See ``Database.read``."""
        return await self._submit(self._reads, work)

    async def ping(self) -> float:
        """See ``Database.ping``: writes a row of its own and takes it away again."""
        started = self._clock.monotonic()

        async def work(tx: Transaction) -> None:
            await tx.execute("UPDATE schema_migrations SET version_num = version_num")

        await self.write(work)
        return self._clock.monotonic() - started

    async def aclose(self) -> None:
        """See ``Database.aclose``."""
        self._closed = True
        if self._stopping is None:
            self._stopping = self._loop.run_in_executor(None, self._stop)
        await asyncio.shield(self._stopping)
        await asyncio.sleep(0)

    def _stop(self) -> None:
        self._writes.put(_STOP)
        for _ in range(READERS):
            self._reads.put(_STOP)
        for thread in self._threads:
            thread.join()

    def _submit(self, jobs: _Jobs, work: Work[T]) -> asyncio.Future[T]:
        if self._closed:
            raise StorageUnavailableError("the database is closed")
        if jobs.qsize() >= MAX_WAITING:
            raise StorageUnavailableError(f"{MAX_WAITING} transactions wait for the database already", retry_after_s=1)
        job = _Job(work=work, future=self._loop.create_future())
        jobs.put(cast("_Job[object]", job))
        return job.future

    def _deliver_written(self, jobs: Sequence[_Job[object]]) -> None:
        self._writing -= len(jobs)
        self._deliver(jobs)
        waiting, self._when_free = self._when_free, []
        for callback in waiting:
            self._loop.call_soon(callback)

    def _deliver(self, jobs: Sequence[_Job[object]]) -> None:
        for job in jobs:
            if job.error is None:
                for callback in job.callbacks:
                    # Before the caller, who is called soon as well; and one that fails is nobody else's failure.
                    self._loop.call_soon(callback)
            if job.future.cancelled():
                continue
            if job.error is None:
                job.future.set_result(job.outcome)
            else:
                job.future.set_exception(job.error)

    def _write_loop(self) -> None:
        connection: _Connection | None = None
        stopping = False
        while not stopping:
            jobs, stopping = _drain(self._writes)
            if not jobs:
                continue
            try:
                connection = connection or _connect(self._path)
                self._write_batch(connection, jobs)
            except apsw.Error as error:
                _fail(jobs, _storage_error(error))
            self.figures.failures += sum(1 for job in jobs if isinstance(job.error, StorageError))
            self._loop.call_soon_threadsafe(self._deliver_written, jobs)
        if connection is not None:
            connection.close()

    def _write_batch(self, connection: _Connection, jobs: Sequence[_Job[object]]) -> None:
        # What keeps a transaction from beginning (a lock, say) is waited for once, and is everybody's answer.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._commit_together(connection, jobs):
                self._commit_apart(connection, jobs)
        except apsw.Error:
            _roll_back(connection)
            # One of them hit the engine's limit (a full disk, say): each gets its own chance and its own answer.
            for job in jobs:
                self._commit_alone(connection, job)

    def _commit_together(self, connection: _Connection, jobs: Sequence[_Job[object]]) -> bool:
        """Whether the jobs are committed; False when one failed after it had written, and nothing was kept."""
        for job in jobs:
            before = connection.total_changes()
            _run_job(connection, job)
            if job.error is not None and connection.total_changes() != before:
                connection.execute("ROLLBACK")
                return False
        self._commit(connection, jobs)
        return True

    def _commit_apart(self, connection: _Connection, jobs: Sequence[_Job[object]]) -> None:
        """What the failing jobs have written is undone, and the others are committed."""
        connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            connection.execute("SAVEPOINT job")
            _run_job(connection, job)
            if job.error is not None:
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        self._commit(connection, jobs)

    def _commit(self, connection: _Connection, jobs: Sequence[_Job[object]]) -> None:
        connection.execute("COMMIT")
        self.figures.commits += 1
        self.figures.transactions += len(jobs)
        self.figures.largest_batch = max(self.figures.largest_batch, len(jobs))

    def _commit_alone(self, connection: _Connection, job: _Job[object]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._commit_together(connection, [job])
        except apsw.Error as error:
            _roll_back(connection)
            job.error = _storage_error(error)

    def _read_loop(self) -> None:
        connection: _Connection | None = None
        while True:
            job = self._reads.get()
            if job is None:
                break
            try:
                connection = connection or _connect(self._path, read_only=True)
                connection.execute("BEGIN")
                _run_job(connection, job)
                connection.execute("COMMIT")
            except apsw.Error as error:
                if connection is not None:
                    _roll_back(connection)
                job.error = _storage_error(error)
            self._loop.call_soon_threadsafe(self._deliver, [job])
        if connection is not None:
            connection.close()


def _drain(jobs: _Jobs) -> tuple[list[_Job[object]], bool]:
    found: list[_Job[object]] = []
    job = jobs.get()
    while job is not None:
        found.append(job)
        if len(found) == MAX_BATCH:
            return found, False
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            return found, False
    return found, True


def _run_job(connection: _Connection, job: _Job[object]) -> None:
    """Run the job's function; engine errors travel, everything else becomes the job's own error."""
    transaction = _SqliteTransaction(connection)
    job.error = None
    try:
        job.outcome = _run_through(job.work(transaction))
    except (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError, apsw.BindingsError) as error:
        # A statement of ours is wrong: a fault of the program, which no later attempt mends.
        job.error = error
    except apsw.Error:
        raise
    except BaseException as error:  # noqa: BLE001 -- the error belongs to the caller in the other thread, who gets it
        job.error = error
    job.callbacks = transaction.callbacks


def _fail(jobs: Sequence[_Job[object]], error: ClocheError) -> None:
    for job in jobs:
        job.error = error


def _roll_back(connection: _Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _connect(path: Path, *, read_only: bool = False) -> _Connection:
    connection = cast("_Connection", apsw.Connection(str(path), statementcachesize=256))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-32000")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute("PRAGMA journal_size_limit=67108864")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


_ERRORS: tuple[tuple[type[apsw.Error], type[StorageError], str], ...] = (
    (apsw.FullError, StorageFullError, "the disk is full; nothing was written"),
    (apsw.ReadOnlyError, StorageReadOnlyError, "the data folder cannot be written"),
    (apsw.CantOpenError, StorageReadOnlyError, "the database file cannot be opened in the data folder"),
    (apsw.PermissionsError, StorageReadOnlyError, "the data folder cannot be written"),
    (apsw.BusyError, StorageLockedError, "another process holds the database"),
    (apsw.LockedError, StorageLockedError, "another process holds the database"),
    (apsw.NotADBError, StorageUnavailableError, "the file in the data folder is no SQLite database"),
    (apsw.CorruptError, StorageUnavailableError, "the database file is damaged; restore a backup"),
)


def _storage_error(error: apsw.Error) -> StorageError:
    for kind, ours, message in _ERRORS:
        if isinstance(error, kind):
            found = ours(message, retry_after_s=1)
            break
    else:
        found = StorageUnavailableError(f"the database failed: {type(error).__name__}", retry_after_s=1)
    found.__cause__ = error
    return found


def read_version(path: Path) -> str | None:
    """The schema revision of the database file; None for a new or empty one.

    Raises:
        StorageError: the file cannot be opened or is no database.
    """
    try:
        connection = _connect(path)
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'schema_migrations'").fetchall()
            rows = connection.execute("SELECT version_num FROM schema_migrations").fetchall() if tables else []
        finally:
            connection.close()
    except apsw.Error as error:
        raise _storage_error(error) from error
    return str(rows[0][0]) if rows else None


def upgrade(path: Path) -> tuple[str | None, bool]:
    """The file has this program's schema; the revision found, and whether anything had to be done.

    Guarantees: the whole upgrade is one transaction.

    Raises:
        MigrationNeededError: the schema is newer than this program.
        StorageError: the file cannot be written.
    """
    found = read_version(path)
    if check_version(found):
        return found, False
    statements = upgrade_statements("sqlite", found)
    try:
        connection = _connect(path)
        try:
            connection.execute(f"BEGIN IMMEDIATE; {statements}; {statistics_statements()}; COMMIT").fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise _storage_error(error) from error
    return found, True


def verify(path: Path) -> list[str]:
    """What ``PRAGMA integrity_check`` and the foreign rows say; empty when the file is sound.

    Raises:
        MigrationNeededError: the schema is older or newer than this program.
        StorageError: the file cannot be opened.
    """
    require_version(read_version(path))
    try:
        connection = _connect(path)
        try:
            rows = connection.execute("PRAGMA integrity_check").fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise _storage_error(error) from error
    return [str(row[0]) for row in rows if row[0] != "ok"]


@contextmanager
def owned(folder: Path) -> Generator[None]:
    """This process alone owns the data folder until the block ends.

    Raises:
        StorageLockedError: another process owns it.
        StorageReadOnlyError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "cloche.lock").open("a+b")
    except OSError as error:
        raise StorageReadOnlyError(f"the data folder cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageLockedError("another Cloche process owns this data folder; stop it first") from error
        yield


@asynccontextmanager
async def open_sqlite(path: Path, *, clock: Clock) -> AsyncGenerator[SqliteDatabase]:
    """The file, migrated to this program's schema and open; closed at the end of the block.

    Raises:
        MigrationNeededError: a newer program has written it.
        StorageError: it cannot be opened or written.
    """
    await asyncio.to_thread(upgrade, path)
    database = SqliteDatabase(path, clock, asyncio.get_running_loop())
    database.start()
    try:
        yield database
    finally:
        await database.aclose()
