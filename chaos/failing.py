"""Disks that fail when a harness says so, below Python.

A virtual file system that is written in Python cannot do this: apsw raises its exception even where SQLite forgives the
failure, as in the copying of the log after a commit, and the commit would look as if it had failed. So the methods of
SQLite's own open files are replaced, by ones that give SQLite its error code.

Source: https://www.sqlite.org/c3ref/io_methods.html and https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from chaos.tuned import tuned

Kind = str
KINDS = ("write", "sync", "truncate", "shared_memory")
CODES = {
    ("write", "full"): apsw.SQLITE_FULL,
    ("write", "broken"): apsw.SQLITE_IOERR_WRITE,
    ("sync", "broken"): apsw.SQLITE_IOERR_FSYNC,
    ("truncate", "broken"): apsw.SQLITE_IOERR_TRUNCATE,
    ("shared_memory", "broken"): apsw.SQLITE_IOERR_SHMSIZE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """From the ``at``-th operation of the kind on, counted from 1, so many ones fail."""

    kind: Kind
    cause: str
    at: int
    lasting: int

    @property
    def code(self) -> int:
        return CODES[self.kind, self.cause]

    def __str__(self) -> str:
        return f"{self.cause} at {self.kind} {self.at} for {self.lasting}"


@dataclass(slots=True)
class Disk:
    """One folder's disk: what was asked of it, and the fault that it has."""

    fault: Fault | None = None
    counts: Counter[Kind] = field(default_factory=Counter[Kind])
    failed: Counter[str] = field(default_factory=Counter[str])
    # Called once, at the first failure, by the thread that meets it.
    on_failure: Callable[[], None] | None = None
    # What SQLite's open files hold pointers to.
    kept: list[object] = field(default_factory=list[object])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, kind: Kind, place: str) -> int:
        """SQLite's code for the next operation of this kind."""
        with self._lock:
            self.counts[kind] += 1
            fault = self.fault
            if fault is None or fault.kind != kind:
                return apsw.SQLITE_OK
            if not fault.at <= self.counts[kind] < fault.at + fault.lasting:
                return apsw.SQLITE_OK
            if not self.failed and self.on_failure is not None:
                self.on_failure()
            self.failed[f"{kind} of {place}"] += 1
            return fault.code


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``."""

    _fields_ = [
        ("version", ctypes.c_int),
        *((name, ctypes.c_void_p) for name in ("close", "read", "write", "truncate", "sync", "size")),
        *((name, ctypes.c_void_p) for name in ("lock", "unlock", "reserved", "control", "sector", "traits")),
        *((name, ctypes.c_void_p) for name in ("map", "shm_lock", "barrier", "unmap", "fetch", "unfetch")),
    ]


class _OpenFile(ctypes.Structure):
    """``sqlite3_file``."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_WRITE = ctypes.CFUNCTYPE(_I, _P, _P, _I, _L)
_TRUNCATE = ctypes.CFUNCTYPE(_I, _P, _L)
_SYNC = ctypes.CFUNCTYPE(_I, _P, _I)
_MAP = ctypes.CFUNCTYPE(_I, _P, _I, _I, _I, _P)
_FILE_POINTER, _JOURNAL_POINTER = apsw.SQLITE_FCNTL_FILE_POINTER, apsw.SQLITE_FCNTL_JOURNAL_POINTER


def _hook(connection: apsw.Connection, which: int, place: str, disk: Disk) -> None:
    """The open file asks the disk before it does anything that changes it."""
    address = ctypes.c_void_p()
    connection.file_control("main", which, ctypes.addressof(address))
    assert address.value, "the connection has such a file"
    file = _OpenFile.from_address(address.value)
    usual: _Methods = file.methods.contents
    ours = _Methods.from_buffer_copy(usual)
    write, truncate, sync = _WRITE(usual.write), _TRUNCATE(usual.truncate), _SYNC(usual.sync)

    @_WRITE
    def on_write(it: int, content: int, size: int, offset: int) -> int:
        return disk.ask("write", place) or write(it, content, size, offset)

    @_TRUNCATE
    def on_truncate(it: int, size: int) -> int:
        return disk.ask("truncate", place) or truncate(it, size)

    @_SYNC
    def on_sync(it: int, flags: int) -> int:
        return disk.ask("sync", place) or sync(it, flags)

    ours.write = ctypes.cast(on_write, _P).value
    ours.truncate = ctypes.cast(on_truncate, _P).value
    ours.sync = ctypes.cast(on_sync, _P).value
    disk.kept.extend((ours, on_write, on_truncate, on_sync))
    if usual.map:
        memory = _MAP(usual.map)

        @_MAP
        def on_map(it: int, region: int, size: int, extend: int, to: int) -> int:
            return (disk.ask("shared_memory", place) if extend else 0) or memory(it, region, size, extend, to)

        ours.map = ctypes.cast(on_map, _P).value
        disk.kept.append(on_map)
    file.methods = ctypes.pointer(ours)


@contextmanager
def failing_disks(*pragmas: str) -> Generator[Callable[[Path], Disk]]:
    """Databases that the server opens inside the block ask the disk of their folder; gives the disk of a folder."""
    disks: dict[Path, Disk] = {}

    def disk_of(folder: Path) -> Disk:
        return disks.setdefault(folder, Disk())

    def on_main(connection: apsw.Connection) -> None:
        disk = disks.get(Path(connection.db_filename("main")).parent)
        if disk is not None:
            _hook(connection, _FILE_POINTER, "database", disk)

    def on_log(path: Path, connection: apsw.Connection) -> None:
        disk = disks.get(path.parent)
        if disk is not None:
            connection.execute("PRAGMA schema_version").fetchall()
            _hook(connection, _JOURNAL_POINTER, "log", disk)

    apsw.connection_hooks.append(on_main)
    try:
        with tuned(*pragmas, on_open=on_log):
            yield disk_of
    finally:
        apsw.connection_hooks.remove(on_main)
