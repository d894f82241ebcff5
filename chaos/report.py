"""What a harness found, as a person and as a program read it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True, kw_only=True)
class Findings:
    """The figures of one harness, and every violation of a promise that it saw."""

    harness: str
    figures: dict[str, object] = field(default_factory=dict[str, object])
    violations: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        return not self.violations

    def told(self) -> str:
        lines = [f"{self.harness}: {'clean' if self.is_clean else f'{len(self.violations)} VIOLATIONS'}"]
        lines += [f"  {name}: {value}" for name, value in self.figures.items()]
        lines += [f"  ! {violation}" for violation in self.violations[:20]]
        return "\n".join(lines)


def arguments(
    harness: str, defaults: Mapping[str, int], quick: Mapping[str, int], argv: list[str]
) -> argparse.Namespace:
    """The options of a harness: a number for each name, small ones under ``--quick``, and where the JSON goes."""
    parser = argparse.ArgumentParser(prog=f"chaos {harness}")
    parser.add_argument("--quick", action="store_true", help="a few seconds: whether everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings there")
    parser.add_argument("--seed", type=int, default=1)
    for name in defaults:
        parser.add_argument(f"--{name}", type=int, default=None)
    options = parser.parse_args(argv)
    for name, value in (quick if options.quick else defaults).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def finish(findings: Findings, to: Path | None) -> int:
    """Print the findings, and write them as JSON where that was asked for; the exit code."""
    if to is not None:
        found = {"harness": findings.harness, "figures": findings.figures, "violations": findings.violations}
        to.write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")
    print(findings.told(), file=sys.stdout if findings.is_clean else sys.stderr, flush=True)
    return 0 if findings.is_clean else 1
