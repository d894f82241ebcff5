"""kill -9 at every system call that writes: strace kills a whole run at the N-th write or sync of one of its threads.

Every N of every such call is one case, so a commit is cut between any two of its pages. The checks are those of
``kills``: one more process goes on, and no promise is broken.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chaos.cases import Case, Cases, Tally, opened_cases
from chaos.kills import chosen_options
from chaos.nursery import Life, Nursery
from chaos.report import Findings, arguments, finish

CALLS = ("write", "pwrite64", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate", "unlink", "rename")
STORIES = ("golden", "effects")
PLANTED = ("outside",)
_TRACED = re.compile(r"^(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Syscall:
    """The N-th call of that name in one thread."""

    call: str
    number: int

    @property
    def point(self) -> str:
        return self.call

    def __str__(self) -> str:
        return f"{self.call} #{self.number}"

    def strike(self, nursery: Nursery, life: Life) -> tuple[int, str]:
        """The life ends on entering the call."""
        inject = f"inject={self.call}:signal=KILL:when={self.number}"
        with traced(
            nursery,
            msgspec.structs.replace(life, gated=True),
            "-o",
            os.devnull,
            "-e",
            f"trace={self.call}",
            "-e",
            inject,
        ) as pid:
            return pid, nursery.wait(pid)


@contextmanager
def traced(nursery: Nursery, life: Life, *options: str) -> Generator[int]:
    """The life runs under strace with these options; its process id."""
    gate = Path(life.folder) / "gate"
    gate.unlink(missing_ok=True)
    os.mkfifo(gate)
    pid = nursery.start(life)
    with subprocess.Popen(
        ["strace", "-f", *options, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as strace:
        assert strace.stderr is not None
        told = strace.stderr.readline()
        gate.write_bytes(b"go")
        if "attached" not in told:
            nursery.wait(pid)
            raise RuntimeError(f"strace cannot follow the process: {told}")
        yield pid
        strace.stderr.read()


def is_possible() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return done.returncode == 0


def every_call(cases: Cases, story: str) -> list[Syscall]:
    """Each write and sync of a whole run: of every name as many as the busiest thread made."""

    def work(nursery: Nursery, folder: Path) -> list[Syscall]:
        with tempfile.NamedTemporaryFile("r") as file:
            life = Life(folder=str(folder), story=story, gated=True)
            with traced(nursery, life, "-o", file.name, "-e", f"trace={','.join(CALLS)}") as pid:
                assert nursery.wait(pid) == "exit:0"
            found = [match.groups() for line in file if (match := _TRACED.match(line))]
        most: Counter[str] = Counter()
        for (_, call), count in Counter(found).items():
            most[call] = max(most[call], count)
        return [Syscall(call=call, number=number + 1) for call, count in most.items() for number in range(count)]

    return cases.in_a_folder(work)


def run(*, kills: int, stories: Sequence[str] = STORIES, seed: int = 1, plant: str = "", at: str = "") -> Findings:
    """Every such call of a run of each story, or ``kills`` chosen ones where there are more.

    With ``at`` only calls whose name has that text.
    """
    findings, tally = Findings(harness="syscalls"), Tally()
    chance, began = random.Random(seed), time.monotonic()
    with opened_cases() as cases:
        chosen = [
            Case(story=story, strikes=[call], plant=plant)
            for story in stories
            for call in every_call(cases, story)
            if at in call.call
        ]
        findings.figures["calls that write"] = len(chosen)
        if len(chosen) > kills:
            chosen = chance.sample(chosen, kills)
        tally.take(cases.judge(chosen), enough=1 if plant else 100)
    tally.into(findings, expected=len(chosen))
    findings.figures["struck"] = ", ".join(f"{name} {count}" for name, count in sorted(tally.struck.items()))
    findings.figures["seconds"] = round(time.monotonic() - began, 1)
    return findings


def main(argv: list[str]) -> int:
    chosen, rest = chosen_options(argv, PLANTED)
    options = arguments("syscalls", {"kills": 2000}, {"kills": 20}, rest)
    if not is_possible():
        print("syscalls: strace is not installed, or may not trace here", file=sys.stderr)
        return 2
    return finish(run(kills=options.kills, seed=options.seed, plant=chosen.plant, at=chosen.at), options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
