"""``cloche doctor``: is a server well, as its people experience it; and what of it is to be repaired."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import CollectorRegistry, write_to_textfile
from rich.console import Console

from cloche.cli.chat import DEFAULT_URL, UrlOption
from cloche.cli.checkup import MESSAGE, Errand, examine
from cloche.cli.company import Company
from cloche.cli.credentials import (
    EmailOption,
    PasswordFile,
    PasswordStdin,
    TenantOption,
    asked_password,
    given_password,
)
from cloche.cli.crowds import CrowdReport, crowd_members, crowd_metrics, crowd_of, crowd_table
from cloche.cli.guests import MAX_GUESTS, open_guests
from cloche.cli.records import record_of, store_record
from cloche.cli.repairs import RepairView, add_repair_metrics, repair_members, repair_table, view_repairs
from cloche.cli.rest import Account, server_address
from cloche.cli.verdicts import GOLDEN, Report, as_members, as_metrics, as_table
from cloche.clock import Clock, SystemClock, to_text
from cloche.domain.events import AgentCompleted, AgentStarted
from cloche.errors import InvalidInputError, StorageReadOnlyError
from cloche.ids import IDType, generate_id

TERMINATED = 128 + signal.SIGTERM

_match_interval = re.compile(r"([0-9]{1,6})(s|m|h|d)").fullmatch
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_PIPE_WIDTH = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What every round does, and where its outcome goes."""

    errand: Errand
    users: int
    pause: timedelta | None
    look_back: timedelta
    repair: bool
    metrics_file: Path | None
    as_json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    report: Report | CrowdReport
    view: RepairView | None
    trouble: str | None = None  # why the report is not stored, where it should be

    @property
    def is_ok(self) -> bool:
        return self.report.is_ok and (self.view is None or self.view.is_ok)


def doctor(
    *,
    url: UrlOption = DEFAULT_URL,
    email: EmailOption = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    tenant: TenantOption = None,
    agent: Annotated[str | None, typer.Option(help="The agent to ask; else the server's default.")] = None,
    message: Annotated[str, typer.Option(help="What to ask; it should make the agent use a tool.")] = MESSAGE,
    any_answer: Annotated[
        bool, typer.Option("--any-answer", help="Do not insist on shown thinking and a tool: not every model has them.")
    ] = False,
    users: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_GUESTS,
            help="Walk the path as so many users at once, who are made for it and disabled after it; "
            "0: as the account itself.",
        ),
    ] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what the repair view finds.")] = False,
    look_back: Annotated[
        str, typer.Option(metavar="24h", help="How far the repair view looks back at what is over.")
    ] = "24h",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one object a round.")] = False,
    every: Annotated[
        str | None, typer.Option(metavar="60s", help="Again and again, with this pause, until Ctrl-C.")
    ] = None,
    metrics_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE.prom", help="Write each result for Prometheus' textfile collector."),
    ] = None,
) -> None:
    """Walk the golden path as a person would, and measure it.

    Signs in, sends a message on a thread of its own, sees every event arrive in order, reads it back, loses the
    connection and comes back, asks for a thread that is not there, and puts everything away. With --users, many do so at
    once, and each also looks for anything of the others. An administrator is then shown what disagrees in the server's
    rows, and --repair repairs it. The exit code is 0 when all is well and nothing is left to repair.
    """
    server_address(url)
    pause = None if every is None else interval(every)
    given = given_password(from_stdin=password_stdin, file=password_file)
    if email is None and (users or repair):
        raise InvalidInputError("--users and --repair need the --email of an administrator")
    plan = _Plan(
        errand=Errand(
            url=url,
            account=_account(email, given, tenant),
            agent=agent,
            message=message,
            wanted=(AgentStarted.type, AgentCompleted.type) if any_answer else GOLDEN,
        ),
        users=users,
        pause=pause,
        look_back=interval(look_back),
        repair=repair,
        metrics_file=metrics_file,
        as_json=as_json,
    )
    try:
        is_ok = asyncio.run(_until_ended(plan))
    except asyncio.CancelledError:
        raise typer.Exit(TERMINATED) from None
    raise typer.Exit(int(not is_ok))


def interval(text: str) -> timedelta:
    """The time that ``60s``, ``5m``, ``1h`` or ``2d`` means.

    Raises:
        InvalidInputError: it is none of these.
    """
    found = _match_interval(text)
    if found is None or int(found[1]) == 0:
        raise InvalidInputError("a time is of the form 60s, 5m, 1h or 2d")
    return int(found[1]) * _UNITS[found[2]]


