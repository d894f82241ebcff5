"""The bus of one process: offers in their order, each once, and signals to everybody who listens."""

from __future__ import annotations

import asyncio

import pytest

from cloche.bus import local as local_module
from cloche.bus.local import LocalBus
from cloche.domain.runs import RunRef
from cloche.ids import RunId, TenantId, ThreadId, UserId


def a_run() -> RunRef:
    return RunRef(tenant_id=TenantId.new(), user_id=UserId.new(), thread_id=ThreadId.new(), run_id=RunId.new())


async def test_offers_are_taken_in_their_order():
    bus, runs = LocalBus(), [a_run() for _ in range(3)]

    for ref in runs:
        bus.offer(ref)

    assert bus.depth == 3
    assert [await bus.take() for _ in runs] == runs
    assert bus.depth == 0


async def test_a_run_that_waits_already_is_offered_once_and_again_when_it_was_taken():
    bus, ref = LocalBus(), a_run()

    bus.offer(ref)
    bus.offer(ref)
    at_first = bus.depth
    await bus.take()
    bus.offer(ref)

    assert at_first == 1
    assert await bus.take() == ref


async def test_who_takes_waits_for_an_offer():
    bus, ref = LocalBus(), a_run()

    async with asyncio.TaskGroup() as group:
        taking = group.create_task(bus.take())
        await asyncio.sleep(0)
        waited = not taking.done()
        bus.offer(ref)

    assert waited
    assert taking.result() == ref


async def test_two_who_take_get_a_run_each():
    bus, first, second = LocalBus(), a_run(), a_run()

    async with asyncio.TaskGroup() as group:
        takers = [group.create_task(bus.take()) for _ in range(2)]
        await asyncio.sleep(0)
        bus.offer(first)
        await asyncio.sleep(0)
        bus.offer(second)

    assert {taker.result().run_id for taker in takers} == {first.run_id, second.run_id}


async def test_an_offer_is_not_lost_with_the_one_who_waited_for_it():
    bus, ref = LocalBus(), a_run()

    async with asyncio.TaskGroup() as group:
        taking = group.create_task(bus.take())
        await asyncio.sleep(0)
        bus.offer(ref)
        taking.cancel()

    assert taking.cancelled()
    assert await bus.take() == ref


async def test_a_full_bus_leaves_offers_to_the_sweep(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local_module, "MAX_OFFERS", 2)
    bus, runs = LocalBus(), [a_run() for _ in range(3)]

    for ref in runs:
        bus.offer(ref)
    kept = bus.depth
    taken = [await bus.take() for _ in range(2)]
    bus.offer(runs[2])

    assert kept == 2
    assert taken == runs[:2]
    assert await bus.take() == runs[2]


async def test_an_offer_waits_until_it_is_taken():
    bus, ref = LocalBus(), a_run()
    bus.offer(ref)

    before = bus.is_offered(ref.run_id)
    await bus.take()

    assert (before, bus.is_offered(ref.run_id)) == (True, False)


async def test_of_a_full_bus_nobody_can_say_what_was_left_to_the_sweep(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(local_module, "MAX_OFFERS", 1)
    bus = LocalBus()
    bus.offer(a_run())

    assert bus.is_offered(a_run().run_id)


async def test_everybody_who_listens_hears_of_a_cancel():
    bus, ref = LocalBus(), a_run()
    heard: list[tuple[str, RunRef]] = []
    bus.on_cancel(lambda told: heard.append(("one", told)))
    bus.on_cancel(lambda told: heard.append(("other", told)))

    bus.signal_cancel(ref)

    assert heard == [("one", ref), ("other", ref)]
    assert bus.depth == 0
