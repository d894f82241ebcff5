"""``cloche up`` that also counts what it asks its database, on the page of its figures; nothing else of it is changed.

``python -m chaos.counted SEND_TIMEOUT_S up …``: a client that does not read is given up after that many seconds.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from cloche import app
from cloche.api.wire.parts import EdgeLimits
from cloche.cli.main import main
from cloche.storage import sqlite


class Count:
    """How often something was called, from any thread."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._looked = itertools.count()

    def one_more(self) -> None:
        next(self._count)

    def value(self) -> float:
        """``next`` is the only step that threads cannot disturb; so looking counts too, and is taken off again."""
        return next(self._count) - next(self._looked)


reads, statements = Count(), Count()


def counting(method: Callable[..., Awaitable[Any]], count: Count) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    def counted(*arguments: object) -> Awaitable[Any]:
        count.one_more()
        return method(*arguments)

    return counted


def _count_queries() -> None:
    database, transaction = sqlite.SqliteDatabase, sqlite._SqliteTransaction  # noqa: SLF001 -- see above
    counted = [(database, "read", reads), *((transaction, name, statements) for name in ("fetch", "first", "execute"))]
    for kind, name, count in counted:
        setattr(kind, name, counting(getattr(kind, name), count))
    known: Callable[..., dict[str, float]] = app._writer_figures  # noqa: SLF001 -- see above

    def figures(*arguments: object) -> dict[str, float]:
        asked = {"storage_reads_total": reads.value(), "storage_statements_total": statements.value()}
        return {**known(*arguments), **asked}

    app._writer_figures = figures  # noqa: SLF001 -- see above


if __name__ == "__main__":
    _count_queries()
    timeout_s = float(sys.argv.pop(1))
    app.EdgeLimits = functools.partial(EdgeLimits, send_timeout_s=timeout_s)  # type: ignore[misc, assignment]
    sys.exit(main())
