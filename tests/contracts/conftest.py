"""The deployments on which every contract suite runs. Another engine joins as further parameters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import apsw
import pytest

from cloche.clock import SystemClock
from cloche.domain.scope import Scope
from cloche.storage.sqlite import open_sqlite, upgrade
from cloche.testing.contracts.deployment import Capabilities, Deployment
from cloche.testing.contracts.population import newcomer


class Opening(Protocol):
    """Opens a deployment on the running loop, over what ``folder`` holds from one test to the next."""

    def __call__(self, folder: Path) -> AbstractAsyncContextManager[Deployment]: ...


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[Deployment]:
    """One process, so both nodes are the same opened file."""
    async with open_sqlite(folder / "cloche.db", clock=SystemClock()) as database:
        yield Deployment(
            node=database,
            other=database,
            capabilities=Capabilities(has_one_writer=True, key_error=apsw.ConstraintError),
        )


DEPLOYMENTS: Mapping[str, Opening] = {"sqlite": sqlite}


@pytest.fixture(scope="session")
def contract_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the whole session: tests meet each other's rows, and must not see them."""
    folder = tmp_path_factory.mktemp("contracts")
    upgrade(folder / "cloche.db")
    return folder


@pytest.fixture(params=sorted(DEPLOYMENTS))
async def deployment(request: pytest.FixtureRequest, contract_folder: Path) -> AsyncGenerator[Deployment]:
    async with DEPLOYMENTS[request.param](contract_folder) as opened:
        yield opened


@pytest.fixture
async def scope(deployment: Deployment) -> Scope:
    """A person in a tenant of their own."""
    return await newcomer(deployment.node)
