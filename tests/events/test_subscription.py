"""History and live are one path: every event once, in order, without a seam."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.clock import SystemClock
from cloche.domain.scope import Scope, SystemScope
from cloche.errors import PositionLostError, StorageUnavailableError
from cloche.events import hub as hub_module
from cloche.events.hub import Hub
from cloche.events.log import EventLog
from cloche.events.subscription import Subscription
from cloche.ids import ThreadId
from cloche.storage.events import Keep, RetentionRepository, StoredEvent
from cloche.storage.sqlite import SqliteDatabase
from support.logs import HeldDatabase, append, make_thread, seqs, set_retention


class Site:
    """A log over a database whose reads a test can hold, with one writer."""

    def __init__(self, database: SqliteDatabase, clock: SystemClock, scope: Scope) -> None:
        self.database = HeldDatabase(database)
        self.hub = Hub()
        self.log = EventLog(self.database, self.hub)
        self.clock = clock
        self.scope = scope
        self.total = 0

    async def thread(self) -> ThreadId:
        self.total = 0
        self.thread_id = await make_thread(self.database, self.clock, self.scope)
        return self.thread_id

    async def write(self, count: int) -> None:
        if count:
            self.total += count
            await append(self.database, self.log, self.scope, self.thread_id, ["t"] * count, at=self.clock.now())

    async def collect(self, subscription: Subscription, until: int) -> list[StoredEvent]:
        found: list[StoredEvent] = []
        async with asyncio.timeout(5):
            while subscription.position < until:
                found += await subscription.next()
        return found

    async def trim(self, keep: int) -> None:
        await set_retention(self.database, self.scope, events=keep)
        repository = RetentionRepository(SystemScope(purpose="a test of retention"), Keep())
        rows = await self.database.read(lambda tx: repository.overdue(tx, at=self.clock.now(), limit=10))
        for row in rows:
            if row.tenant_id == self.scope.tenant_id:
                await self.database.write(lambda tx, row=row: repository.trim(tx, row, at=self.clock.now()))


@pytest.fixture
def site(database: SqliteDatabase, clock: SystemClock, scope: Scope) -> Site:
    return Site(database, clock, scope)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.integers(min_value=0, max_value=6),
    after=st.integers(min_value=0, max_value=6),
    meanwhile=st.lists(st.integers(min_value=0, max_value=3), max_size=8),
    live=st.lists(st.integers(min_value=0, max_value=3), max_size=4),
    tail=st.sampled_from([1, 2, 512]),
    another=st.booleans(),
)
async def test_wherever_events_fall_while_somebody_subscribes_they_come_once_and_in_order(
    site: Site, before: int, after: int, meanwhile: list[int], live: list[int], tail: int, another: bool
):
    await site.thread()
    waiting = list(meanwhile)

    async def write_some() -> None:
        await site.write(waiting.pop() if waiting else 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub_module, "TAIL_EVENTS", tail)
        await site.write(before)
        other = (await site.log.subscribe(site.scope, site.thread_id))[0] if another else None
        site.database.before_read = site.database.after_read = write_some
        subscription, opening, snapshot = await site.log.subscribe(site.scope, site.thread_id, after=min(after, before))
        with subscription:
            for count in live:
                await site.write(count)
                found = await subscription.take()
                assert not found or found[0].seq == subscription.position - len(found) + 1
            start = subscription.position
            while waiting:
                await write_some()
            found = await site.collect(subscription, site.total)
        site.database.before_read = site.database.after_read = None

        assert (opening.recovered, snapshot) == (True, None)
        assert opening.from_seq == min(after, before) + 1
        assert seqs(found) == list(range(start + 1, site.total + 1))
        if other is not None:
            with other:
                assert seqs(await site.collect(other, site.total)) == list(range(1, site.total + 1))


async def test_an_event_committed_between_joining_and_looking_is_not_lost(site: Site):
    await site.thread()
    await site.write(2)

    async def write_one() -> None:
        site.database.before_read = None
        await site.write(1)

    site.database.before_read = write_one
    subscription, opening, _ = await site.log.subscribe(site.scope, site.thread_id, after=0)

    with subscription:
        assert opening.head_seq == 3
        assert seqs(await site.collect(subscription, 3)) == [1, 2, 3]


async def test_an_event_committed_between_looking_and_beginning_is_not_lost(site: Site):
    await site.thread()
    await site.write(2)

    async def write_one() -> None:
        site.database.after_read = None
        await site.write(1)

    site.database.after_read = write_one
    subscription, opening, _ = await site.log.subscribe(site.scope, site.thread_id, after=2)

    with subscription:
        assert opening.head_seq == 2
        assert seqs(await site.collect(subscription, 3)) == [3]


async def test_followers_at_different_speeds_each_get_everything(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_module, "TAIL_EVENTS", 5)
    await site.thread()
    quick, _, _ = await site.log.subscribe(site.scope, site.thread_id)
    slow, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with quick, slow:
        seen: list[StoredEvent] = []
        for _ in range(20):
            await site.write(3)
            seen += await quick.take()
        late = await site.collect(slow, 60)

    assert seqs(seen) == seqs(late) == list(range(1, 61))
    assert [event.body for event in seen] == [event.body for event in late]


async def test_a_batch_holds_no_more_than_was_asked_for_and_always_something(site: Site):
    await site.thread()
    await site.write(10)
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with subscription:
        one = await subscription.take(max_bytes=1)
        three = await subscription.take(limit=3)
        two = await subscription.take(max_bytes=2 * len(one[0].body))
        rest = await subscription.take()
        nothing = await subscription.take()

    assert [len(batch) for batch in (one, three, two, rest, nothing)] == [1, 3, 2, 4, 0]


async def test_the_same_limits_hold_for_what_comes_from_the_tail(site: Site):
    await site.thread()
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)
    site.database.before_read = _refuse

    with subscription:
        await site.write(4)
        one = await subscription.take(max_bytes=1)
        two = await subscription.take(limit=2)
        rest = await subscription.take()

    assert [len(batch) for batch in (one, two, rest)] == [1, 2, 1]


async def _refuse() -> None:
    raise StorageUnavailableError("a follower who is up to date does not ask the database")


async def test_waiting_ends_as_soon_as_there_is_something(site: Site):
    await site.thread()
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with subscription:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(subscription.next())
            await site.write(2)

    assert seqs(waiting.result()) == [1, 2]


async def test_a_cancelled_wait_loses_nothing(site: Site):
    await site.thread()
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await subscription.next()
        await site.write(1)
        assert seqs(await subscription.next()) == [1]


async def test_a_take_that_is_cancelled_while_it_reads_moves_nothing(site: Site):
    await site.thread()
    await site.write(2)
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)
    reading, held = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reading.set()
        await held.wait()

    with subscription:
        site.database.after_read = hold
        async with asyncio.TaskGroup() as group:
            task = group.create_task(subscription.take())
            await reading.wait()
            task.cancel()
        site.database.after_read = None

        assert subscription.position == 0
        assert seqs(await subscription.take()) == [1, 2]


async def test_a_failed_read_moves_nothing(site: Site):
    await site.thread()
    await site.write(2)
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with subscription:
        site.database.before_read = _refuse
        with pytest.raises(StorageUnavailableError):
            await subscription.take()
        site.database.before_read = None

        assert seqs(await subscription.take()) == [1, 2]


async def test_what_another_process_wrote_is_read_when_it_is_told_of(
    site: Site, database: SqliteDatabase, clock: SystemClock
):
    await site.thread()
    await site.write(2)
    elsewhere = EventLog(database, Hub())
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id)

    with subscription:
        await site.write(1)
        seen = await site.collect(subscription, 3)
        await append(database, elsewhere, site.scope, site.thread_id, ["far"] * 2, at=clock.now())
        assert await subscription.take() == []
        site.hub.wake((site.scope.tenant_id, site.thread_id), 5)
        seen += await site.collect(subscription, 5)
        await site.write(1)
        seen += await site.collect(subscription, 6)

    assert seqs(seen) == [1, 2, 3, 4, 5, 6]


async def test_a_callback_hears_of_every_move_until_it_is_closed(site: Site):
    await site.thread()
    heard: list[int] = []
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id, on_moved=lambda: heard.append(site.total))

    await site.write(1)
    await site.write(2)
    subscription.close()
    subscription.close()
    await site.write(1)

    assert heard == [1, 3]
    assert site.hub.followers == 0


async def test_a_log_trimmed_while_it_is_followed_says_that_the_position_is_lost(site: Site):
    await site.thread()
    await site.write(4)
    subscription, opening, _ = await site.log.subscribe(site.scope, site.thread_id, after=1)
    await site.write(6)
    subscription._topic.tail.clear()
    await site.trim(keep=3)

    with subscription, pytest.raises(PositionLostError) as lost:
        await subscription.take()
    assert opening.recovered
    assert lost.value.details == {"position": 1, "first_seq": 8}


async def test_a_log_trimmed_to_nothing_while_it_is_followed_says_that_the_position_is_lost(site: Site):
    await site.thread()
    await site.write(4)
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id, after=1)
    await site.trim(keep=0)

    with subscription, pytest.raises(PositionLostError) as lost:
        await subscription.next()
    assert lost.value.details == {"position": 1, "head_seq": 4}


async def test_a_follower_of_a_slow_thread_survives_a_trim_behind_it(site: Site):
    await site.thread()
    await site.write(4)
    subscription, _, _ = await site.log.subscribe(site.scope, site.thread_id, after=4)
    await site.trim(keep=0)
    await site.write(1)

    with subscription:
        assert seqs(await subscription.next()) == [5]
