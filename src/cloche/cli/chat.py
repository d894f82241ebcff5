"""``cloche chat``: a conversation at a terminal, or line by line in a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cloche.cli.conversation import Conversation, Screen
from cloche.cli.credentials import (
    EmailOption,
    PasswordFile,
    PasswordStdin,
    TenantOption,
    asked_email,
    asked_password,
    given_password,
)
from cloche.cli.lines import Lines, piped_line, terminal_kept, typed_line
from cloche.cli.rest import Account, RefusedError, UnreachableError, open_rest
from cloche.cli.view import BAD, DIM, WARNING, AnswersOnly, Piece, View
from cloche.clock import SystemClock
from cloche.domain.events import EventData
from cloche.events.snapshot import Snapshot
from cloche.ids import ThreadId

DEFAULT_URL = "http://127.0.0.1:8000"
_PATIENCE_IN_A_PIPE = 10

UrlOption = Annotated[str, typer.Option("--url", help="Where the server is.")]


class TerminalScreen:
    """Shows everything, in colour, as it comes."""

    def __init__(self, view: View, console: Console) -> None:
        self._view = view
        self._console = console

    def show(self, event: EventData, run_id: str | None) -> None:
        """See ``Screen.show``."""
        self._write(self._view.show(event))

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """See ``Screen.show_snapshot``."""
        self._write(self._view.show_snapshot(snapshot))

    def note(self, text: str, style: str = DIM) -> None:
        """See ``Screen.note``."""
        self._write(self._view.note(text, style))

    def begin_prompt(self) -> None:
        """See ``Screen.begin_prompt``."""
        self._write(self._view.begin_prompt())

    def _write(self, pieces: list[Piece]) -> None:
        if pieces:
            self._console.print(Text.assemble(*((one.text, one.style) for one in pieces)), end="", soft_wrap=True)


class PipeScreen:
    """Whole answers on standard output; on standard error what went wrong."""

    def __init__(self, view: AnswersOnly) -> None:
        self._view = view

    def show(self, event: EventData, run_id: str | None) -> None:
        """See ``Screen.show``."""
        for piece in self._view.show(event, run_id):
            typer.echo(piece.text, nl=False)
        complaint = self._view.complaint(event, run_id)
        if complaint is not None:
            typer.echo(f"cloche: {complaint}", err=True)

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """See ``Screen.show_snapshot``."""

    def note(self, text: str, style: str = DIM) -> None:
        """See ``Screen.note``."""
        if style in {BAD, WARNING}:
            typer.echo(f"cloche: {text}", err=True)

    def begin_prompt(self) -> None:
        """See ``Screen.begin_prompt``."""


def chat(
    *,
    url: UrlOption = DEFAULT_URL,
    email: EmailOption = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    tenant: TenantOption = None,
    agent: Annotated[str | None, typer.Option(help="The agent to talk to; else the server's default.")] = None,
    thread: Annotated[str | None, typer.Option(metavar="ID", help="Go on with this thread.")] = None,
) -> None:
    """Talk to an agent over the live connection.

    Ctrl-C stops the running run; at the prompt, or for the second time, it leaves. When standard input is no terminal,
    each line of it is one message, the answers are printed plainly, and the exit code is 1 if a run failed.
    """
    thread_id = None if thread is None else ThreadId.parse(thread)
    given = given_password(from_stdin=password_stdin, file=password_file)
    who = asked_email(email)
    account = Account(email=who, password=given or asked_password(f"Password of {who}"), tenant=tenant)
    is_terminal = sys.stdin.isatty()
    with terminal_kept() if is_terminal else contextlib.nullcontext():
        code = asyncio.run(_chat(url, account, agent, thread_id, is_terminal=is_terminal))
    raise typer.Exit(code)


async def _chat(url: str, account: Account, agent: str | None, thread_id: str | None, *, is_terminal: bool) -> int:
    async with open_rest(url) as rest:
        await rest.sign_in(account)
        try:
            conversation = Conversation(
                rest=rest,
                clock=SystemClock(),
                chance=random.SystemRandom().random,
                lines=Lines(typed_line if is_terminal else piped_line),
                agent=agent,
                thread_id=thread_id,
                may_ask=is_terminal,
                patience=None if is_terminal else _PATIENCE_IN_A_PIPE,
            )
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, conversation.interrupt)
            code = await conversation.hold(_screen(conversation, is_terminal=is_terminal))
        finally:
            # The session is of no more use; a server that is gone ends it in its own time.
            with contextlib.suppress(RefusedError, UnreachableError):
                await rest.sign_out()
        if is_terminal and conversation.thread_id is not None:
            typer.echo(f"\nGo on with: cloche chat --url {url} --thread {conversation.thread_id}", err=True)
        return code


def _screen(conversation: Conversation, *, is_terminal: bool) -> Screen:
    if is_terminal:
        return TerminalScreen(View(conversation.is_mine), Console(highlight=False))
    return PipeScreen(AnswersOnly(conversation.is_my_run))
