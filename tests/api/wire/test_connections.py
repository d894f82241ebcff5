from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from cloche.api.wire.connections import Connections
from cloche.api.wire.parts import EdgeParts
from cloche.errors import DrainingError, NotFoundError, SessionRevokedError, TokenExpiredError
from cloche.ids import SessionId


@pytest.fixture
def connections(services: EdgeParts) -> Connections:
    return Connections(services.sign_in, services.clock)


async def test_the_first_end_of_a_stream_counts(connections: Connections):
    with connections.open() as lifeline:
        async with lifeline:
            lifeline.end(SessionRevokedError())
            lifeline.end(NotFoundError())
            await asyncio.Event().wait()
        lifeline.end(NotFoundError())

    assert isinstance(lifeline.error, SessionRevokedError)
    assert len(connections) == 0


async def test_a_stream_that_ends_by_itself_has_no_error(connections: Connections, services: EdgeParts):
    with connections.open() as lifeline:
        async with lifeline:
            lifeline.belongs_to(SessionId.new(), until=services.clock.now() + timedelta(minutes=1))
        lifeline.end(NotFoundError())

    assert lifeline.error is None


async def test_a_time_limit_of_the_stream_itself_is_its_own_matter(connections: Connections):
    with connections.open() as lifeline, pytest.raises(TimeoutError):
        async with lifeline, asyncio.timeout(0):
            await asyncio.Event().wait()

    assert lifeline.error is None


async def test_a_time_that_is_over_ends_the_stream_at_once(connections: Connections, services: EdgeParts):
    with connections.open() as lifeline:
        async with lifeline:
            lifeline.belongs_to(SessionId.new(), until=services.clock.now())
            await asyncio.Event().wait()

    assert isinstance(lifeline.error, TokenExpiredError)


async def test_a_stream_ends_with_its_session_and_no_longer_with_the_one_before(
    connections: Connections, services: EdgeParts
):
    until = services.clock.now() + timedelta(minutes=1)
    former, present = SessionId.new(), SessionId.new()
    revocations = services.sign_in._parts.revocations

    with connections.open() as other, connections.open() as lifeline:
        async with other:
            other.belongs_to(present, until=until)
            async with lifeline:
                lifeline.belongs_to(former, until=until)
                lifeline.belongs_to(present, until=until)
                revocations.add([former], at=services.clock.now())
                assert lifeline.error is None
                revocations.add([present], at=services.clock.now())
                await asyncio.Event().wait()

    assert isinstance(lifeline.error, SessionRevokedError)
    assert isinstance(other.error, SessionRevokedError)


async def test_a_drain_takes_nobody_any_more_and_waits_for_who_is_there(connections: Connections):
    entered, leaving = asyncio.Event(), asyncio.Event()

    async def visit() -> None:
        with connections.open() as lifeline:
            async with lifeline:
                entered.set()
                await asyncio.Event().wait()
            assert isinstance(lifeline.error, DrainingError)
            await leaving.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(visit())
        await entered.wait()
        await connections.drain(timeout_s=0)
        assert len(connections) == 1
        draining = group.create_task(connections.drain())
        leaving.set()
        await draining
        assert len(connections) == 0

    with connections.open() as lifeline, pytest.raises(DrainingError):
        async with lifeline:
            raise AssertionError("the process is going away")
