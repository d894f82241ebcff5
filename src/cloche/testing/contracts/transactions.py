"""The contract of ``Database``: one order, all or nothing, one state for each reader."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from cloche.domain.scope import Scope
from cloche.errors import StorageError
from cloche.ids import ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import (
    NOW,
    AnyRow,
    add_thread,
    append_events,
    event_draft,
    newcomer,
    rows,
)
from cloche.testing.gates import Gate


class RefusalError(Exception):
    """What a transaction function raises to be undone."""


async def _titles(database: Database, scope: Scope) -> set[str]:
    found = await rows(database, "SELECT title FROM threads WHERE tenant_id = ?", str(scope.tenant_id))
    return {str(row[0]) for row in found}


async def _add(tx: Transaction, scope: Scope, *titles: str) -> None:
    for title in titles:
        await ThreadRepository(scope).create(tx, ThreadId.new(), title=title, metadata={}, at=NOW)


class TestTransactions:
    """Writes and reads as whole functions."""

    async def test_what_was_written_is_read_on_both_nodes(self, deployment: Deployment, scope: Scope) -> None:
        """A write that returned is there for everybody, and its caller has what the function returned."""

        async def work(tx: Transaction) -> str:
            await _add(tx, scope, "a", "b")
            return "outcome"

        assert await deployment.node.write(work) == "outcome"
        assert await _titles(deployment.node, scope) == {"a", "b"}
        assert await _titles(deployment.other, scope) == {"a", "b"}

    async def test_a_function_that_raises_leaves_nothing(self, deployment: Deployment, scope: Scope) -> None:
        """All or nothing, and the caller gets the very error."""
        error = RefusalError()

        async def work(tx: Transaction) -> None:
            await _add(tx, scope, "a", "b")
            raise error

        with pytest.raises(RefusalError) as raised:
            await deployment.node.write(work)

        assert raised.value is error
        assert await _titles(deployment.other, scope) == set()

    async def test_a_statement_that_fails_leaves_nothing(self, deployment: Deployment, scope: Scope) -> None:
        """What stood before the failing statement is undone with it."""
        thread_id = await add_thread(deployment.node, scope, title="first")

        async def work(tx: Transaction) -> None:
            await _add(tx, scope, "a")
            await ThreadRepository(scope).create(tx, thread_id, title="second", metadata={}, at=NOW)

        with pytest.raises(deployment.capabilities.key_error):
            await deployment.node.write(work)

        assert await _titles(deployment.other, scope) == {"first"}

    async def test_a_failing_transaction_takes_no_other_with_it(self, deployment: Deployment, scope: Scope) -> None:
        """Transactions that wait together may share a commit; they do not share a failure."""

        async def good(title: str) -> None:
            await deployment.node.write(lambda tx: _add(tx, scope, title))

        async def bad() -> None:
            async def work(tx: Transaction) -> None:
                await _add(tx, scope, "bad")
                raise RefusalError

            with pytest.raises(RefusalError):
                await deployment.node.write(work)

        with Gate() as gate:

            async def held(tx: Transaction) -> None:
                await _add(tx, scope, "held")
                await gate.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(held))
                await gate.reached()
                for title in ("a", "b", "c"):
                    group.create_task(good(title))
                    group.create_task(bad())
                await asyncio.sleep(0)
                gate.open()

        assert await _titles(deployment.other, scope) == {"held", "a", "b", "c"}

    async def test_nobody_sees_half_a_transaction(self, deployment: Deployment, scope: Scope) -> None:
        """Rows appear with the commit, together."""
        with Gate() as gate:

            async def work(tx: Transaction) -> None:
                await _add(tx, scope, "a")
                await gate.stop()
                await _add(tx, scope, "b")

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(work))
                await gate.reached()
                seen = [await _titles(node, scope) for node in deployment.nodes]
                gate.open()

        assert seen == [set(), set()]
        assert await _titles(deployment.other, scope) == {"a", "b"}

    async def test_a_read_sees_one_state(self, deployment: Deployment, scope: Scope) -> None:
        """What others commit in the middle of a read appears in none of its answers."""
        statement = "SELECT title FROM threads WHERE tenant_id = ?"
        with Gate() as gate:

            async def work(tx: Transaction) -> tuple[int, int]:
                before = await tx.fetch(AnyRow, statement, str(scope.tenant_id))
                await gate.stop()
                after = await tx.fetch(AnyRow, statement, str(scope.tenant_id))
                return len(before), len(after)

            async with asyncio.TaskGroup() as group:
                reading = group.create_task(deployment.node.read(work))
                await gate.reached()
                await deployment.other.write(lambda tx: _add(tx, scope, "a"))
                gate.open()

        assert reading.result() == (0, 0)
        assert await _titles(deployment.node, scope) == {"a"}

    async def test_a_read_changes_nothing(self, deployment: Deployment, scope: Scope) -> None:
        """A statement that writes is refused where only reading was asked for."""
        with pytest.raises(StorageError):
            await deployment.node.read(lambda tx: _add(tx, scope, "a"))

        assert await _titles(deployment.other, scope) == set()

    async def test_a_read_gives_what_its_function_raised(self, deployment: Deployment, scope: Scope) -> None:
        """And the next read is none the worse for it."""

        async def work(tx: Transaction) -> None:
            await tx.first(AnyRow, "SELECT 1")
            raise RefusalError

        with pytest.raises(RefusalError):
            await deployment.node.read(work)

        assert await _titles(deployment.node, scope) == set()

    async def test_writes_wait_for_each_other_where_the_engine_has_one_writer(self, deployment: Deployment) -> None:
        """The capability says whether writes of different tenants overlap."""
        one, two = [await newcomer(node) for node in deployment.nodes]
        order: list[str] = []
        with Gate() as gate:

            async def slow(tx: Transaction) -> None:
                await _add(tx, one, "a")
                await gate.stop()
                order.append("slow")

            async def quick(tx: Transaction) -> None:
                await _add(tx, two, "b")
                order.append("quick")

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(slow))
                await gate.reached()
                second = group.create_task(deployment.other.write(quick))
                if not deployment.capabilities.has_one_writer:
                    await second
                await asyncio.sleep(0)
                gate.open()

        assert order == (["slow", "quick"] if deployment.capabilities.has_one_writer else ["quick", "slow"])

    async def test_who_may_gather_more_hears_when_a_write_need_not_wait(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Called once, after the writes in work; not at all where a write would begin at once."""
        called = asyncio.Event()
        at_rest = deployment.node.when_free(called.set)
        with Gate() as gate:

            async def held(tx: Transaction) -> None:
                await gate.stop()
                await _add(tx, scope, "held")

            async with asyncio.TaskGroup() as group:
                writing = group.create_task(deployment.node.write(held))
                await gate.reached()
                waits = deployment.node.when_free(called.set)
                was_called = called.is_set()
                gate.open()
                await writing
        await deployment.node.ping()

        assert not at_rest
        assert not was_called
        assert waits is deployment.capabilities.has_one_writer
        assert called.is_set() is waits
        assert not deployment.node.when_free(called.set)

    async def test_ping_says_how_long_a_write_takes(self, deployment: Deployment) -> None:
        """In seconds; it raises where nothing can be written."""
        assert 0 <= await deployment.node.ping() < 10


