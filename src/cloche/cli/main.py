"""The command line: every command, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cloche import __version__
from cloche.cli.chat import chat
from cloche.cli.configuration import check_config
from cloche.cli.database import FileOption, FolderOption, db_commands
from cloche.cli.doctor import doctor
from cloche.cli.ids import id_commands
from cloche.cli.live import ConnectionLostError
from cloche.cli.rest import RefusedError, UnreachableError
from cloche.cli.setup import set_up_server
from cloche.cli.users import user_commands
from cloche.errors import ClocheError
from cloche.settings import load

FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    name="cloche",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with the values of variables would show passwords.
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command of this process's arguments, and exit."""
    app(prog_name="cloche")


@contextmanager
def told_errors() -> Generator[None]:
    """Of an error that the program raises on purpose its text is written, and the exit code is 1."""
    try:
        yield
    except (ClocheError, ConnectionLostError, RefusedError, UnreachableError) as error:
        typer.echo(f"cloche: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except typer.Abort:
        raise typer.Exit(INTERRUPTED) from None


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cloche {__version__}")
        raise typer.Exit


@app.callback()
def cloche(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A multi-user agent server: everybody's agents in their own scope, and everything they do in plain sight."""
    assert not version, "the option's callback has ended the program"
    context.with_resource(told_errors())


@app.command("up")
def start_server(
    *,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.")] = None,
    data: FolderOption = None,
    config: FileOption = None,
) -> None:
    """Start the server in the foreground; SIGTERM and Ctrl-C drain it."""
    from cloche.server import serve  # noqa: PLC0415 -- its import costs half a second, which no other command needs

    chosen: dict[str, str | int | Path | None] = {"host": host, "port": port, "data": data}
    settings, file = load(config, {key: value for key, value in chosen.items() if value is not None})
    raise typer.Exit(serve(settings, file))


app.command("setup")(set_up_server)
app.add_typer(user_commands, name="users")
app.command("chat")(chat)
app.command("doctor")(doctor)
app.add_typer(id_commands, name="ids")
app.command("check-config")(check_config)
app.add_typer(db_commands, name="db")
