"""Where passwords come from: a terminal, standard input or a file; never an argument, never the environment."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from cloche.errors import InvalidInputError

EmailOption = Annotated[str | None, typer.Option("--email", help="Who signs in.")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="The tenant's slug; needed only where the address is in several.")
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
]
PasswordFile = Annotated[
    Path | None, typer.Option("--password-file", help="Read the password from the first line of this file.")
]


def given_password(*, from_stdin: bool, file: Path | None = None) -> str | None:
    """The password from where the options say; None when they say nothing.

    Raises:
        InvalidInputError: both are named, or nothing stands there, or others may read the file.
    """
    if from_stdin and file is not None:
        raise InvalidInputError("give either --password-stdin or --password-file")
    if from_stdin:
        return _first_line(sys.stdin.readline(), "standard input")
    if file is not None:
        return _from_file(file)
    return None


def asked_password(prompt: str = "Password", *, twice: bool = False) -> str:
    """The password as a person types it, unseen.

    Raises:
        InvalidInputError: there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise InvalidInputError("there is no terminal to ask for the password: give --password-stdin")
    return cast("str", typer.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True))


def asked_email(given: str | None) -> str:
    """The e-mail address, asked for when it was not given.

    Raises:
        InvalidInputError: there is no terminal to ask at.
    """
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InvalidInputError("there is no terminal to ask for the e-mail address: give --email")
    return cast("str", typer.prompt("E-mail", err=True))


def _from_file(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            if stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise InvalidInputError(f"others may read {file}: run `chmod 600 {file}`")
            return _first_line(opened.readline(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the password file {file} cannot be read") from error


def _first_line(line: str, place: str) -> str:
    password = line.rstrip("\r\n")
    if not password:
        raise InvalidInputError(f"there is no password in {place}")
    return password
