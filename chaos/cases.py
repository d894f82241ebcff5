"""A case: some processes of one data folder, one after the other, and what they leave. Shared by the kill harnesses."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from chaos.aftermath import REPORTED, Aftermath, broken_at_the_end, broken_effects, broken_now, look, overlaps
from chaos.nursery import PREPARE, Life, Nurseries, Nursery, opened_nurseries
from chaos.points import numbered
from chaos.records import POINTS
from chaos.report import Findings

T = TypeVar("T")

# The rest ends before its point comes: no two runs reach exactly the same ones.
_HIT = 0.8

KILLED = "signal:9"
STOPPED = "stopped"
ENDED = "exit:0"
TOOLS = {
    "golden": frozenset({"look", "note"}),
    "effects": frozenset({"reads", "files", "posts", "pays", "signs"}),
    "orphans": frozenset[str](),
}


class Strike(Protocol):
    """What ends a life."""

    @property
    def point(self) -> str:
        """The name of the place."""
        ...

    def strike(self, nursery: Nursery, life: Life) -> tuple[int, str]:
        """The life is lived until it is struck; its process, and how that is now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPoint:
    """A failpoint of the process itself."""

    point: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.point} #{self.occurrence}"

    def strike(self, nursery: Nursery, life: Life) -> tuple[int, str]:
        """See ``Strike.strike``."""
        pid = nursery.start(msgspec.structs.replace(life, point=self.point, occurrence=self.occurrence))
        return pid, nursery.wait(pid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The strikes, one for each process before the last one, which nothing strikes."""

    story: str
    strikes: Sequence[Strike]
    stops: bool = False
    plant: str = ""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What came of a case."""

    kills: int = 0
    missed: int = 0
    hit: list[str] = field(default_factory=list[str])
    unknown: int = 0
    repeated: int = 0
    # How long the last process took, from its start to the end of everything.
    last_s: float = 0.0
    violations: list[str] = field(default_factory=list)


class Cases:
    """Cases of one template: a database with a person in it."""

    def __init__(self, nurseries: Nurseries, place: Path) -> None:
        self._nurseries = nurseries
        self._place = place
        self._template = place / "template"
        self._template.mkdir()
        state = nurseries.one(lambda nursery, life: nursery.live(life), Life(folder=str(self._template), does=PREPARE))
        assert state == ENDED, _output(self._template)

    def points(self, story: str, *, after: Sequence[AtPoint] = ()) -> list[AtPoint]:
        """Every point that a process reaches, in order; of the one that comes after these strikes."""

        def work(nursery: Nursery, folder: Path) -> list[AtPoint]:
            for strike in after:
                strike.strike(nursery, Life(folder=str(folder), story=story))
            state = nursery.live(Life(folder=str(folder), story=story, lists=True))
            assert state == ENDED, f"{state}: {_output(folder)}"
            names = msgspec.json.decode((folder / POINTS).read_bytes(), type=list[str])
            return [AtPoint(point=name, occurrence=number) for name, number in numbered(names)]

        return self.in_a_folder(work)

    def in_a_folder(self, work: Callable[[Nursery, Path], T]) -> T:
        """What ``work`` gives for a fresh copy of the template."""
        with self._folder() as folder:
            return self._nurseries.one(work, folder)

    def judge(self, cases: Iterable[Case]) -> Generator[Verdict]:
        """What comes of each case."""
        return self._nurseries.each(self._judge, cases)

    @contextmanager
    def _folder(self) -> Generator[Path]:
        """A fresh copy of the template."""
        with tempfile.TemporaryDirectory(dir=self._place) as name:
            folder = Path(name) / "case"
            shutil.copytree(self._template, folder)
            yield folder

    def _judge(self, nursery: Nursery, case: Case) -> Verdict:
        verdict = Verdict()
        with self._folder() as folder:
            try:
                self._work_through(nursery, case, folder, verdict)
            except Exception as error:  # noqa: BLE001 -- what cannot be judged is a finding, and the others go on
                verdict.violations.append(f"it could not be judged: {error!r}")
            told = " then ".join(str(strike) for strike in case.strikes)
            verdict.violations = [f"{case.story}, {told}: {each}" for each in verdict.violations]
        return verdict

    def _work_through(self, nursery: Nursery, case: Case, folder: Path, verdict: Verdict) -> None:
        sleeper = 0
        before = look(folder)
        for strike in case.strikes:
            life = Life(folder=str(folder), story=case.story, plant=case.plant, stops=case.stops, shares=case.stops)
            pid, state = strike.strike(nursery, life)
            sleeper = pid if state == STOPPED else 0
            before = self._after_a_life(case, folder, before, state, verdict)
            if state == ENDED:
                verdict.missed += 1
                return
            verdict.kills += 1
            verdict.hit.append(strike.point)
        last = Life(folder=str(folder), story=case.story, plant=case.plant, shares=case.stops)
        began = time.monotonic()
        state = nursery.live(last)
        verdict.last_s = time.monotonic() - began
        self._after_a_life(case, folder, before, state, verdict)
        if sleeper:
            self._wake(nursery, sleeper, case, folder, verdict)

    def _after_a_life(self, case: Case, folder: Path, before: Aftermath, state: str, verdict: Verdict) -> Aftermath:
        now = look(folder)
        verdict.violations += broken_now(now)
        if state not in (ENDED, KILLED, STOPPED):
            verdict.violations.append(f"a process is {state}: {_output(folder)}")
            return now
        verdict.violations += broken_effects(before, now, TOOLS[case.story], ended=state == ENDED)
        verdict.unknown += sum(step == "started" for step, _ in before.calls.values())
        verdict.repeated += sum(
            step == "started" and len(now.lines(tool)) > len(before.lines(tool)) > 0
            for tool, (step, _) in before.calls.items()
        )
        if state == ENDED:
            verdict.violations += broken_at_the_end(now) + overlaps(now)
        return now

    def _wake(self, nursery: Nursery, sleeper: int, case: Case, folder: Path, verdict: Verdict) -> None:
        """The one that was thought dead goes on, and changes nothing in the database."""
        nursery.wake(sleeper)
        state = nursery.wait(sleeper)
        now = look(folder)
        verdict.violations += broken_now(now) + broken_at_the_end(now)
        if state != ENDED:
            verdict.violations.append(f"the woken process is {state}: {_output(folder)}")
        for tool in TOOLS[case.story] & REPORTED:
            if len(now.lines(tool)) > 1:
                verdict.violations.append(f"{tool} took effect {len(now.lines(tool))} times after a waking")


def _output(folder: Path) -> str:
    return (folder / "output.txt").read_text(encoding="utf-8", errors="replace")[-1500:]


@contextmanager
def opened_cases(count: int = 2) -> Generator[Cases]:
    """Cases in a place of their own, worked through side by side."""
    with tempfile.TemporaryDirectory() as place, opened_nurseries(count) as nurseries:
        yield Cases(nurseries, Path(place))


def spread(strikes: Sequence[AtPoint], count: int, chance: random.Random) -> list[AtPoint]:
    """So many of them: one of every name first, and every one before any comes again."""
    if not strikes:
        return []
    firsts = {strike.point: strike for strike in chance.sample(strikes, len(strikes))}
    rest = [strike for strike in strikes if firsts[strike.point] is not strike]
    chance.shuffle(rest)
    whole = [*firsts.values(), *rest]
    return [whole[number % len(whole)] for number in range(count)]


@dataclass(slots=True, kw_only=True)
class Tally:
    """The verdicts of some cases together."""

    cases: int = 0
    kills: int = 0
    missed: int = 0
    unknown: int = 0
    repeated: int = 0
    slowest_s: float = 0.0
    struck: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])

    def take(self, verdicts: Iterable[Verdict], *, enough: int = 100) -> None:
        """The verdicts count; no more of them are waited for once there are ``enough`` violations."""
        for verdict in verdicts:
            self.cases += 1
            self.kills += verdict.kills
            self.missed += verdict.missed
            self.unknown += verdict.unknown
            self.repeated += verdict.repeated
            self.slowest_s = max(self.slowest_s, verdict.last_s)
            self.struck.update(verdict.hit)
            self.violations += verdict.violations
            if len(self.violations) >= enough:
                return

    def into(self, findings: Findings, *, expected: int) -> None:
        """The findings have these figures and violations; far fewer kills than expected are one, too."""
        findings.violations += self.violations
        if not self.violations and self.kills < _HIT * expected:
            findings.violations.append(f"only {self.kills} of {expected} kills hit: the points have moved away")
        findings.figures |= {
            "cases": self.cases,
            "kills": self.kills,
            "points struck": len(self.struck),
            "points not reached again": self.missed,
            "calls of unknown outcome": self.unknown,
            "made again as declared": self.repeated,
            "slowest recovery, s": round(self.slowest_s, 3),
        }
