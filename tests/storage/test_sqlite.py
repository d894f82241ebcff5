"""What the embedded engine promises beyond the contract of every engine."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from cloche.clock import SystemClock
from cloche.errors import (
    MigrationNeededError,
    StorageError,
    StorageFullError,
    StorageLockedError,
    StorageReadOnlyError,
    StorageUnavailableError,
)
from cloche.storage import sqlite
from cloche.storage.database import Transaction, Work
from cloche.storage.schema import HEAD
from cloche.storage.sqlite import SqliteDatabase, open_sqlite, owned, read_version, upgrade, verify
from cloche.testing.gates import Gate
from support.disks import FaultyDisk, enlarge, faulty_disk, read_only, small_disk
from support.faults import eventually

CREATE = "CREATE TABLE notes (number INTEGER PRIMARY KEY, text BLOB)"
ADD = "INSERT INTO notes (number, text) VALUES (?, ?)"
LARGE = b"x" * 100_000


class Value(NamedTuple):
    value: Any


class Note(NamedTuple):
    number: int
    text: bytes


def adding(*numbers: int, text: bytes = b"") -> Work[None]:
    async def work(tx: Transaction) -> None:
        for number in numbers:
            await tx.execute(ADD, number, text)

    return work


async def notes(database: SqliteDatabase) -> list[int]:
    found = await database.read(lambda tx: tx.fetch(Value, "SELECT number FROM notes ORDER BY number"))
    return [row.value for row in found]


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteDatabase]:
    """The database at the path, with a table for notes."""
    async with open_sqlite(path, clock=SystemClock()) as database:
        await database.write(lambda tx: tx.execute(CREATE.replace("TABLE", "TABLE IF NOT EXISTS")))
        yield database


@asynccontextmanager
async def held(database: SqliteDatabase) -> AsyncGenerator[None]:
    """The writer stands still in the block; what is written meanwhile waits, and is taken together afterwards."""
    with Gate() as gate:

        async def work(tx: Transaction) -> None:
            await gate.stop()

        async with asyncio.TaskGroup() as group:
            group.create_task(database.write(work))
            await gate.reached()
            yield
            gate.open()


async def all_together(database: SqliteDatabase, *works: Work[Any]) -> list[Any]:
    """The outcomes, values and errors, of transactions that the writer finds waiting together."""
    async with asyncio.TaskGroup() as group:
        async with held(database):
            outcomes = group.create_task(_gathered(database, works))
            await eventually(lambda: database.waiting == len(works))
        return await outcomes


async def _gathered(database: SqliteDatabase, works: tuple[Work[Any], ...]) -> list[Any]:
    return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)


@pytest.fixture
async def notebook(database_path: Path) -> AsyncGenerator[SqliteDatabase]:
    async with opened(database_path) as database:
        yield database


@pytest.fixture
def disk() -> Generator[FaultyDisk]:
    with faulty_disk() as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """The seconds for which connections opened in this test wait for a lock."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 50)
    return 0.05


@pytest.fixture
def another(database_path: Path) -> Generator[apsw.Connection]:
    """Another program's connection to the same file."""
    connection = apsw.Connection(str(database_path))
    try:
        yield connection
    finally:
        connection.close()


# How the file is opened


@pytest.mark.parametrize(("is_writer", "query_only"), [(True, 0), (False, 1)])
async def test_a_connection_is_set_up_to_keep_what_was_acknowledged(
    notebook: SqliteDatabase, is_writer: bool, query_only: int
) -> None:
    pragmas = ["journal_mode", "synchronous", "query_only", "busy_timeout", "cache_size", "wal_autocheckpoint"]

    async def work(tx: Transaction) -> dict[str, Any]:
        return {name: (await tx.fetch(Value, f"PRAGMA {name}"))[0].value for name in pragmas}

    found = await (notebook.write(work) if is_writer else notebook.read(work))

    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "query_only": query_only,
        "busy_timeout": sqlite.BUSY_TIMEOUT_MS,
        "cache_size": -32000,
        "wal_autocheckpoint": 4000,
    }


async def test_a_commit_that_was_reported_has_been_synced(disk: FaultyDisk, database_path: Path) -> None:
    async with opened(database_path) as database:
        for number in range(3):
            before = disk.syncs

            await database.write(adding(number))

            assert disk.syncs > before


# Group commit


async def test_transactions_that_wait_together_are_committed_together(notebook: SqliteDatabase) -> None:
    before = notebook.figures.commits, notebook.figures.transactions

    await all_together(notebook, *(adding(number) for number in range(50)))

    figures = notebook.figures
    assert (figures.commits - before[0], figures.transactions - before[1]) == (2, 51)
    assert (figures.largest_batch, figures.failures) == (50, 0)
    assert await notes(notebook) == list(range(50))


