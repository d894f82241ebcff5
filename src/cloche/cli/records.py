"""The doctor's report, stored on the server for the administrators of the tenant."""

from __future__ import annotations

from cloche.api.wire.checkups import MAX_CHECK_NAME, MAX_CHECKS, MAX_DETAIL
from cloche.cli.crowds import CrowdReport, Spread
from cloche.cli.repairs import RepairView
from cloche.cli.rest import Account, RefusedError, UnreachableError, open_rest
from cloche.cli.verdicts import CheckResult, Report, Verdict
from cloche.domain.text import sound_text
from cloche.errors import PermissionDeniedError


def record_of(report: Report | CrowdReport, view: RepairView | None, *, is_ok: bool) -> dict[str, object]:
    """The report as a server stores one: each check with its worst outcome, and whether something is left to repair."""
    lines = [_crowded(one) if isinstance(one, Spread) else _checked(one) for one in report.checks]
    if view is not None:
        left = f"{len(view.left)} left{', and more' if view.more else ''}, {len(view.repaired)} repaired"
        lines.append(_line("repairs", view.trouble or left, None, is_ok=view.is_ok))
    users = report.users if isinstance(report, CrowdReport) else 0
    return {"is_ok": is_ok, "users": users, "checks": lines[:MAX_CHECKS]}


async def store_record(url: str, account: Account, record: dict[str, object]) -> str | None:
    """The server has the record; or why it does not. An account that may not store one stores nothing, and that is well.

    Raises:
        InvalidInputError: the URL is none of a server.
    """
    try:
        async with open_rest(url) as rest:
            await rest.sign_in(account)
            try:
                await rest.request("POST", "/v1/admin/checkups", record)
            finally:
                await rest.sign_out()
    except RefusedError as refused:
        return None if refused.error.code == PermissionDeniedError.code else str(refused)
    except UnreachableError as error:
        return str(error)
    return None


def _checked(check: CheckResult) -> dict[str, object]:
    return _line(check.name, check.detail, check.ms, is_ok=check.verdict is Verdict.OK)


def _crowded(spread: Spread) -> dict[str, object]:
    troubles, whole = spread.troubles, len(spread.results)
    detail = f"well for {whole - len(troubles)} of {whole}"
    if troubles:
        detail = f"{detail}; {troubles[0][1].detail}"
    return _line(spread.name, detail, spread.quantile_ms(1.0), is_ok=spread.verdict is Verdict.OK)


def _line(name: str, detail: str, ms: float | None, *, is_ok: bool) -> dict[str, object]:
    return {
        "name": name[:MAX_CHECK_NAME],
        "ok": is_ok,
        "detail": sound_text(detail)[:MAX_DETAIL],
        "duration_ms": None if ms is None else round(max(ms, 0.0), 3),
    }
