"""``cloche doctor``: is a server well, as its people experience it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client import write_to_textfile
from rich.console import Console

from cloche.cli.chat import DEFAULT_URL, UrlOption
from cloche.cli.checkup import MESSAGE, Errand, examine
from cloche.cli.credentials import (
    EmailOption,
    PasswordFile,
    PasswordStdin,
    TenantOption,
    asked_password,
    given_password,
)
from cloche.cli.rest import Account, server_address
from cloche.cli.verdicts import GOLDEN, Report, as_members, as_metrics, as_table
from cloche.clock import Clock, SystemClock, to_text
from cloche.domain.events import AgentCompleted, AgentStarted
from cloche.errors import InvalidInputError, StorageReadOnlyError

_match_interval = re.compile(r"([0-9]{1,6})(s|m|h)").fullmatch
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_PIPE_WIDTH = 200


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
    connection and comes back, asks for a thread that is not there, and puts everything away. The exit code is 0 when all
    is well.
    """
    server_address(url)
    pause = None if every is None else interval(every)
    given = given_password(from_stdin=password_stdin, file=password_file)
    account = _account(email, given, tenant)
    wanted = (AgentStarted.type, AgentCompleted.type) if any_answer else GOLDEN
    errand = Errand(url=url, account=account, agent=agent, message=message, wanted=wanted)
    is_ok = asyncio.run(_rounds(errand, pause, SystemClock(), metrics_file, as_json=as_json))
    raise typer.Exit(int(not is_ok))


def interval(text: str) -> timedelta:
    """The pause that ``60s``, ``5m`` or ``1h`` means.

    Raises:
        InvalidInputError: it is none of these.
    """
    found = _match_interval(text)
    if found is None or int(found[1]) == 0:
        raise InvalidInputError("a pause is of the form 60s, 5m or 1h")
    return int(found[1]) * _UNITS[found[2]]


def _account(email: str | None, given: str | None, tenant: str | None) -> Account | None:
    if email is None:
        if given is not None:
            raise InvalidInputError("a password was given, and no --email")
        return None
    return Account(email=email, password=given or asked_password(f"Password of {email}"), tenant=tenant)


async def _rounds(
    errand: Errand, pause: timedelta | None, clock: Clock, metrics_file: Path | None, *, as_json: bool
) -> bool:
    while True:
        report = await examine(errand, clock)
        _show(report, as_json=as_json)
        if metrics_file is not None:
            await asyncio.to_thread(_write_metrics, metrics_file, report)
        if pause is None:
            return report.is_ok
        await asyncio.sleep(pause.total_seconds())


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(as_members(report), ensure_ascii=False))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    console.print(as_table(report))
    word = "[green]all is well[/]" if report.is_ok else "[red]not well[/]"
    console.print(f"{word} at {report.url}, {to_text(report.at)}\n", soft_wrap=True)


def _write_metrics(file: Path, report: Report) -> None:
    try:
        write_to_textfile(str(file), as_metrics(report))
    except OSError as error:
        raise StorageReadOnlyError(f"{file} cannot be written: {error.strerror}") from error
