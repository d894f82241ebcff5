"""The live edge, served."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from cloche.api.wire.parts import EdgeParts
from support.edges import Edges, edges_over


@pytest.fixture
async def edges(services: EdgeParts) -> AsyncGenerator[Edges]:
    async with edges_over(services) as served:
        yield served
