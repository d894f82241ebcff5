"""Named failpoints in an unchanged program: every callback of the event loop, every statement, every commit.

Nothing of the program is written for this. The event loop's callbacks are named after what they resume, transactions
after the function that is one, statements after what they touch; whoever plants more calls ``reach``.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import apsw

from cloche.storage.database import Transaction, Work
from cloche.storage.sqlite import SqliteDatabase

T = TypeVar("T")

_TABLE = re.compile(r"\b(?:INTO|FROM|UPDATE)\s+(\w+)", re.IGNORECASE)
_BEGIN = "BEGIN IMMEDIATE"
_ENDS = frozenset({"COMMIT", "ROLLBACK"})


class Points:
    """The points of one process; at the armed one it dies, or stops until it is woken."""

    def __init__(self, *, armed: str, occurrence: int, stops: bool, lists: bool) -> None:
        self._armed = armed
        self._occurrence = occurrence
        self._stops = stops
        self._lists = lists
        self._count = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._names = threading.local()
        self.seen: list[str] = []
        self.woken = False

    def reach(self, name: str) -> None:
        """The program is at the point; it goes no further when this is the one."""
        if self._lists:
            self.seen.append(name)
        if name != self._armed:
            return
        with self._lock:
            self._count += 1
            due = self._count == self._occurrence
        if due:
            self._strike()

    def install(self) -> None:
        """Every point of this process is reached from now on."""
        self._name_callbacks()
        self._name_transactions("write")
        self._name_transactions("read")
        apsw.connection_hooks.append(self._name_statements)

    def _strike(self) -> None:
        if not self._stops:
            os.kill(os.getpid(), signal.SIGKILL)
        with self._writing:
            # A stopped writer would hold its lock on the file: the others are told that its machine is gone.
            os.kill(os.getpid(), signal.SIGSTOP)
            self.woken = True

    def _name_callbacks(self) -> None:
        run: Callable[[asyncio.Handle], None] = asyncio.Handle._run  # noqa: SLF001

        def _run(handle: asyncio.Handle) -> None:
            self.reach(_callback_name(getattr(handle, "_callback", None)))
            run(handle)

        setattr(asyncio.Handle, "_run", _run)  # noqa: B010

    def _name_transactions(self, method: str) -> None:
        inner: Callable[[SqliteDatabase, Work[Any]], Awaitable[Any]] = getattr(SqliteDatabase, method)

        async def outer(database: SqliteDatabase, work: Work[T]) -> T:
            name = f"{method} {_plain(getattr(work, '__qualname__', 'work'))}"

            async def marked(tx: Transaction) -> T:
                self._names.current = name
                self._batch().append(name)
                self.reach(f"in {name}: first")
                value = await work(tx)
                self.reach(f"in {name}: last")
                self._names.current = ""
                return value

            self.reach(f"{name}: asked")
            value = await inner(database, marked)
            self.reach(f"{name}: returned")
            return value

        setattr(SqliteDatabase, method, outer)

    def _batch(self) -> list[str]:
        if not hasattr(self._names, "batch"):
            self._names.batch = []
        return self._names.batch

    def _name_statements(self, connection: apsw.Connection) -> None:
        connection.exec_trace = self._before
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._after)

    def _before(self, _cursor: object, sql: str, _bindings: object) -> bool:
        if sql.startswith("BEGIN"):
            self._batch().clear()
        if sql == _BEGIN and self._stops:
            self._names.writing = self._writing.acquire(timeout=5)
        self.reach(f"before {self._statement(sql)}")
        return True

    def _after(self, event: dict[str, Any]) -> None:
        sql = event.get("sql") or ""
        if sql in _ENDS and getattr(self._names, "writing", False):
            self._names.writing = False
            self._writing.release()
        if sql in _ENDS or sql == _BEGIN:
            self.reach(f"after {self._statement(sql)}")

    def _statement(self, sql: str) -> str:
        if sql in _ENDS:
            return f"{sql} of {' + '.join(sorted(set(self._batch())))}"
        current: str = getattr(self._names, "current", "")
        table = _TABLE.search(sql)
        text = f"{sql.split(None, 1)[0]} {table[1] if table else ''}" if current else sql[:40]
        return f"{text.strip()} in {current}" if current else text


def numbered(names: list[str]) -> list[tuple[str, int]]:
    """Each point that was reached, with how often it had been."""
    count: Counter[str] = Counter()
    found: list[tuple[str, int]] = []
    for name in names:
        count[name] += 1
        found.append((name, count[name]))
    return found


def _plain(qualname: str) -> str:
    return qualname.replace(".<locals>", "").replace("<lambda>", "lambda")


def _callback_name(callback: object) -> str:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"resume {_awaited(owner.get_coro())}"
    return f"call {_plain(getattr(callback, '__qualname__', type(callback).__name__))}"


def _awaited(awaitable: object) -> str:
    """The task, and the innermost functions of ours and of the library that wait in it."""
    names: list[str] = []
    while awaitable is not None:
        name = _plain(getattr(awaitable, "__qualname__", type(awaitable).__name__))
        frame = getattr(awaitable, "gi_frame", None)
        if name == "_Driven.__await__" and frame is not None:
            awaitable = frame.f_locals["self"]._coroutine  # noqa: SLF001
            continue
        names.append(name)
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
    return " > ".join(dict.fromkeys([names[0], *names[-3:]])) if names else "nothing"
