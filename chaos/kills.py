"""kill -9 at every named point of a run: one more process recovers, and no promise is broken.

A case is a process that is killed at its point, and a process that goes on. Some are killed twice, the second time while
they recover. In some the first is not killed but stopped, as a machine that is thought dead, and wakes when the run is
over: what it still wants to write must not be written.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

from chaos.cases import AtPoint, Case, Tally, opened_cases, spread
from chaos.report import Findings, arguments, finish

STORY = "golden"
PLANTED = ("fence", "outside")
# A stopped process holds no lock on the database file: only the event loop's thread is stopped at a point of its own.
_NOT_ON_THE_LOOP = ("before ", "after ", "in ")


def run(*, kills: int, recoveries: int, stops: int, seed: int = 1, plant: str = "", at: str = "") -> Findings:
    """``kills`` first processes killed, ``recoveries`` second ones, and ``stops`` stopped and woken.

    With ``at`` only points whose name has that text.
    """
    findings, tally, woken = Findings(harness="kills"), Tally(), Tally()
    chance, began = random.Random(seed), time.monotonic()
    enough = 1 if plant else 100
    with opened_cases() as cases:
        once = cases.points(STORY)
        middle = AtPoint(point="effect note: written", occurrence=1)
        again = cases.points(STORY, after=[middle])
        findings.figures["points in a run"] = len({strike.point for strike in [*once, *again]})
        once, again = _named(at, once), _named(at, again)
        chosen = [
            *([strike] for strike in spread(once, kills, chance)),
            *([middle, strike] for strike in spread(again, recoveries, chance)),
        ]
        tally.take(cases.judge(Case(story=STORY, strikes=strikes, plant=plant) for strikes in chosen), enough=enough)
        on_the_loop = [strike for strike in once if not strike.point.startswith(_NOT_ON_THE_LOOP)]
        stopped = spread(on_the_loop, stops, chance)
        woken.take(
            cases.judge(Case(story=STORY, strikes=[strike], stops=True, plant=plant) for strike in stopped),
            enough=enough,
        )
    tally.into(findings, expected=kills + 2 * recoveries)
    findings.violations += woken.violations
    if not woken.violations and woken.kills < stops // 2:
        findings.violations.append(f"only {woken.kills} of {stops} were stopped: the points have moved away")
    findings.figures["stopped, and woken after the run"] = woken.kills
    findings.figures["seconds"] = round(time.monotonic() - began, 1)
    return findings


def _named(text: str, strikes: list[AtPoint]) -> list[AtPoint]:
    return [strike for strike in strikes if text in strike.point]


def chosen_options(argv: list[str], plants: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The fault to plant and the points to strike that the options ask for, and the other options."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--plant", choices=plants, default="")
    parser.add_argument("--at", default="")
    return parser.parse_known_args(argv)


def main(argv: list[str]) -> int:
    chosen, rest = chosen_options(argv, PLANTED)
    defaults = {"kills": 600, "recoveries": 300, "stops": 200}
    options = arguments("kills", defaults, {"kills": 30, "recoveries": 10, "stops": 10}, rest)
    found = run(
        kills=options.kills,
        recoveries=options.recoveries,
        stops=options.stops,
        seed=options.seed,
        plant=chosen.plant,
        at=chosen.at,
    )
    return finish(found, options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