def _account(email: str | None, given: str | None, tenant: str | None) -> Account | None:
    if email is None:
        if given is not None:
            raise InvalidInputError("a password was given, and no --email")
        return None
    return Account(email=email, password=given or asked_password(f"Password of {email}"), tenant=tenant)


async def _until_ended(plan: _Plan) -> bool:
    """SIGTERM ends it as Ctrl-C does: what was made is put away."""
    task = asyncio.current_task()
    assert task is not None, "the loop runs this as its main task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await _rounds(plan, SystemClock())


async def _rounds(plan: _Plan, clock: Clock) -> bool:
    async with AsyncExitStack() as stack:
        errands = [plan.errand]
        if plan.users and plan.errand.account is not None:
            guests = open_guests(plan.errand.url, plan.errand.account, plan.users)
            errands = [_errand_of(plan.errand, guest) for guest in await stack.enter_async_context(guests)]
        while True:
            done = await _stored(plan, _Round(report=await _walk(plan, errands, clock), view=await _view(plan, clock)))
            _show(done, as_json=plan.as_json)
            if plan.metrics_file is not None:
                await asyncio.to_thread(_write_metrics, plan.metrics_file, _metrics(done))
            if plan.pause is None:
                return done.is_ok
            await asyncio.sleep(plan.pause.total_seconds())


def _errand_of(errand: Errand, guest: Account) -> Errand:
    """The errand as a guest's own, with a word in the message that no other has."""
    canary = generate_id(IDType.MESSAGE, "canary")
    return replace(errand, account=guest, message=f"{errand.message} [{canary}]", canary=canary)


async def _walk(plan: _Plan, errands: list[Errand], clock: Clock) -> Report | CrowdReport:
    if not plan.users:
        return await examine(errands[0], clock)
    company = Company(len(errands))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(examine(errand, clock, company)) for errand in errands]
    names = [errand.account.email if errand.account is not None else "" for errand in errands]
    return crowd_of([(name, task.result()) for name, task in zip(names, tasks, strict=True)])


async def _view(plan: _Plan, clock: Clock) -> RepairView | None:
    account = plan.errand.account
    if account is None:
        return None
    return await view_repairs(plan.errand.url, account, since=clock.now() - plan.look_back, repair=plan.repair)


async def _stored(plan: _Plan, done: _Round) -> _Round:
    """The round, whose report the server has where the account is an administrator's; whatever comes of that."""
    if plan.errand.account is None or done.view is None:
        return done
    record = record_of(done.report, done.view, is_ok=done.is_ok)
    return replace(done, trouble=await store_record(plan.errand.url, plan.errand.account, record))


def _show(done: _Round, *, as_json: bool) -> None:
    report, view = done.report, done.view
    if as_json:
        members = crowd_members(report) if isinstance(report, CrowdReport) else as_members(report)
        whole = {**members, "ok": done.is_ok, "repairs": None if view is None else repair_members(view)}
        whole["not_stored"] = done.trouble
        typer.echo(json.dumps(whole, ensure_ascii=False))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(crowd_table(report) if isinstance(report, CrowdReport) else as_table(report))
    if view is not None:
        _show_view(console, view)
    if done.trouble is not None:
        console.print(f"the report is not stored on the server: {done.trouble}", markup=False, soft_wrap=True)
    word = "[green]all is well[/]" if done.is_ok else "[red]not well[/]"
    console.print(f"{word} at {report.url}, {to_text(report.at)}\n", soft_wrap=True)


def _show_view(console: Console, view: RepairView) -> None:
    for findings, is_done in ((view.repaired, True), (view.left, False)):
        if findings:
            console.print()
            console.print(repair_table(findings, is_done=is_done))
    console.print()
    if view.trouble is not None:
        console.print(f"the repair view is not whole: {view.trouble}", markup=False, soft_wrap=True)
    elif view.left:
        left = "1 finding is left" if len(view.left) == 1 else f"{len(view.left)} findings are left"
        more = ", and there are more" if view.more else ""
        console.print(f"{left}{more}; --repair repairs what can be repaired")
    else:
        console.print("nothing is left to repair")


def _metrics(done: _Round) -> CollectorRegistry:
    report = done.report
    crowd = isinstance(report, CrowdReport)
    registry = crowd_metrics(report, is_ok=done.is_ok) if crowd else as_metrics(report, is_ok=done.is_ok)
    if done.view is not None:
        add_repair_metrics(registry, report.url, done.view)
    return registry


def _write_metrics(file: Path, registry: CollectorRegistry) -> None:
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise StorageReadOnlyError(f"{file} cannot be written: {error.strerror}") from error
