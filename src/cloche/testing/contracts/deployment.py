"""What a contract suite runs on: two nodes of one deployment, and how their engine differs from others.

A backend gives the two fixtures that every suite asks for, and imports the suites' classes into a test module:

- ``deployment``: a ``Deployment``, opened on the test's loop;
- ``scope``: a ``Scope`` of a tenant of its own, such as ``population.newcomer(deployment.node)``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from cloche.storage.database import Database, Transaction, Work
from cloche.testing.gates import Gate

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """How engines differ; each is asserted both ways.

    Attributes:
        has_one_writer: a write begins when the one before it has ended; with False, writes of other rows overlap.
        key_error: what a transaction gets that writes a second row under a unique key.
    """

    has_one_writer: bool
    key_error: type[Exception]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Two opened databases of one deployment; where there is only one process, both are the same."""

    node: Database
    other: Database
    capabilities: Capabilities

    @property
    def nodes(self) -> tuple[Database, Database]:
        """Both, in order."""
        return self.node, self.other


async def race(first_node: Database, first: Work[A], second_node: Database, second: Work[B]) -> tuple[A, B]:
    """Both outcomes: the second started while the first had run its statements and not yet committed."""
    with Gate() as gate:

        async def held(tx: Transaction) -> A:
            outcome = await first(tx)
            await gate.stop()
            return outcome

        async with asyncio.TaskGroup() as group:
            one = group.create_task(first_node.write(held))
            await gate.reached()
            two = group.create_task(second_node.write(second))
            await asyncio.sleep(0)
            gate.open()
    return one.result(), two.result()
