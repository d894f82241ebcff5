"""What SQLite asked of a disk, in order, and what a power cut leaves of it.

A power cut keeps what was synced and any subset of the rest, torn at sector boundaries. A file whose folder was not
synced since it was made or deleted may be there or not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

import apsw

SECTOR = 512

Kind = Literal["create", "write", "truncate", "sync", "delete"]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that was asked of the disk. ``offset`` is the new size of a truncate; 1 for a delete that syncs."""

    kind: Kind
    file: str
    offset: int = 0
    content: bytes = b""


class Tape:
    """The acts so far. ``position`` may be asked from any thread: what was told at it was told after so many acts."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self._lock = threading.Lock()

    @property
    def position(self) -> int:
        with self._lock:
            return len(self.acts)

    def record(self, act: Act, done: Callable[[], None]) -> None:
        """The act is done, and on the tape at its place."""
        with self._lock:
            done()
            self.acts.append(act)


class RecordingDisk(apsw.VFS):
    """The machine's own disk under SQLite, which keeps a tape of what is asked of it."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.name = f"recording-{id(self)}"
        self.under = apsw.vfs_names()[0]
        super().__init__(self.name, self.under)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None:
            return apsw.VFSFile(self.under, name, flags)
        if flags[0] & apsw.SQLITE_OPEN_CREATE and not Path(path).exists():
            self.tape.record(Act("create", Path(path).name), lambda: None)
        return _RecordedFile(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.tape.record(
            Act("delete", Path(filename).name, int(syncdir)),
            lambda: super(RecordingDisk, self).xDelete(filename, syncdir),
        )


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: RecordingDisk, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.under, name, flags)
        self._tape = disk.tape
        self._file = Path(path).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        act = Act("write", self._file, offset, bytes(data))
        self._tape.record(act, lambda: super(_RecordedFile, self).xWrite(data, offset))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._tape.record(Act("truncate", self._file, newsize), lambda: super(_RecordedFile, self).xTruncate(newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._tape.record(Act("sync", self._file), lambda: super(_RecordedFile, self).xSync(flags))


@contextmanager
def recording() -> Generator[Tape]:
    """Databases that are opened inside the block are on the tape."""
    usual = apsw.vfs_names()[0]
    tape = Tape()
    disk = RecordingDisk(tape)
    apsw.set_default_vfs(disk.name)
    try:
        yield tape
    finally:
        apsw.set_default_vfs(usual)
        disk.unregister()


@dataclass(slots=True)
class _File:
    """A file as it surely is, and what was asked of it since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Act] = field(default_factory=list[Act])
    syncs_folder: bool = False

    def sync(self) -> None:
        for act in self.pending:
            _apply(self.durable, act)
        self.pending = []

    def cut(self, random: Random, keep: float) -> bytes:
        """What is left of it when each act that was not synced is kept with this chance."""
        left = bytearray(self.durable)
        for act in self.pending:
            if random.random() < keep:
                _apply(left, act)
            elif act.kind == "write" and random.random() < 0.5:
                _tear(left, act, random)
        return bytes(left)


@dataclass(slots=True)
class _Name:
    """The files that a name may stand for after a cut: the last one is what it stands for now, None is no file."""

    candidates: list[_File | None] = field(default_factory=lambda: [None])

    @property
    def file(self) -> _File | None:
        return self.candidates[-1]


class Platter:
    """A disk with these files, all synced, that the acts of a tape are done on; it can be cut at any place."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._names = {name: _Name([_File(bytearray(content))]) for name, content in (files or {}).items()}

    def do(self, acts: Sequence[Act]) -> None:
        """These acts are done next."""
        for act in acts:
            self._do(act)

    def _do(self, act: Act) -> None:
        name = self._names.setdefault(act.file, _Name())
        if act.kind == "create":
            name.candidates.append(_File(syncs_folder=act.file.endswith(("-wal", "-journal"))))
            return
        if act.kind == "delete":
            name.candidates.append(None)
            if act.offset:
                self._sync_folder()
            return
        file = name.file
        assert file is not None, f"{act.kind} of {act.file}, which is not there"
        if act.kind != "sync":
            file.pending.append(act)
            return
        file.sync()
        # The machine's own disk syncs the folder with the first sync of a journal that it made.
        if file.syncs_folder:
            file.syncs_folder = False
            self._sync_folder()

    def _sync_folder(self) -> None:
        for name in self._names.values():
            name.candidates = name.candidates[-1:]

    def cut(self, random: Random) -> dict[str, bytes]:
        """The files after a power cut now."""
        keep = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        left: dict[str, bytes] = {}
        for name, files in self._names.items():
            file = random.choice(files.candidates)
            if file is not None:
                left[name] = file.cut(random, keep)
        return left


def _apply(content: bytearray, act: Act) -> None:
    if act.kind == "truncate":
        if act.offset < len(content):
            del content[act.offset :]
        else:
            content.extend(bytes(act.offset - len(content)))
        return
    _put(content, act.offset, act.content)


def _put(content: bytearray, offset: int, piece: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(piece)] = piece


def _tear(content: bytearray, act: Act, random: Random) -> None:
    """Some sectors of the write are kept: the first ones, or any."""
    start, end = act.offset, act.offset + len(act.content)
    edges = [start, *range((start // SECTOR + 1) * SECTOR, end, SECTOR), end]
    sectors = list(pairwise(edges))
    kept = (
        sectors[: random.randrange(len(sectors))]
        if random.random() < 0.5
        else [sector for sector in sectors if random.random() < 0.5]
    )
    for begin, finish in kept:
        _put(content, begin, act.content[begin - start : finish - start])
