"""The repair view as a person at a terminal has it: what disagrees on a server, and having it repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import msgspec
from prometheus_client import CollectorRegistry, Gauge
from rich.table import Table
from rich.text import Text

from cloche.cli.rest import Account, RefusedError, RestClient, UnreachableError, open_rest
from cloche.clock import to_text
from cloche.domain.findings import FindingKind
from cloche.errors import PermissionDeniedError

MAX_LOOKS = 100
_NEEDED = (
    "the repair view needs the permission admin:runs, and --repair admin:repairs: give the --email of an administrator"
)


class FindingFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server tells of a finding."""

    id: str
    kind: str
    user_id: str
    thread_id: str
    run_id: str | None
    approval_id: str | None
    age_s: float
    what: str
    would: str
    repairable: bool


class _Findings(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[FindingFacts, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairView:
    """What was found and done.

    Attributes:
        left: findings that are still there. ``more``: and others that the server did not show.
        trouble: why the view is not whole.
    """

    left: tuple[FindingFacts, ...] = ()
    repaired: tuple[FindingFacts, ...] = ()
    more: bool = False
    trouble: str | None = None

    @property
    def is_ok(self) -> bool:
        """Nothing is left to repair."""
        return not self.left and not self.more and self.trouble is None


async def view_repairs(url: str, account: Account, *, since: datetime, repair: bool) -> RepairView | None:
    """What disagrees on the server, back to that time; with ``repair``, what is left after it was repaired.

    None when the account may not see it and no repair is asked for: most accounts may not.

    Raises:
        InvalidInputError: the URL is none of a server.
    """
    repaired: list[FindingFacts] = []
    try:
        async with open_rest(url) as rest:
            await rest.sign_in(account)
            try:
                found = await _look(rest, since)
                if repair:
                    found = await _repair(rest, since, found, repaired)
            finally:
                await rest.sign_out()
    except RefusedError as refused:
        if refused.error.code != PermissionDeniedError.code:
            return RepairView(repaired=tuple(repaired), trouble=str(refused))
        return RepairView(repaired=tuple(repaired), trouble=_NEEDED) if repair else None
    except UnreachableError as error:
        return RepairView(repaired=tuple(repaired), trouble=str(error))
    return RepairView(left=found.items, repaired=tuple(repaired), more=found.more)


async def _look(rest: RestClient, since: datetime) -> _Findings:
    return await rest.get(_Findings, f"/v1/admin/findings?since={quote(to_text(since))}")


async def _repair(rest: RestClient, since: datetime, found: _Findings, repaired: list[FindingFacts]) -> _Findings:
    """What is left, once everything that was found and can be repaired was tried: one repair may show another finding."""
    tried: set[str] = set()
    for _ in range(MAX_LOOKS):
        due = [finding for finding in found.items if finding.repairable and finding.id not in tried]
        if not due:
            break
        for finding in due:
            tried.add(finding.id)
            try:
                repaired.append(await rest.post(FindingFacts, "/v1/admin/repairs", {"finding": finding.id}))
            except RefusedError as refused:
                # It mended by itself meanwhile; anything else that cannot be done now is seen in the next look.
                if refused.status not in (404, 409):
                    raise
        found = await _look(rest, since)
    return found


def repair_members(view: RepairView) -> dict[str, object]:
    """The view, ready for JSON."""
    return {
        "ok": view.is_ok,
        "left": [msgspec.to_builtins(finding) for finding in view.left],
        "repaired": [msgspec.to_builtins(finding) for finding in view.repaired],
        "more": view.more,
        "trouble": view.trouble,
    }


def repair_table(findings: Sequence[FindingFacts], *, is_done: bool) -> Table:
    """The findings for people: ids, ages, and what would be or was done."""
    table = Table(box=None, pad_edge=False)
    table.add_column("repaired" if is_done else "finding", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what was done" if is_done else "what would be done", overflow="fold")
    for finding in findings:
        where = [finding.approval_id, finding.run_id, finding.thread_id, finding.user_id]
        table.add_row(
            Text(finding.kind.replace("_", " "), "green" if is_done else "red" if finding.repairable else "yellow"),
            aged(finding.age_s),
            Text("\n".join(one for one in where if one)),
            Text(f"{finding.what}:\n{finding.would}"),
        )
    return table


def aged(seconds: float) -> str:
    """An age as people say it: its largest unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def add_repair_metrics(registry: CollectorRegistry, url: str, view: RepairView) -> None:
    """The registry tells how many findings of each kind are left, and how many were repaired."""
    left = Gauge("cloche_doctor_findings", "Findings that are left.", ["url", "kind"], registry=registry)
    repaired = Gauge("cloche_doctor_repaired", "Findings that were repaired.", ["url", "kind"], registry=registry)
    whole = Gauge("cloche_doctor_findings_seen", "Whether the repair view is whole.", ["url"], registry=registry)
    whole.labels(url).set(view.trouble is None and not view.more)
    kinds = {str(kind) for kind in FindingKind} | {finding.kind for finding in (*view.left, *view.repaired)}
    for kind in sorted(kinds):
        left.labels(url, kind).set(sum(finding.kind == kind for finding in view.left))
        repaired.labels(url, kind).set(sum(finding.kind == kind for finding in view.repaired))
