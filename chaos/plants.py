"""Faults put into a victim on purpose: what a harness does not notice, it does not test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from cloche.domain.runs import ExecutionState
from cloche.events.log import EventLog
from cloche.ids import RunId
from cloche.storage import runs
from cloche.storage.database import Transaction
from cloche.storage.runs import RunRepository
from cloche.tools.dispatcher import ToolDispatcher


def _remove_fence() -> None:
    """An execution whose run has gone to another one writes all the same."""

    async def fence(repository: RunRepository, tx: Transaction, run_id: RunId, epoch: int) -> ExecutionState:
        return (await repository.get(tx, run_id)).state

    setattr(RunRepository, "fence", fence)  # noqa: B010
    setattr(runs, "_FENCE", " AND ? IS NOT NULL")  # noqa: B010


def _append_outside() -> None:
    """An event is appended in a transaction of its own, and so is what belongs to it."""
    inner = cast("Callable[..., Awaitable[object]]", EventLog.append)

    async def append(log: EventLog, tx: Transaction, *arguments: object, **named: object) -> object:
        await tx.execute("COMMIT")
        await tx.execute("BEGIN IMMEDIATE")
        stored = await inner(log, tx, *arguments, **named)
        await tx.execute("COMMIT")
        await tx.execute("BEGIN IMMEDIATE")
        return stored

    setattr(EventLog, "append", append)  # noqa: B010


def _always_repeat() -> None:
    """A call whose outcome is not known is made again, whatever its tool declares."""

    setattr(ToolDispatcher, "_interrupted", getattr(ToolDispatcher, "_work"))  # noqa: B009, B010


PLANTS: dict[str, Callable[[], None]] = {
    "fence": _remove_fence,
    "outside": _append_outside,
    "repeat": _always_repeat,
}


def plant(name: str) -> None:
    """The program has the fault of that name; none for an empty one."""
    if name:
        PLANTS[name]()
