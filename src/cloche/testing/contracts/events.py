"""The contract of the log: numbers without a gap, whoever appends, and whatever is undone."""

from __future__ import annotations

import asyncio

import pytest

from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft, EventRepository, LogBounds, StoredEvent
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import NOW, SECOND, add_thread, append_events, event_draft, rows
from cloche.testing.gates import Gate


async def _read(
    database: Database,
    scope: Scope,
    thread_id: ThreadId,
    *,
    after: int = 0,
    limit: int = 1000,
    until: int | None = None,
) -> list[StoredEvent]:
    return await database.read(
        lambda tx: EventRepository(scope).read(tx, thread_id, after=after, limit=limit, until=until)
    )


async def _bounds(database: Database, scope: Scope, thread_id: ThreadId) -> LogBounds:
    return await database.read(lambda tx: EventRepository(scope).bounds(tx, thread_id))


class TestLog:
    """The logs of one user's threads."""

    async def test_events_get_the_next_numbers(self, deployment: Deployment, scope: Scope) -> None:
        """And their bodies say them; what was stored is what was answered."""
        thread_id = await add_thread(deployment.node, scope)
        events = EventRepository(scope)

        stored = await deployment.node.write(
            lambda tx: events.append(tx, thread_id, [event_draft("a"), event_draft("b")], at=NOW + SECOND)
        )
        more = await deployment.other.write(lambda tx: events.append(tx, thread_id, [event_draft("c")], at=NOW))

        assert [*stored, *more] == [
            (1, b'{"seq":1,"text":"a"}'),
            (2, b'{"seq":2,"text":"b"}'),
            (3, b'{"seq":3,"text":"c"}'),
        ]
        for node in deployment.nodes:
            assert await _read(node, scope, thread_id) == [*stored, *more]
            assert (await _bounds(node, scope, thread_id))[1:] == (1, 3)

    async def test_an_append_changes_the_thread_s_time(self, deployment: Deployment, scope: Scope) -> None:
        """Of no events too, which use no number."""
        thread_id = await add_thread(deployment.node, scope)

        assert await append_events(deployment.node, scope, thread_id, [], at=NOW + SECOND) == []

        thread = await deployment.other.read(lambda tx: ThreadRepository(scope).get(tx, thread_id))
        assert (thread.updated_at, thread.head_seq) == (NOW + SECOND, 0)

    async def test_numbers_have_no_gap_when_both_nodes_append_at_once(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Those of one append stand together, in its order."""
        thread_id = await add_thread(deployment.node, scope)
        batches = [[f"{number}-{part}" for part in range(number % 4 + 1)] for number in range(12)]
        numbers: dict[str, int] = {}

        async def append(node: Database, texts: list[str]) -> None:
            seqs = await append_events(node, scope, thread_id, [event_draft(text) for text in texts])
            assert seqs == list(range(seqs[0], seqs[0] + len(texts)))
            numbers.update(zip(texts, seqs, strict=True))

        with Gate() as gate:

            async def held(tx: Transaction) -> None:
                await EventRepository(scope).append(tx, thread_id, [event_draft("held")], at=NOW)
                await gate.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(held))
                await gate.reached()
                for number, texts in enumerate(batches):
                    group.create_task(append(deployment.nodes[number % 2], texts))
                await asyncio.sleep(0)
                gate.open()

        found = await _read(deployment.other, scope, thread_id)
        assert [event.seq for event in found] == list(range(1, len(found) + 1))
        assert sorted(numbers.values()) == list(range(2, len(found) + 1))
        assert (await _bounds(deployment.node, scope, thread_id)).head_seq == len(found)

    async def test_an_append_that_is_undone_uses_no_number(self, deployment: Deployment, scope: Scope) -> None:
        """The number is given in the transaction of the event, and goes back with it."""
        thread_id = await add_thread(deployment.node, scope)

        async def refused(tx: Transaction) -> None:
            await EventRepository(scope).append(tx, thread_id, [event_draft("refused")], at=NOW)
            raise LookupError

        with pytest.raises(LookupError):
            await deployment.node.write(refused)

        assert await append_events(deployment.other, scope, thread_id, [event_draft("kept")]) == [1]
        assert await _read(deployment.node, scope, thread_id) == [(1, b'{"seq":1,"text":"kept"}')]

    async def test_an_append_beside_one_that_is_undone_leaves_no_gap(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Even when both were on their way at once."""
        thread_id = await add_thread(deployment.node, scope)
        events = EventRepository(scope)
        with Gate() as gate:

            async def refused(tx: Transaction) -> None:
                await events.append(tx, thread_id, [event_draft("refused")], at=NOW)
                await gate.stop()
                raise LookupError

            async def expect_refusal() -> None:
                with pytest.raises(LookupError):
                    await deployment.node.write(refused)

            async with asyncio.TaskGroup() as group:
                group.create_task(expect_refusal())
                await gate.reached()
                for _ in range(3):
                    group.create_task(append_events(deployment.other, scope, thread_id, [event_draft("kept")]))
                await asyncio.sleep(0)
                gate.open()

        assert [event.seq for event in await _read(deployment.node, scope, thread_id)] == [1, 2, 3]

    async def test_the_head_and_the_events_are_one(self, deployment: Deployment, scope: Scope) -> None:
        """A reader in the middle of an append sees neither; one after it sees both."""
        thread_id = await add_thread(deployment.node, scope)
        events = EventRepository(scope)
        with Gate() as gate:

            async def work(tx: Transaction) -> None:
                await events.append(tx, thread_id, [event_draft("a"), event_draft("b")], at=NOW)
                await gate.stop()

            async with asyncio.TaskGroup() as group:
                group.create_task(deployment.node.write(work))
                await gate.reached()
                during = (await _bounds(deployment.other, scope, thread_id)).head_seq
                read = await _read(deployment.other, scope, thread_id)
                gate.open()

        assert (during, read) == (0, [])
        assert (await _bounds(deployment.other, scope, thread_id)).head_seq == 2
        assert len(await _read(deployment.other, scope, thread_id)) == 2

    async def test_threads_count_for_themselves(self, deployment: Deployment, scope: Scope) -> None:
        """Two appends in one transaction too."""
        one, two = [await add_thread(deployment.node, scope) for _ in range(2)]
        events = EventRepository(scope)

        async def work(tx: Transaction) -> list[int]:
            stored = [
                *await events.append(tx, one, [event_draft(), event_draft()], at=NOW),
                *await events.append(tx, two, [event_draft()], at=NOW),
                *await events.append(tx, one, [event_draft()], at=NOW),
            ]
            return [event.seq for event in stored]

        assert await deployment.node.write(work) == [1, 2, 1, 3]

    async def test_many_events_are_appended_as_few_are(self, deployment: Deployment, scope: Scope) -> None:
        """However many rows a statement holds, and at its bounds."""
        sizes = (49, 50, 51, 100, 1_001)
        thread_id = await add_thread(deployment.node, scope)

        for size in sizes:
            drafts = [event_draft(str(number)) for number in range(size)]
            seqs = await append_events(deployment.node, scope, thread_id, drafts)
            assert len(seqs) == size

        found = await _read(deployment.other, scope, thread_id, limit=10_000)
        texts = [str(number) for size in sizes for number in range(size)]
        assert found == [(seq, f'{{"seq":{seq},"text":"{text}"}}'.encode()) for seq, text in enumerate(texts, 1)]

    async def test_a_thread_that_is_not_there_has_no_log(self, deployment: Deployment, scope: Scope) -> None:
        """Nothing is written for it."""
        missing = ThreadId.new()

        with pytest.raises(NotFoundError):
            await append_events(deployment.node, scope, missing, [event_draft()])
        with pytest.raises(NotFoundError):
            await _bounds(deployment.node, scope, missing)

        assert await _read(deployment.node, scope, missing) == []
        assert await rows(deployment.node, "SELECT seq FROM events WHERE tenant_id = ?", str(scope.tenant_id)) == []

    async def test_a_deleted_thread_s_log_cannot_be_opened(self, deployment: Deployment, scope: Scope) -> None:
        """Though its last run may still write its end."""
        thread_id = await add_thread(deployment.node, scope)
        await deployment.node.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=NOW))

        assert await append_events(deployment.node, scope, thread_id, [event_draft("the end")]) == [1]

        with pytest.raises(NotFoundError):
            await _bounds(deployment.other, scope, thread_id)

    async def test_bodies_come_back_byte_for_byte(self, deployment: Deployment, scope: Scope) -> None:
        """A megabyte, and text of every plane; an event's body is sent as it is stored."""
        thread_id = await add_thread(deployment.node, scope)
        tails = [b'"a":"' + b"x" * 1_000_000 + b'"}', '"b":"𝄞ü\\u0000\\ud800"}'.encode(), bytes(range(256))]

        await append_events(deployment.node, scope, thread_id, [EventDraft("a", None, tail) for tail in tails])

        found = await _read(deployment.other, scope, thread_id)
        assert [event.body for event in found] == [b'{"seq":%d,' % n + tail for n, tail in enumerate(tails, 1)]