async def test_a_batch_has_a_largest_size(notebook: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MAX_BATCH", 10)
    before = notebook.figures.commits

    await all_together(notebook, *(adding(number) for number in range(25)))

    assert (notebook.figures.commits - before, notebook.figures.largest_batch) == (4, 10)
    assert await notes(notebook) == list(range(25))


async def test_a_transaction_of_a_batch_that_fails_is_undone_alone(notebook: SqliteDatabase) -> None:
    async def refused(tx: Transaction) -> None:
        await tx.execute(ADD, 7, b"")
        raise LookupError

    outcomes = await all_together(notebook, adding(1), refused, adding(2, 1), adding(3))

    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError, apsw.ConstraintError, type(None)]
    assert await notes(notebook) == [1, 3]
    assert notebook.figures.failures == 0


async def test_a_transaction_that_the_engine_cannot_keep_is_refused_and_the_others_run_again(
    notebook: SqliteDatabase,
) -> None:
    called: list[str] = []
    runs = 0

    async def small(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        tx.after_commit(lambda: called.append("small"))
        await tx.execute(ADD, 1, b"")

    async def large(tx: Transaction) -> None:
        tx.after_commit(lambda: called.append("large"))
        await tx.execute(ADD, 2, LARGE)

    await notebook.write(lambda tx: tx.fetch(Value, "PRAGMA max_page_count = 1"))

    outcomes = await all_together(notebook, small, large, adding(3))

    assert [type(outcome) for outcome in outcomes] == [type(None), StorageFullError, type(None)]
    assert await notes(notebook) == [1, 3]
    assert (runs, called) == (2, ["small"])
    assert notebook.figures.failures == 1


async def test_one_failing_callback_is_nobody_else_s_failure(notebook: SqliteDatabase) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    error = LookupError()

    def failing() -> None:
        raise error

    async def work(tx: Transaction) -> None:
        tx.after_commit(failing)
        tx.after_commit(lambda: told.append("after it"))

    outcomes = await all_together(notebook, work, adding(1))

    assert outcomes == [None, None]
    assert told == [error, "after it"]


# What a transaction function may not do


@pytest.mark.parametrize("is_writer", [True, False])
async def test_a_transaction_that_awaits_anything_else_is_undone(notebook: SqliteDatabase, is_writer: bool) -> None:
    async def work(tx: Transaction) -> None:
        if is_writer:
            await tx.execute(ADD, 1, b"")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="something other than its own statements"):
        await (notebook.write(work) if is_writer else notebook.read(work))

    assert await notes(notebook) == []
    await notebook.write(adding(2))


@pytest.mark.parametrize("is_writer", [True, False])
async def test_whatever_a_transaction_raises_its_thread_goes_on(notebook: SqliteDatabase, is_writer: bool) -> None:
    class OutOfReachError(BaseException):
        pass

    async def work(tx: Transaction) -> None:
        raise OutOfReachError

    for _ in range(3):
        with pytest.raises(OutOfReachError):
            await (notebook.write(work) if is_writer else notebook.read(work))

    await notebook.write(adding(1))
    assert await notes(notebook) == [1]


async def test_the_loop_goes_on_while_a_transaction_is_slow(notebook: SqliteDatabase) -> None:
    async with held(notebook):
        writing = asyncio.gather(notebook.write(adding(1)), notebook.write(adding(2)))
        await eventually(lambda: notebook.waiting == 2)

        assert await notes(notebook) == []
        assert not writing.done()

    await writing
    assert await notes(notebook) == [1, 2]


async def test_no_more_transactions_wait_than_there_is_room_for(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "MAX_WAITING", 3)
    async with opened(database_path) as database:
        async with held(database):
            waiting = asyncio.gather(*(database.write(adding(number)) for number in range(3)))
            await eventually(lambda: database.waiting == 3)

            with pytest.raises(StorageUnavailableError, match="wait for the database already") as refused:
                await database.write(adding(9))

        await waiting
        assert (refused.value.retryable, refused.value.retry_after_s) == (True, 1)
        assert await notes(database) == [0, 1, 2]


# Closing


async def test_what_was_accepted_before_the_end_is_kept(database_path: Path) -> None:
    async with opened(database_path) as database, asyncio.TaskGroup() as group:
        with Gate() as gate:

            async def work(tx: Transaction) -> None:
                await tx.execute(ADD, 1, b"")
                await gate.stop()

            writing = [group.create_task(database.write(work)), group.create_task(database.write(adding(2)))]
            await gate.reached()
            closing = group.create_task(database.aclose())
            await asyncio.sleep(0)

            assert not closing.done()
            with pytest.raises(StorageUnavailableError, match="closed"):
                await database.write(adding(3))
            gate.open()
            await closing
            assert all(task.done() for task in writing)

    async with opened(database_path) as again:
        assert await notes(again) == [1, 2]


