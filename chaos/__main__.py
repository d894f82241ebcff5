"""``make chaos``: breaks the server in every way that this machine allows, and checks every promise afterwards.

Each harness is a module with ``main(argv) -> int``. Without a name all of them run, one after the other.
"""

from __future__ import annotations

import importlib
import sys

HARNESSES = (
    "kills",
    "syscalls",
    "power_cuts",
    "disks",
    "effects",
    "resumes",
    "storms",
    "slow_readers",
    "soak",
    "schedules",
)


def main(argv: list[str]) -> int:
    names = [name for name in argv if name in HARNESSES]
    unknown = [name for name in argv[:1] if not name.startswith("-") and name not in HARNESSES]
    if unknown:
        print(f"there is no harness {unknown[0]!r}; there are: {', '.join(HARNESSES)}", file=sys.stderr)
        return 2
    options = [argument for argument in argv if argument not in HARNESSES]
    worst = 0
    for name in names or HARNESSES:
        worst = max(worst, importlib.import_module(f"chaos.{name}").main(options))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