class TestReading:
    """Parts of a log."""

    async def test_a_part_is_after_one_number_and_up_to_another(self, deployment: Deployment, scope: Scope) -> None:
        """In order, and no more than asked for."""
        thread_id = await add_thread(deployment.node, scope)
        await append_events(deployment.node, scope, thread_id, [event_draft()] * 6)

        async def seqs(after: int, limit: int = 100, until: int | None = None) -> list[int]:
            found = await _read(deployment.other, scope, thread_id, after=after, limit=limit, until=until)
            return [event.seq for event in found]

        assert await seqs(0) == [1, 2, 3, 4, 5, 6]
        assert await seqs(2, until=4) == [3, 4]
        assert await seqs(1, limit=2) == [2, 3]
        assert await seqs(6) == await seqs(99) == await seqs(3, until=3) == []

    async def test_reading_part_by_part_finds_everything_once_while_events_are_added(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """The position is enough to go on from."""
        thread_id = await add_thread(deployment.node, scope)
        await append_events(deployment.node, scope, thread_id, [event_draft()] * 5)

        found: list[int] = []
        while part := await _read(deployment.other, scope, thread_id, after=found[-1] if found else 0, limit=2):
            found += [event.seq for event in part]
            if len(found) < 8:
                await append_events(deployment.node, scope, thread_id, [event_draft()])

        assert found == list(range(1, len(found) + 1))
        assert (await _bounds(deployment.other, scope, thread_id)).head_seq == len(found)

    async def test_a_run_s_events_are_read_alone(self, deployment: Deployment, scope: Scope) -> None:
        """Among those of other runs and of none."""
        thread_id, one, two = await add_thread(deployment.node, scope), RunId.new(), RunId.new()
        drafts = [event_draft(run_id=run_id) for run_id in (one, two, None, one, one, two, one)]
        await append_events(deployment.node, scope, thread_id, drafts)
        events = EventRepository(scope)

        async def seqs(run_id: RunId, after: int, until: int, limit: int) -> list[int]:
            found = await deployment.other.read(
                lambda tx: events.read_run(tx, thread_id, run_id, after=after, until=until, limit=limit)
            )
            return [event.seq for event in found]

        assert await seqs(one, 0, 2**62, 100) == [1, 4, 5, 7]
        assert await seqs(one, 1, 5, 100) == [4, 5]
        assert await seqs(one, 0, 100, 2) == [1, 4]
        assert await seqs(two, 0, 100, 100) == [2, 6]
        assert await seqs(RunId.new(), 0, 100, 100) == []

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_two_appends_at_once_stand_in_the_order_of_their_commits(
        self, deployment: Deployment, scope: Scope, is_swapped: bool
    ) -> None:
        """Of whichever node they came."""
        thread_id = await add_thread(deployment.node, scope)
        first, second = reversed(deployment.nodes) if is_swapped else deployment.nodes
        events = EventRepository(scope)

        one, two = await race(
            first,
            lambda tx: events.append(tx, thread_id, [event_draft("a")] * 2, at=NOW),
            second,
            lambda tx: events.append(tx, thread_id, [event_draft("b")], at=NOW),
        )

        assert [event.seq for event in (*one, *two)] == [1, 2, 3]