async def test_nothing_is_accepted_afterwards(database_path: Path) -> None:
    async with opened(database_path) as database:
        await database.aclose()

        for refused in (database.write(adding(1)), database.read(adding()), database.ping()):
            with pytest.raises(StorageUnavailableError, match="closed"):
                await refused


async def test_whoever_closes_waits_for_the_end_and_may_go_away_meanwhile(database_path: Path) -> None:
    async with opened(database_path) as database, asyncio.TaskGroup() as group:
        async with held(database):
            first, second = [group.create_task(database.aclose()) for _ in range(2)]
            await asyncio.sleep(0)

            first.cancel()
            await eventually(first.done)

            assert not second.done()
        await second


# A disk that is full, fails, or cannot be written


async def until_full(database: SqliteDatabase) -> list[int]:
    """The notes that were acknowledged before one was refused because the disk is full."""
    acknowledged: list[int] = []
    with contextlib.suppress(StorageFullError):
        for number in range(100):
            await database.write(adding(number, text=LARGE))
            acknowledged.append(number)
    return acknowledged


@pytest.mark.slow
async def test_a_full_disk_loses_nothing_and_needs_no_restart(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "2m") as folder:
        async with opened(folder / "cloche.db") as database:
            acknowledged = await until_full(database)
            assert acknowledged
            assert await notes(database) == acknowledged
            with pytest.raises(StorageFullError):
                await database.write(adding(1000, text=LARGE * 10))

            enlarge(folder, "8m")

            await database.write(adding(1001, text=LARGE))
            assert await notes(database) == [*acknowledged, 1001]
        assert verify(folder / "cloche.db") == []


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(apsw.FullError, StorageFullError), (apsw.IOError, StorageUnavailableError)],
    ids=["full", "broken"],
)
@pytest.mark.parametrize("place", ["failing_writes", "failing_syncs"])
async def test_a_failing_disk_is_told_and_recovered_from(
    disk: FaultyDisk, database_path: Path, place: str, fault: type[apsw.Error], expected: type[StorageError]
) -> None:
    async with opened(database_path) as database:
        await database.write(adding(1))

        setattr(disk, place, fault)
        outcomes = await all_together(database, adding(2), adding(3))
        seen = await notes(database)
        setattr(disk, place, None)
        await database.write(adding(4))

        assert [type(outcome) for outcome in outcomes] == [expected, expected]
        assert seen == [1]
        assert await notes(database) == [1, 4]
    assert verify(database_path) == []


async def test_a_disk_that_cannot_be_read_fails_reads_until_it_can(disk: FaultyDisk, database_path: Path) -> None:
    async with opened(database_path) as database:
        await database.write(adding(1, text=LARGE))
    async with open_sqlite(database_path, clock=SystemClock()) as database:
        disk.failing_reads = apsw.IOError
        with pytest.raises(StorageUnavailableError, match="the database failed"):
            await notes(database)
        with pytest.raises(StorageUnavailableError):
            await asyncio.to_thread(verify, database_path)
        disk.failing_reads = None

        assert await notes(database) == [1]


def own(folder: Path) -> None:
    with owned(folder):
        pass


