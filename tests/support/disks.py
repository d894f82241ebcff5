"""Disks that are small, cannot be written, or fail when a test says so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest


class FaultyDisk(apsw.VFS):
    """The machine's own disk under SQLite, except that writes and syncs of the log raise ``failing`` while it is set."""

    def __init__(self, under: str) -> None:
        self.name = f"faulty-{id(self)}"
        self.under = under
        super().__init__(self.name, under)
        self.failing_writes: type[apsw.Error] | None = None
        self.failing_syncs: type[apsw.Error] | None = None
        self.failing_reads: type[apsw.Error] | None = None
        self.syncs = 0

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.under, name, flags)  # type: ignore[arg-type]
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        if self._disk.failing_reads is not None and not self._is_log:
            raise self._disk.failing_reads("the disk does not read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.failing_writes is not None and self._is_log:
            raise self._disk.failing_writes("the disk does not write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.failing_syncs is not None and self._is_log:
            raise self._disk.failing_syncs("the disk does not sync")
        super().xSync(flags)
        self._disk.syncs += self._is_log


@contextmanager
def faulty_disk() -> Generator[FaultyDisk]:
    """Databases that are opened inside the block are on the disk."""
    usual = apsw.vfs_names()[0]
    disk = FaultyDisk(usual)
    apsw.set_default_vfs(disk.name)
    try:
        yield disk
    finally:
        apsw.set_default_vfs(usual)
        disk.unregister()


def mount(folder: Path, options: str) -> None:
    """Mount a disk in memory at the folder, or change the one that is there; skip where that is not allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this machine mounts no disk for a test: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[Path]:
    """A disk of that size, in memory."""
    folder.mkdir()
    mount(folder, f"size={size}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: Path, size: str) -> None:
    """The small disk at the folder has that size now."""
    mount(folder, f"remount,size={size}")


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """Nothing in the folder can be written inside the block; the superuser, whom modes do not stop, needs a disk."""
    if os.geteuid() == 0:
        mount(folder, "remount,ro")
    else:
        folder.chmod(0o500)
    try:
        yield
    finally:
        if os.geteuid() == 0:
            mount(folder, "remount,rw")
        else:
            folder.chmod(0o700)
