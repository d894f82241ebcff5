"""What a process and the machine use, as the system counts it. Elsewhere than on Linux nothing is known."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROCESS_CLOCK = 2
_IDLE, _WAITING = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """Seconds of processor time: of all threads, and of the first one, which has the event loop."""

    total_s: float
    loop_s: float


def cpu_time(pid: int) -> CpuTime:
    """To the nanosecond in total; a run of two milliseconds is a fifth of the system's tick.

    Source: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html
    """
    if not sys.platform.startswith("linux"):
        return CpuTime(total_s=0.0, loop_s=0.0)
    total_s = time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    return CpuTime(total_s=total_s, loop_s=_seconds(Path(f"/proc/{pid}/task/{pid}/stat")))


def thread_cpu_s(pid: int) -> dict[int, float]:
    """Seconds of processor time of each thread, by the system's number of it."""
    found: dict[int, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        except OSError:
            found[int(task.name)] = _seconds(task / "stat")
    return found


def resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def machine_busy_s() -> float:
    """Seconds of processor time that everybody on this machine used, and that were stolen from it."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0].split()[1:9]
    except OSError:
        return 0.0
    return sum(int(ticks) for place, ticks in enumerate(fields) if place not in {_IDLE, _WAITING}) * _TICK_S


def ours_s() -> float:
    """Seconds of processor time of this process and of all its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def fsync_ms(folder: Path, times: int = 40) -> dict[str, float]:
    """Milliseconds to have 4 KiB more of a file on the disk: what every commit waits for."""
    seconds: list[float] = []
    path = folder / "fsync"
    with path.open("wb") as file:
        for _ in range(times):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    path.unlink()
    return {"p50": round(median(seconds) * 1000, 2), "max": round(max(seconds) * 1000, 2)}


def _seconds(stat: Path) -> float:
    try:
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S
