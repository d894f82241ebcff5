"""Fixtures for every floor: real storage, a tenant for each test, no network, no blocked event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import settings

from cloche.clock import SystemClock
from cloche.domain.scope import Scope
from cloche.storage.sqlite import SqliteDatabase, open_sqlite
from support.world import World, add_person, opened_world, working

# For long looks by hand: `--hypothesis-profile thorough --timeout 900`.
settings.register_profile("thorough", max_examples=300, stateful_step_count=60, deadline=None)

# The contract suites are a package's modules, imported by tests: their assertions say what they compared all the same.
pytest.register_assert_rewrite("cloche.testing.contracts")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The server's own loop; asyncio's differs from it where one least expects it."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def no_blocked_loop() -> Generator[None]:
    """A blocking call of ours on the event loop fails the test."""
    with blockbuster_ctx("cloche"):
        yield


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "cloche.db"


@pytest.fixture
async def database(database_path: Path, clock: SystemClock) -> AsyncGenerator[SqliteDatabase]:
    async with open_sqlite(database_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def scope(database: SqliteDatabase, clock: SystemClock) -> Scope:
    return await add_person(database, clock)


@pytest.fixture
async def idle_world(database_path: Path) -> AsyncGenerator[World]:
    """A whole server without edges, whose worker the test starts."""
    async with opened_world(database_path) as world:
        yield world


@pytest.fixture
async def world(idle_world: World) -> AsyncGenerator[World]:
    """A whole server without edges, at work."""
    async with working(idle_world):
        yield idle_world
