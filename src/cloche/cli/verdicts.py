"""What a check-up found: its checks, whether all is well, and the report as a table, as JSON and as metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from prometheus_client import CollectorRegistry, Gauge
from rich.table import Table
from rich.text import Text

from cloche.clock import to_text
from cloche.domain.event_order import check_run
from cloche.domain.events import (
    AgentCompleted,
    AgentStarted,
    AgentThinking,
    Envelope,
    ToolCompleted,
    ToolExecuting,
)

GOLDEN = tuple(kind.type for kind in (AgentStarted, AgentThinking, ToolExecuting, ToolCompleted, AgentCompleted))
"""What every run with a tool shows, in this order."""

_CLOCK_PRECISION = timedelta(milliseconds=5)


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    SLOW = "slow"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line of the report; times are milliseconds."""

    name: str
    verdict: Verdict
    detail: str
    ms: float | None = None
    limit_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One round."""

    url: str
    at: datetime
    checks: tuple[CheckResult, ...]

    @property
    def is_ok(self) -> bool:
        """Every check was made, and none found anything."""
        return bool(self.checks) and all(check.verdict is Verdict.OK for check in self.checks)


def judged(name: str, detail: str, ms: float | None, limit_ms: float | None) -> CheckResult:
    """The result of a check that found nothing wrong but perhaps took too long."""
    is_slow = ms is not None and limit_ms is not None and ms > limit_ms
    return CheckResult(
        name=name, verdict=Verdict.SLOW if is_slow else Verdict.OK, detail=detail, ms=ms, limit_ms=limit_ms
    )


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def deliveries_ms(events: Sequence[tuple[Envelope, datetime]]) -> list[float] | None:
    """How long each event took from its making to its receipt; None when the two clocks are not one."""
    found = [received - datetime.fromisoformat(envelope.at) for envelope, received in events]
    if not found or min(found) < -_CLOCK_PRECISION:
        return None
    return [max(one / timedelta(milliseconds=1), 0.0) for one in found]


def faults_of(events: Sequence[Envelope], wanted: Sequence[str]) -> list[str]:
    """What is wrong with the story of a run: broken rules of order, and wanted events that did not come in order."""
    faults = [f"{violation.rule}: {violation.detail}" for violation in check_run(events)]
    kinds = iter(envelope.type for envelope in events)
    missing = next((kind for kind in wanted if kind not in kinds), None)
    if missing is not None:
        faults.append(f"{missing} did not come where it should; came: {', '.join(_joined(events))}")
    return faults


def _joined(events: Sequence[Envelope]) -> list[str]:
    """The types in their order, each run of equal ones once."""
    found: list[str] = []
    for envelope in events:
        if not found or found[-1] != envelope.type:
            found.append(envelope.type)
    return found


def as_members(report: Report) -> dict[str, object]:
    """The report, ready for JSON."""
    return {
        "ok": report.is_ok,
        "url": report.url,
        "at": to_text(report.at),
        "checks": [
            {
                "name": check.name,
                "verdict": check.verdict.value,
                "ms": None if check.ms is None else round(check.ms, 3),
                "limit_ms": check.limit_ms,
                "detail": check.detail,
            }
            for check in report.checks
        ],
    }


VERDICT_STYLES = {Verdict.OK: "green", Verdict.SLOW: "yellow", Verdict.FAILED: "red", Verdict.SKIPPED: "dim"}


def as_table(report: Report) -> Table:
    """The report for people."""
    table = Table(box=None, pad_edge=False)
    for title in ("check", "verdict"):
        table.add_column(title, no_wrap=True)
    for title in ("ms", "limit"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for check in report.checks:
        table.add_row(
            check.name.replace("_", " "),
            Text(check.verdict.value, VERDICT_STYLES[check.verdict]),
            "" if check.ms is None else f"{check.ms:.1f}",
            "" if check.limit_ms is None else f"{check.limit_ms:.0f}",
            Text(check.detail),
        )
    return table


def as_metrics(report: Report, *, is_ok: bool | None = None) -> CollectorRegistry:
    """The report as gauges, for Prometheus; ``is_ok`` where more than its checks decides whether all was well."""
    registry = CollectorRegistry()
    overall = report.is_ok if is_ok is None else is_ok
    check_ok, seconds = add_overall(registry, report.url, report.at, is_ok=overall)
    for check in report.checks:
        check_ok.labels(report.url, check.name).set(check.verdict is Verdict.OK)
        if check.ms is not None:
            seconds.labels(report.url, check.name).set(check.ms / 1000)
    return registry


def add_overall(registry: CollectorRegistry, url: str, at: datetime, *, is_ok: bool) -> tuple[Gauge, Gauge]:
    """The registry says when the round began and whether all was well; the gauges of each check: well, and seconds."""
    ok = Gauge("cloche_doctor_ok", "Whether all was well in the last round.", ["url"], registry=registry)
    began = Gauge("cloche_doctor_last_round_timestamp_seconds", "When it began.", ["url"], registry=registry)
    check_ok = Gauge("cloche_doctor_check_ok", "Whether the check was well.", ["url", "check"], registry=registry)
    seconds = Gauge("cloche_doctor_check_seconds", "What the check took.", ["url", "check"], registry=registry)
    ok.labels(url).set(is_ok)
    began.labels(url).set(at.timestamp())
    return check_ok, seconds
