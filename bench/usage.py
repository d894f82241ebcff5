"""What a process uses, as the system counts it. Elsewhere than on Linux nothing is known."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """Seconds of processor time: of all threads, and of the first one, which has the event loop."""

    total_s: float
    loop_s: float


def cpu_time(pid: int) -> CpuTime:
    folder = Path(f"/proc/{pid}")
    return CpuTime(total_s=_seconds(folder / "stat"), loop_s=_seconds(folder / "task" / str(pid) / "stat"))


def resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _seconds(stat: Path) -> float:
    try:
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S
