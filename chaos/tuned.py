"""What the harnesses put in the place of a part of the server, for a while: smaller limits, planted faults, hooks."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from cloche.storage import sqlite


@contextmanager
def replaced(owner: object, name: str, make: Callable[[Any], object]) -> Generator[None]:
    """Inside the block the owner's part of this name is what ``make`` makes of it."""
    usual = getattr(owner, name)
    setattr(owner, name, make(usual))
    try:
        yield
    finally:
        setattr(owner, name, usual)


@contextmanager
def tuned(*pragmas: str, on_open: Callable[[Path, apsw.Connection], None] | None = None) -> Generator[None]:
    """Every connection that the server opens inside the block has these settings besides its own."""

    def make(connect: Callable[..., apsw.Connection]) -> Callable[..., apsw.Connection]:
        def connected(path: Path, *, read_only: bool = False) -> apsw.Connection:
            connection = connect(path, read_only=read_only)
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            if on_open is not None:
                on_open(path, connection)
            return connection

        return connected

    with replaced(sqlite, "_connect", make):
        yield
