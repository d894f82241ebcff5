"""The reports of many users as one: for each check how it went for the worst, and for most. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge
from rich.table import Table
from rich.text import Text

from cloche.cli.verdicts import VERDICT_STYLES, CheckResult, Report, Verdict, add_overall
from cloche.clock import to_text

MAX_SHOWN = 5
"""How many users a check's line names; all of them are in the JSON."""

_WORST_FIRST = (Verdict.FAILED, Verdict.SKIPPED, Verdict.SLOW, Verdict.OK)
_QUANTILES = (0.5, 0.95, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One check over all users; times are milliseconds, None where nobody came so far."""

    name: str
    results: tuple[tuple[str, CheckResult], ...]

    @property
    def verdict(self) -> Verdict:
        """The worst one."""
        found = {result.verdict for _, result in self.results}
        return next(verdict for verdict in _WORST_FIRST if verdict in found)

    @property
    def limit_ms(self) -> float | None:
        """What the check may take."""
        return next((result.limit_ms for _, result in self.results if result.limit_ms is not None), None)

    @property
    def troubles(self) -> tuple[tuple[str, CheckResult], ...]:
        """The users for whom it was not well, the worst first."""
        bad = [one for one in self.results if one[1].verdict is not Verdict.OK]
        return tuple(sorted(bad, key=lambda one: (_WORST_FIRST.index(one[1].verdict), -(one[1].ms or 0.0))))

    def quantile_ms(self, share: float) -> float | None:
        """What that share of those who came so far did not exceed (nearest rank)."""
        known = sorted(result.ms for _, result in self.results if result.ms is not None)
        return known[max(math.ceil(share * len(known)), 1) - 1] if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdReport:
    """One round of many users at once."""

    url: str
    at: datetime
    users: int
    checks: tuple[Spread, ...]

    @property
    def is_ok(self) -> bool:
        """Every check was well for everybody."""
        return bool(self.checks) and all(check.verdict is Verdict.OK for check in self.checks)


def crowd_of(reports: Sequence[tuple[str, Report]]) -> CrowdReport:
    """The reports of one round, by user, as one."""
    assert reports, "somebody was there"
    first = reports[0][1]
    results: dict[str, list[tuple[str, CheckResult]]] = {}
    for user, report in reports:
        for check in report.checks:
            results.setdefault(check.name, []).append((user, check))
    return CrowdReport(
        url=first.url,
        at=min(report.at for _, report in reports),
        users=len(reports),
        checks=tuple(Spread(name=name, results=tuple(found)) for name, found in results.items()),
    )


def crowd_members(report: CrowdReport) -> dict[str, object]:
    """The report, ready for JSON."""
    return {
        "ok": report.is_ok,
        "url": report.url,
        "at": to_text(report.at),
        "users": report.users,
        "checks": [
            {
                "name": check.name,
                "verdict": check.verdict.value,
                "p50_ms": _rounded(check.quantile_ms(0.5)),
                "p95_ms": _rounded(check.quantile_ms(0.95)),
                "worst_ms": _rounded(check.quantile_ms(1.0)),
                "limit_ms": check.limit_ms,
                "ok_users": len(check.results) - len(check.troubles),
                "troubles": [
                    {
                        "user": user,
                        "verdict": result.verdict.value,
                        "ms": _rounded(result.ms),
                        "detail": result.detail,
                    }
                    for user, result in check.troubles
                ],
            }
            for check in report.checks
        ],
    }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 3)


def crowd_table(report: CrowdReport) -> Table:
    """The report for people."""
    table = Table(box=None, pad_edge=False)
    for title in ("check", "verdict"):
        table.add_column(title, no_wrap=True)
    for title in ("p50 ms", "p95 ms", "worst", "limit", "well"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for check in report.checks:
        times = [check.quantile_ms(share) for share in _QUANTILES]
        table.add_row(
            check.name.replace("_", " "),
            Text(check.verdict.value, VERDICT_STYLES[check.verdict]),
            *("" if ms is None else f"{ms:.1f}" for ms in times),
            "" if check.limit_ms is None else f"{check.limit_ms:.0f}",
            f"{len(check.results) - len(check.troubles)}/{len(check.results)}",
            Text(_told(check)),
        )
    return table


def _told(check: Spread) -> str:
    troubles = check.troubles
    if not troubles:
        return ""
    shown = [f"{user}: {result.verdict}, {_ms(result)}{result.detail}" for user, result in troubles[:MAX_SHOWN]]
    if len(troubles) > MAX_SHOWN:
        shown.append(f"and {len(troubles) - MAX_SHOWN} others")
    return "\n".join(shown)


def _ms(result: CheckResult) -> str:
    return "" if result.ms is None else f"{result.ms:.1f} ms, "


def crowd_metrics(report: CrowdReport, *, is_ok: bool | None = None) -> CollectorRegistry:
    """The report as gauges, as ``as_metrics`` makes them. A check's seconds are those of the worst user."""
    registry = CollectorRegistry()
    names = ["url", "check"]
    overall = report.is_ok if is_ok is None else is_ok
    check_ok, seconds = add_overall(registry, report.url, report.at, is_ok=overall)
    users = Gauge("cloche_doctor_users", "How many users walked the path at once.", ["url"], registry=registry)
    bad = Gauge("cloche_doctor_check_unwell_users", "For how many of them it was not well.", names, registry=registry)
    spread = Gauge(
        "cloche_doctor_check_quantile_seconds",
        "What the check took at most for that share of the users.",
        [*names, "quantile"],
        registry=registry,
    )
    users.labels(report.url).set(report.users)
    for check in report.checks:
        check_ok.labels(report.url, check.name).set(check.verdict is Verdict.OK)
        bad.labels(report.url, check.name).set(len(check.troubles))
        for share in _QUANTILES:
            ms = check.quantile_ms(share)
            if ms is not None:
                spread.labels(report.url, check.name, f"{share:g}").set(ms / 1000)
        worst = check.quantile_ms(1.0)
        if worst is not None:
            seconds.labels(report.url, check.name).set(worst / 1000)
    return registry