@pytest.mark.slow
async def test_a_folder_that_cannot_be_written_is_named_as_the_cause(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as folder:
        async with opened(folder / "cloche.db") as database:
            await database.write(adding(1))
        with read_only(folder):
            with pytest.raises(StorageReadOnlyError) as refused:
                async with opened(folder / "cloche.db"):
                    pass
            with pytest.raises(StorageReadOnlyError, match="the data folder cannot be written"):
                await asyncio.to_thread(own, folder / "new")

        assert refused.value.code == "storage_read_only"
        async with opened(folder / "cloche.db") as database:
            assert await notes(database) == [1]


async def test_a_database_that_cannot_be_opened_is_opened_once_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    database = SqliteDatabase(folder / "cloche.db", SystemClock(), asyncio.get_running_loop())
    database.start()
    try:
        with pytest.raises(StorageReadOnlyError, match="cannot be opened"):
            await database.ping()
        with pytest.raises(StorageReadOnlyError, match="cannot be opened"):
            await notes(database)

        folder.mkdir()
        await asyncio.to_thread(upgrade, folder / "cloche.db")

        assert await database.ping() >= 0
        await database.write(lambda tx: tx.execute(CREATE))
        assert await notes(database) == []
    finally:
        await database.aclose()


async def test_an_engine_that_was_never_used_is_closed_all_the_same(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "cloche.db", SystemClock(), asyncio.get_running_loop())
    database.start()

    await database.aclose()

    assert not (tmp_path / "cloche.db").exists()


# A database that another one holds


@pytest.mark.slow
async def test_writes_that_find_the_database_locked_wait_once_for_all_and_recover(
    impatient: float, notebook: SqliteDatabase, another: apsw.Connection
) -> None:
    another.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    steps = 0

    async def refused(number: int) -> None:
        with pytest.raises(StorageLockedError, match="another process") as locked:
            await notebook.write(adding(number))
        assert (locked.value.retryable, locked.value.retry_after_s) == (True, 1)

    async with asyncio.TaskGroup() as group:
        refusals = [group.create_task(refused(number)) for number in range(40)]
        while not all(task.done() for task in refusals):
            steps += 1
            assert await notes(notebook) == []

    assert steps > 10
    assert time.monotonic() - started < 20 * impatient
    another.execute("ROLLBACK")
    await notebook.write(adding(1))
    assert await notes(notebook) == [1]


@pytest.mark.slow
def test_a_database_that_is_locked_at_the_start_is_not_opened(
    impatient: float, database_path: Path, another: apsw.Connection
) -> None:
    upgrade(database_path)
    another.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").fetchall()

    for act in (upgrade, verify, read_version):
        with pytest.raises(StorageLockedError):
            act(database_path)


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"

    with owned(folder):
        with pytest.raises(StorageLockedError, match="another Cloche process"), owned(folder):
            pass
        assert folder.stat().st_mode & 0o777 == 0o700

    with owned(folder):
        pass


@pytest.mark.slow
def test_the_owner_of_a_data_folder_may_be_another_process_and_dies_with_it(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from cloche.storage.sqlite import owned\n"
        f"with owned(Path({str(tmp_path)!r})): print('owned', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"

        with pytest.raises(StorageLockedError), owned(tmp_path):
            pass

        process.kill()
    with owned(tmp_path):
        pass


def test_what_is_no_folder_has_no_owner(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageReadOnlyError), owned(tmp_path / "file"):
        pass


# What is found in the file


def test_a_file_that_is_no_database_is_left_as_it_is(database_path: Path) -> None:
    letter = b"this is a letter, and a long one, to be sure that it is read\n" * 100
    database_path.write_bytes(letter)

    for act in (upgrade, verify, read_version):
        with pytest.raises(StorageUnavailableError, match="no SQLite database"):
            act(database_path)

    assert database_path.read_bytes() == letter


def test_a_database_without_a_schema_is_brought_up_once(database_path: Path) -> None:
    with pytest.raises(MigrationNeededError, match="cloche db upgrade"):
        verify(database_path)

    assert (read_version(database_path), upgrade(database_path), upgrade(database_path)) == (
        None,
        (None, True),
        (HEAD, False),
    )
    assert verify(database_path) == []
    assert read_version(database_path) == HEAD


def test_a_schema_of_a_newer_program_is_refused(database_path: Path, another: apsw.Connection) -> None:
    upgrade(database_path)
    another.execute("UPDATE schema_migrations SET version_num = '9999'")

    for act in (upgrade, verify):
        with pytest.raises(MigrationNeededError, match="newer Cloche"):
            act(database_path)

    assert read_version(database_path) == "9999"


def test_an_upgrade_that_fails_in_the_middle_leaves_nothing(database_path: Path, another: apsw.Connection) -> None:
    another.execute("CREATE TABLE usage_entries (a)")

    with pytest.raises(StorageUnavailableError, match="SQLError"):
        upgrade(database_path)

    assert another.execute("SELECT name FROM sqlite_master").fetchall() == [("usage_entries",)]


def damage(path: Path, page: int) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    path.write_bytes(content)


@pytest.mark.parametrize("is_root", [True, False])
async def test_a_damaged_file_is_found_out(database_path: Path, is_root: bool) -> None:
    async with opened(database_path) as database:
        await database.write(adding(*range(200), text=b"x" * 500))
        (page,) = await database.read(
            lambda tx: tx.fetch(Value, "SELECT rootpage FROM sqlite_master WHERE name = 'notes'")
        )

    damage(database_path, page.value if is_root else page.value + 1)

    try:
        complaints = await asyncio.to_thread(verify, database_path)
    except StorageUnavailableError as error:
        complaints = [error.message]
    assert complaints
    async with open_sqlite(database_path, clock=SystemClock()) as database:
        with pytest.raises(StorageUnavailableError, match="damaged"):
            await notes(database)
        with pytest.raises(StorageUnavailableError, match="damaged"):
            await database.write(lambda tx: tx.execute("UPDATE notes SET text = x'00'"))
        assert await database.ping() >= 0
