"""``cloche setup``: the first administrator, over the network."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cloche.cli.credentials import (
    EmailOption,
    PasswordFile,
    PasswordStdin,
    asked_email,
    asked_password,
    given_password,
)
from cloche.cli.rest import Account, open_rest
from cloche.errors import InvalidInputError

_MARK = "#setup="


def set_up_server(
    link: Annotated[str, typer.Argument(metavar="LINK", help="What the server shows at its first start.")],
    *,
    email: EmailOption = None,
    name: Annotated[str, typer.Option(help="How you are called.")] = "",
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
) -> None:
    """Make the first administrator, with the link that a new server shows once."""
    url, mark, secret = link.partition(_MARK)
    if not mark or not secret:
        raise InvalidInputError(f"the link is of the form http://host:port/{_MARK}SECRET")
    given = given_password(from_stdin=password_stdin, file=password_file)
    who = asked_email(email)
    account = Account(email=who, password=given or asked_password(f"A password for {who}", twice=True))
    asyncio.run(_set_up(url, secret, account, name))
    typer.echo(f"{who} is the first administrator. Try: cloche chat --url {url.rstrip('/')} --email {who}")


async def _set_up(url: str, secret: str, account: Account, name: str) -> None:
    async with open_rest(url) as rest:
        await rest.set_up(secret, account, name)
        await rest.sign_out()
