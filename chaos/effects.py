"""kill -9 around every tool call: no effect outside happens a second time in silence.

One run calls a tool of every policy; each leaves a line outside, under the id of its call. Before every process the
journal is read: what it says is done is reused, what it does not know is run, and what had begun follows its tool's
declared policy: made again under the same id, or not made again and told as unknown.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from chaos.cases import AtPoint, Case, Tally, opened_cases, spread
from chaos.kills import chosen_options
from chaos.nursery import Life, Nursery
from chaos.records import EFFECTS
from chaos.report import Findings, arguments, finish

STORY = "effects"
PLANTED = ("repeat",)
_TWICE = 0.25
_LOOKING_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceBegun:
    """As soon as the world outside shows that a call has begun."""

    point: str = "a call has begun outside"

    def __str__(self) -> str:
        return self.point

    def strike(self, nursery: Nursery, life: Life) -> tuple[int, str]:
        """See ``Strike.strike``."""
        pid, outside = nursery.start(life), Path(life.folder) / EFFECTS
        until = time.monotonic() + life.limit_s
        while not outside.exists() and time.monotonic() < until:
            time.sleep(_LOOKING_S)
        os.kill(pid, signal.SIGKILL)
        return pid, nursery.wait(pid)


def run(*, kills: int, orphans: int = 0, seed: int = 1, plant: str = "", at: str = "") -> Findings:
    """At least so many kills, between the claim of the run and its end; a quarter of the runs is killed twice.

    Then ``orphans`` servers killed while a child process of theirs runs a tool, which must end with its server.
    With ``at`` the first kill is at a point whose name has that text.
    """
    findings, tally = Findings(harness="effects"), Tally()
    chance, began = random.Random(seed), time.monotonic()
    with opened_cases() as cases:
        once = _from_the_claim(cases.points(STORY))
        again = _from_the_claim(cases.points(STORY, after=[AtPoint(point="effect files: written", occurrence=1)]))
        once = [strike for strike in once if at in strike.point]
        while tally.kills < kills and tally.cases < 2 * kills and once and not tally.violations:
            chosen = [
                [strike, chance.choice(again)] if chance.random() < _TWICE else [strike]
                for strike in _near_effects_first(once, kills - tally.kills, chance)
            ]
            verdicts = cases.judge(Case(story=STORY, strikes=strikes, plant=plant) for strikes in chosen)
            tally.take(verdicts, enough=1 if plant else 100)
        tally.take(cases.judge(Case(story="orphans", strikes=[OnceBegun()]) for _ in range(orphans)))
    elapsed = time.monotonic() - began
    tally.into(findings, expected=kills + orphans)
    findings.figures["seconds"] = round(elapsed, 1)
    findings.figures["kills per second"] = round(tally.kills / elapsed, 1)
    return findings


def _from_the_claim(strikes: list[AtPoint]) -> list[AtPoint]:
    """Those after the run was claimed: what comes before has no effects, and belongs to ``kills``."""
    claim = next(number for number, strike in enumerate(strikes) if "Worker._claim" in strike.point)
    return strikes[claim:]


def _near_effects_first(strikes: list[AtPoint], count: int, chance: random.Random) -> list[AtPoint]:
    near = [strike for strike in strikes if strike.point.startswith("effect ")]
    chance.shuffle(near)
    return [*near, *spread(strikes, count, chance)][:count]


def main(argv: list[str]) -> int:
    chosen, rest = chosen_options(argv, PLANTED)
    options = arguments("effects", {"kills": 1000, "orphans": 20}, {"kills": 40, "orphans": 2}, rest)
    return finish(
        run(kills=options.kills, orphans=options.orphans, seed=options.seed, plant=chosen.plant, at=chosen.at),
        options.json,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
