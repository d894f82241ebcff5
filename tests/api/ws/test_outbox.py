from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from cloche.api.wire.parts import EdgeParts
from cloche.api.ws.following import Following
from cloche.api.ws.outbox import Outbox
from cloche.domain.events import ThreadUpdated
from cloche.domain.scope import Scope
from cloche.errors import LimitExceededError
from cloche.events.codec import draft
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.events import EventRepository
from cloche.telemetry import Figures
from support.edges import append, eventually, make_thread
from support.world import add_person


class Socket:
    """What was sent, and a gate that a test may close."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.sent = asyncio.Event()

    async def send(self, frame: bytes) -> None:
        await self.gate.wait()
        self.frames.append(json.loads(frame))
        self.sent.set()

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(5):
            while len(self.frames) < count:
                self.sent.clear()
                await self.sent.wait()
        return self.frames


@pytest.fixture
def wire() -> Socket:
    return Socket()


@pytest.fixture
def stalls() -> list[str]:
    return []


@pytest.fixture
async def outbox(services: EdgeParts, wire: Socket, stalls: list[str]) -> AsyncGenerator[Outbox]:
    made = Outbox(
        wire.send,
        lambda: stalls.append("stalled"),
        log=services.log,
        figures=Figures(),
        limit_bytes=100,
        send_timeout_s=0.05,
        subscriptions=3,
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()
    made.close()


@pytest.fixture
async def thread_id(services: EdgeParts, scope: Scope) -> ThreadId:
    return await make_thread(services.database, scope, services)


@pytest.fixture
async def scope(services: EdgeParts) -> Scope:
    return await add_person(services.database, services.clock)


async def append_elsewhere(services: EdgeParts, scope: Scope, thread_id: ThreadId, *titles: str) -> None:
    """As another process does it: committed, and nobody here has heard of it."""
    now = services.clock.now()
    drafts = [
        draft(ThreadUpdated(title=title, status="idle"), thread_id=thread_id, run_id=None, at=now) for title in titles
    ]

    async def work(tx: Transaction) -> None:
        await EventRepository(scope).append(tx, thread_id, drafts, at=now)

    await services.database.write(work)


async def trim(services: EdgeParts, thread_id: ThreadId, first: int) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute("UPDATE threads SET first_seq = ? WHERE id = ?", first, str(thread_id))
        await tx.execute("DELETE FROM events WHERE thread_id = ? AND seq < ?", str(thread_id), first)

    await services.database.write(work)


async def delete(services: EdgeParts, thread_id: ThreadId) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute("UPDATE threads SET deleted_at = 1 WHERE id = ?", str(thread_id))

    await services.database.write(work)


async def test_answers_go_out_in_order(outbox: Outbox, wire: Socket):
    outbox.put(b"1", b"2")
    outbox.put(b"3")

    assert await wire.until(3) == [1, 2, 3]


async def test_who_adds_answers_waits_for_a_client_that_does_not_read(outbox: Outbox, wire: Socket):
    wire.gate.clear()
    outbox.put(b'"%b"' % (b"x" * 100))
    async with asyncio.TaskGroup() as waiting:
        room = waiting.create_task(outbox.room())
        await asyncio.sleep(0)
        assert not room.done()
        wire.gate.set()
    await wire.until(1)

    await outbox.room()
    assert outbox.leftovers() == []


async def test_a_send_that_does_not_end_is_noticed_once_and_a_short_one_is_not(
    outbox: Outbox, wire: Socket, stalls: list[str]
):
    outbox.put(b"1")
    await wire.until(1)
    wire.gate.clear()
    outbox.put(b"2", b"3")
    await eventually(lambda: stalls)

    assert outbox.leftovers() == [b"2", b"3"]
    assert stalls == ["stalled"]


async def test_answers_stand_before_events_that_come_meanwhile(
    services: EdgeParts, outbox: Outbox, wire: Socket, scope: Scope, thread_id: ThreadId
):
    await append(services.log, services, scope, thread_id, "a")
    await outbox.following.follow(scope, thread_id, after=None, epoch=None)
    outbox.put(b'"opened"')

    frames = await wire.until(2)

    assert frames[0] == "opened"
    assert frames[1]["events"][0]["seq"] == 1
    assert outbox.following.positions == {thread_id: 1}


async def test_threads_take_turns(services: EdgeParts, scope: Scope):
    following = Following(services.log, lambda: None, limit=2)
    threads = [await make_thread(services.database, scope, services) for _ in range(2)]
    for thread_id in threads:
        await append(services.log, services, scope, thread_id, *["x" * 50_000] * 3)
        await following.follow(scope, thread_id, after=0, epoch=None)
    with pytest.raises(LimitExceededError):
        await following.follow(scope, ThreadId.new(), after=0, epoch=None)

    turns = []
    while following.has_moved:
        batch = await following.take()
        assert batch is not None
        turns.append((json.loads(batch.frame)["events"][0]["thread_id"], batch.events))

    assert turns == [(threads[turn % 2], 1) for turn in range(6)]
    following.close()
    assert not following.has_moved


async def test_a_position_counts_only_when_its_frame_was_handed_over(
    services: EdgeParts, scope: Scope, thread_id: ThreadId
):
    following = Following(services.log, lambda: None, limit=1)
    await append(services.log, services, scope, thread_id, "a", "b")
    await following.follow(scope, thread_id, after=1, epoch=None)

    batch = await following.take()
    before = following.positions
    assert batch is not None
    batch.sent()

    assert (before, following.positions) == ({thread_id: 1}, {thread_id: 2})
    following.close()


async def test_a_history_that_was_lost_meanwhile_begins_anew(services: EdgeParts, scope: Scope, thread_id: ThreadId):
    following = Following(services.log, lambda: None, limit=1)
    await append(services.log, services, scope, thread_id, "a")
    await following.follow(scope, thread_id, after=1, epoch=None)
    await append_elsewhere(services, scope, thread_id, "b", "c", "d")
    await trim(services, thread_id, 4)
    services.log._hub.wake((scope.tenant_id, thread_id), 4)

    batch = await following.take()
    assert batch is not None
    opening = json.loads(batch.frame)
    await append(services.log, services, scope, thread_id, "e")
    after = await following.take()

    assert (opening["notice"], opening["recovered"], opening["from_seq"]) == ("stream_opened", False, 5)
    assert opening["snapshot"]["seq"] == 4
    assert after is not None
    assert [event["seq"] for event in json.loads(after.frame)["events"]] == [5]
    following.close()


async def test_a_thread_that_is_gone_is_followed_no_more_and_that_is_said(
    services: EdgeParts, scope: Scope, thread_id: ThreadId
):
    following = Following(services.log, lambda: None, limit=1)
    await following.follow(scope, thread_id, after=0, epoch=None)
    await append_elsewhere(services, scope, thread_id, "b")
    await trim(services, thread_id, 2)

    await delete(services, thread_id)
    services.log._hub.wake((scope.tenant_id, thread_id), 1)
    batch = await following.take()

    assert batch is not None
    closed = json.loads(batch.frame)
    assert (closed["notice"], closed["error"]["code"]) == ("stream_closed", "not_found")
    assert following.positions == {}


@pytest.mark.parametrize("fate", ["kept", "trimmed", "deleted"])
async def test_what_was_read_for_a_subscription_that_is_gone_is_dropped(
    services: EdgeParts, scope: Scope, thread_id: ThreadId, fate: str
):
    following = Following(services.log, lambda: None, limit=1)
    await following.follow(scope, thread_id, after=0, epoch=None)
    await append_elsewhere(services, scope, thread_id, "a", "b")
    if fate != "kept":
        await trim(services, thread_id, 3)
    if fate == "deleted":
        await delete(services, thread_id)
    services.log._hub.wake((scope.tenant_id, thread_id), 2)

    async with asyncio.TaskGroup() as group:
        taking = group.create_task(following.take())
        await asyncio.sleep(0)
        assert following.unfollow(thread_id)

    assert taking.result() is None
    assert not following.unfollow(thread_id)
    assert services.log._hub.followers == 0


async def test_a_new_beginning_is_told_like_everything_else(
    services: EdgeParts, outbox: Outbox, wire: Socket, scope: Scope, thread_id: ThreadId
):
    await outbox.following.follow(scope, thread_id, after=0, epoch=None)
    await append_elsewhere(services, scope, thread_id, "a", "b")
    await trim(services, thread_id, 3)
    services.log._hub.wake((scope.tenant_id, thread_id), 2)

    frames = await wire.until(1)

    assert (frames[0]["notice"], frames[0]["recovered"]) == ("stream_opened", False)
    assert outbox.following.positions == {thread_id: 2}


async def test_a_thread_that_moves_while_it_is_subscribed_to_is_not_missed(
    services: EdgeParts, outbox: Outbox, wire: Socket, scope: Scope, thread_id: ThreadId
):
    async with asyncio.TaskGroup() as group:
        group.create_task(outbox.following.follow(scope, thread_id, after=0, epoch=None))
        await asyncio.sleep(0)
        await append(services.log, services, scope, thread_id, "a")
        await append(services.log, services, scope, thread_id, "b")
    frames = await wire.until(1)
    while frames[-1]["events"][-1]["seq"] < 2:
        frames = await wire.until(len(frames) + 1)

    assert [event["seq"] for frame in frames for event in frame["events"]] == [1, 2]


async def test_a_thread_that_moved_and_has_nothing_to_say_is_passed_over(
    services: EdgeParts, outbox: Outbox, wire: Socket, scope: Scope, thread_id: ThreadId
):
    await append(services.log, services, scope, thread_id, "a")
    await outbox.following.follow(scope, thread_id, after=0, epoch=None)
    await wire.until(1)
    followed = outbox.following._followed[thread_id]
    followed.subscription.moved()
    followed.subscription.moved()
    outbox.put(b"1")

    assert (await wire.until(2))[1] == 1
    await eventually(lambda: not outbox.following.has_moved)
