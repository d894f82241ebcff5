"""What every storage engine gives: reads and writes as whole functions.

A transaction is one function. The engine decides when it runs and may run it again after a failure that left nothing
behind; so the function touches nothing but its transaction and its own new values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R", bound=tuple[object, ...])
T_co = TypeVar("T_co", covariant=True)

Param = int | float | str | bytes | None


class Transaction(Protocol):
    """The statements of one transaction; parameters are ``?`` in order, never text pasted into SQL."""

    async def fetch(self, row: type[R], sql: str, *params: Param) -> list[R]:
        """Every row of the answer, each made into ``row`` (a NamedTuple whose fields stand in the SQL's order)."""
        ...

    async def first(self, row: type[R], sql: str, *params: Param) -> R | None:
        """The first row of the answer, or None."""
        ...

    async def execute(self, sql: str, *params: Param) -> int:
        """Run a statement; the number of rows it changed."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the event loop once this transaction is durable, before its caller goes on.

        Guarantees: callbacks run in the order of the commits; none runs when the transaction did not commit.
        """
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Database(Protocol):
    """One engine, opened. ``write`` and ``read`` may be called from any task of the loop that opened it."""

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction of its own; when this returns, it is durable.

        ``work`` awaits only its transaction's statements. It may be called again, from the beginning, when the engine
        failed before anything of it was kept.

        Guarantees: all or nothing; transactions appear in one order to everybody.
        Cancellation: the caller goes on at once; the transaction is then either wholly kept or wholly not.

        Raises:
            StorageError: the engine failed and nothing was kept; what ``work`` raised otherwise.
        """
        ...

    def when_free(self, callback: Callable[[], None]) -> bool:
        """Whether a write would wait now: then ``callback`` is called, once, as soon as those in work are done.

        For who may as well gather more meanwhile. False, and no call, when a write would begin at once.
        """
        ...

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` on one consistent state of the database; it changes nothing.

        Raises:
            StorageError: the engine failed; what ``work`` raised otherwise.
        """
        ...

    async def ping(self) -> float:
        """Really write a row; the seconds that it took.

        Raises:
            StorageError: nothing can be written now.
        """
        ...

    async def aclose(self) -> None:
        """Every accepted write is durable or refused, and the engine is closed."""
        ...
