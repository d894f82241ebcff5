"""What the scenarios found, in one shape: a table, targets that were met or missed, and every round behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

Cell = str | float
Row = Mapping[str, Cell]
Found = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure that was promised. ``at_most`` says on which side of ``wanted`` it lies."""

    what: str
    found: float
    wanted: float
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        return self.found <= self.wanted if self.at_most else self.found >= self.wanted

    @property
    def told(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{self.what}: {shown(self.found)} (wanted {sign} {shown(self.wanted)})"


@dataclass(slots=True, kw_only=True)
class Section:
    """One scenario's findings. A row's keys are the heads of its columns."""

    title: str
    about: str
    rows: Sequence[Row]
    targets: Sequence[Target] = ()
    rounds: Sequence[Found] = ()
    conditions: Found = field(default_factory=dict[str, Any])

    def as_json(self) -> Found:
        return {
            "title": self.title,
            "about": self.about,
            "conditions": self.conditions,
            "targets": [
                {"what": one.what, "found": one.found, "wanted": one.wanted, "at_most": one.at_most, "met": one.is_met}
                for one in self.targets
            ],
            "rows": [dict(row) for row in self.rows],
            "rounds": list(self.rounds),
        }

    @classmethod
    def from_json(cls, found: Found) -> Section:
        targets = [
            Target(what=one["what"], found=one["found"], wanted=one["wanted"], at_most=one["at_most"])
            for one in found["targets"]
        ]
        return cls(**{**found, "targets": targets})


def shown(cell: Cell) -> str:
    """Three digits that count."""
    if isinstance(cell, str):
        return cell
    size = abs(cell)
    if size >= 100 or cell == int(cell):
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if size >= 10 else f"{cell:.2f}"


def heads(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(head for row in rows for head in row))


def middle(rounds: Sequence[Found], *names: str) -> float:
    """The mean over the rounds of a figure, or of one inside it."""
    found: list[float] = []
    for one in rounds:
        value: Any = one
        for name in names:
            value = value[name]
        found.append(value)
    return mean(found)


def spread(rounds: Sequence[Found], name: str, shares: Sequence[str] = ("p50", "p95", "p99")) -> str:
    """The quantiles of a figure as one cell."""
    return " · ".join(shown(round(middle(rounds, name, share), 2)) for share in shares)


def conditions_told(section: Section) -> str:
    """On what kind of machine the figures were seen."""
    seen = section.conditions
    if not seen:
        return ""
    noisy = "NOISY: " if is_noisy(section) else ""
    return (
        f"{noisy}others used {seen['others_cores']:.2f} cores meanwhile; "
        f"fsync of 4 KiB p50 {seen['fsync_ms']['p50']} ms, longest {seen['fsync_ms']['max']} ms"
    )


def is_noisy(section: Section) -> bool:
    """Others took a noticeable part of the machine, or the disk stalled."""
    seen = section.conditions
    return bool(seen) and (seen["others_cores"] > 0.15 or seen["fsync_ms"]["max"] > 50)


def show(section: Section, console: Console) -> None:
    table = Table(title=section.title, caption=section.about, title_justify="left", caption_justify="left")
    for head in heads(section.rows):
        is_text = any(isinstance(row.get(head), str) and "·" not in str(row[head]) for row in section.rows)
        table.add_column(head, justify="left" if is_text else "right", no_wrap=True)
    for row in section.rows:
        table.add_row(*(shown(row.get(head, "")) for head in heads(section.rows)))
    console.print(table)
    for target in section.targets:
        console.print(f"  {'[green]met[/]   ' if target.is_met else '[red]MISSED[/]'} {target.told}", highlight=False)
    console.print(f"  {conditions_told(section)}\n", highlight=False, style="dim")


def markdown(section: Section) -> str:
    """The section as a page shows it."""
    columns = heads(section.rows)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(shown(row.get(head, "")) for head in columns) + " |" for row in section.rows]
    lines += ["", section.about]
    if section.targets:
        lines.append("")
        lines += [f"- {'met' if target.is_met else '**missed**'}: {target.told}" for target in section.targets]
    if section.conditions:
        told = conditions_told(section)
        lines += ["", f"*{told}.*" if not is_noisy(section) else f"**{told}.**"]
    return "\n".join(lines)