class TestAfterCommit:
    """What a transaction asks to be done once it is durable."""

    async def test_callbacks_run_after_the_commit_and_before_the_caller_goes_on(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """In the order in which the transaction named them, once each."""
        done: list[str] = []

        async def work(tx: Transaction) -> None:
            tx.after_commit(lambda: done.append("first"))
            await _add(tx, scope, "a")
            tx.after_commit(lambda: done.append("second"))
            done.append("work")

        await deployment.node.write(work)
        done.append("caller")

        assert done == ["work", "first", "second", "caller"]

    async def test_callbacks_run_on_the_loop(self, deployment: Deployment) -> None:
        """Wherever the engine ran the statements."""
        loops: list[asyncio.AbstractEventLoop] = []

        async def work(tx: Transaction) -> None:
            tx.after_commit(lambda: loops.append(asyncio.get_running_loop()))

        await deployment.node.write(work)

        assert loops == [asyncio.get_running_loop()]

    async def test_no_callback_runs_without_a_commit(self, deployment: Deployment, scope: Scope) -> None:
        """Nobody hears of what is undone."""
        called: list[str] = []

        async def work(tx: Transaction) -> None:
            tx.after_commit(lambda: called.append("callback"))
            await _add(tx, scope, "a")
            raise RefusalError

        with pytest.raises(RefusalError):
            await deployment.node.write(work)
        await deployment.node.ping()

        assert called == []

    async def test_callbacks_run_in_the_order_of_the_commits(self, deployment: Deployment, scope: Scope) -> None:
        """What followers of a log are told comes in the log's own order."""
        thread_id = await add_thread(deployment.node, scope)
        told: list[int] = []

        async def append() -> None:
            async def work(tx: Transaction) -> None:
                found = await tx.first(
                    AnyRow,
                    "UPDATE threads SET head_seq = head_seq + 1 WHERE tenant_id = ? AND id = ? RETURNING head_seq",
                    str(scope.tenant_id),
                    str(thread_id),
                )
                seq = found[0] if found else None
                assert isinstance(seq, int)
                tx.after_commit(lambda: told.append(seq))

            await deployment.node.write(work)

        await asyncio.gather(*(append() for _ in range(25)))

        assert told == list(range(1, 26))


class TestCancellation:
    """A caller that goes away."""

    async def test_a_cancelled_writer_goes_on_at_once_and_leaves_all_or_nothing(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """It does not wait for the engine; its callbacks ran exactly when its rows are there."""
        called: list[str] = []
        with Gate() as gate:

            async def work(tx: Transaction) -> None:
                tx.after_commit(lambda: called.append("callback"))
                await _add(tx, scope, "a")
                await gate.stop()
                await _add(tx, scope, "b")

            async with asyncio.TaskGroup() as group:
                writing = group.create_task(deployment.node.write(work))
                await gate.reached()
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writing
        await deployment.node.ping()

        kept = await _titles(deployment.other, scope)
        assert kept in ({"a", "b"}, set())
        assert called == (["callback"] if kept else [])

    async def test_a_writer_cancelled_before_its_turn_leaves_all_or_nothing(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """And the ones around it are not touched."""
        with Gate() as gate:

            async def held(tx: Transaction) -> None:
                await _add(tx, scope, "held")
                await gate.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(held))
                await gate.reached()
                gone = group.create_task(deployment.node.write(lambda tx: _add(tx, scope, "a", "b")))
                group.create_task(deployment.node.write(lambda tx: _add(tx, scope, "after")))
                await asyncio.sleep(0)
                gone.cancel()
                gate.open()

        assert await _titles(deployment.other, scope) - {"held", "after"} in ({"a", "b"}, set())
        assert await _titles(deployment.other, scope) >= {"held", "after"}

    async def test_a_cancelled_reader_is_no_burden(self, deployment: Deployment, scope: Scope) -> None:
        """As many as there are readers may go away in mid-read; the next read is answered."""
        with Gate() as gate:

            async def work(tx: Transaction) -> None:
                await tx.first(AnyRow, "SELECT 1")
                await gate.stop()

            async with asyncio.TaskGroup() as group:
                reading = [group.create_task(deployment.node.read(work)) for _ in range(4)]
                await gate.reached()
                for task in reading:
                    task.cancel()

        assert await _titles(deployment.node, scope) == set()


class TestStatements:
    """What the statements of a transaction answer."""

    async def test_values_come_back_as_they_were_given(self, deployment: Deployment, scope: Scope) -> None:
        """Texts, bytes and whole numbers of 64 bits."""
        blob, number = bytes(range(256)) * 300, 2**62

        async def work(tx: Transaction) -> AnyRow | None:
            await tx.execute(
                "INSERT INTO idempotency (tenant_id, user_id, key, body_digest, answer, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                *(str(scope.tenant_id), str(scope.user_id), "ключ", b"", blob, number),
            )
            return await tx.first(
                AnyRow,
                "SELECT key, body_digest, answer, created_at FROM idempotency WHERE tenant_id = ?",
                str(scope.tenant_id),
            )

        assert await deployment.node.write(work) == ("ключ", b"", blob, number)

    async def test_an_empty_answer_is_none_or_an_empty_list(self, deployment: Deployment, scope: Scope) -> None:
        """``first`` and ``fetch`` of nothing."""
        sql = "SELECT id FROM threads WHERE tenant_id = ?"

        async def work(tx: Transaction) -> tuple[object, object]:
            tenant = str(scope.tenant_id)
            return await tx.first(AnyRow, sql, tenant), await tx.fetch(AnyRow, sql, tenant)

        assert await deployment.node.read(work) == (None, [])

    async def test_execute_counts_the_rows_that_it_changed(self, deployment: Deployment, scope: Scope) -> None:
        """Of an insert, an update, a delete, and of one that found nothing."""

        async def work(tx: Transaction) -> list[int]:
            tenant = str(scope.tenant_id)
            await _add(tx, scope, "a", "b", "c")
            return [
                await tx.execute("UPDATE threads SET title = 'd' WHERE tenant_id = ?", tenant),
                await tx.execute("UPDATE threads SET title = 'd' WHERE tenant_id = ? AND title = 'a'", tenant),
                await tx.execute("DELETE FROM threads WHERE tenant_id = ?", tenant),
                await tx.execute("DELETE FROM threads WHERE tenant_id = ?", tenant),
            ]

        assert await deployment.node.write(work) == [3, 0, 3, 0]

    async def test_a_transaction_sees_its_own_writes(self, deployment: Deployment, scope: Scope) -> None:
        """Before anybody else does."""
        thread_id = await add_thread(deployment.node, scope)

        assert await append_events(deployment.node, scope, thread_id, [event_draft("a"), event_draft("b")]) == [1, 2]

    async def test_a_wrong_statement_is_no_fault_of_the_engine(self, deployment: Deployment) -> None:
        """A fault of the program is not retried as if the database had failed."""

        async def work(tx: Transaction) -> None:
            await tx.execute("SELECT id FROM nowhere")

        with pytest.raises(Exception, match=r"no such table|does not exist") as raised:
            await deployment.node.write(work)

        assert not isinstance(raised.value, StorageError)
