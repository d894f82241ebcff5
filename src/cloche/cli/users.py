"""``cloche users``: an operator's work on the database file itself, whether or not a server runs on it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloche.auth.attempts import LoginLimiter
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.sessions import SignIn
from cloche.auth.setup import DEFAULT_TENANT
from cloche.auth.tokens import AccessTokens
from cloche.auth.users import Users
from cloche.cli.credentials import PasswordFile, PasswordStdin, asked_password, given_password
from cloche.cli.database import FileOption, FolderOption, chosen_folder, existing_database
from cloche.cli.view import printable
from cloche.clock import SystemClock, to_text
from cloche.domain.permissions import Role
from cloche.errors import StorageReadOnlyError
from cloche.storage.pages import MAX_LIMIT, page_request
from cloche.storage.schema import require_version
from cloche.storage.sqlite import DATABASE_FILE, open_sqlite, read_version
from cloche.storage.users import User

T = TypeVar("T")

_PIPE_WIDTH = 500

user_commands = typer.Typer(help="Add people, and let them in or keep them out.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's e-mail address.")]
HomeOption = Annotated[str, typer.Option("--tenant", metavar="SLUG", help="The tenant that the person is in.")]


@user_commands.command("add")
def add_person(
    email: Email,
    *,
    role: Annotated[Role, typer.Option(help="What the person may do.")] = Role.MEMBER,
    tenant: HomeOption = DEFAULT_TENANT,
    create_tenant: Annotated[bool, typer.Option("--create-tenant", help="Make the tenant if there is none.")] = False,
    name: Annotated[str, typer.Option(help="How the person is called.")] = "",
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    data: FolderOption = None,
    config: FileOption = None,
) -> None:
    """Add a person, who can sign in at once. The data folder and database are made if there are none."""
    folder = chosen_folder(data, config)
    password = given_password(from_stdin=password_stdin, file=password_file) or asked_password(twice=True)
    path = _made_database(folder)

    async def work(users: Users) -> User:
        is_made = create_tenant or tenant == DEFAULT_TENANT
        return await users.add_user(email, password, role.value, tenant, name=name, create_tenant=is_made)

    user = _with_users(path, work)
    typer.echo(f"{user.email} is {'an admin' if role is Role.ADMIN else 'a member'} of {tenant}: {user.id}")


@user_commands.command("list")
def list_people(
    *,
    tenant: Annotated[str | None, typer.Option(metavar="SLUG", help="Of this tenant only.")] = None,
    data: FolderOption = None,
    config: FileOption = None,
) -> None:
    """List the people of every tenant, newest first."""

    async def work(users: Users) -> list[tuple[str, User]]:
        slugs = [tenant] if tenant is not None else [one.slug for one in await users.list_tenants()]
        return [(slug, user) for slug in slugs for user in await _all_users(users, slug)]

    found = _with_users(_database(data, config), work)
    table = Table(box=None, pad_edge=False)
    for title in ("e-mail", "name", "role", "status", "tenant", "since", "id"):
        table.add_column(title, overflow="fold")
    for slug, user in found:
        cells = (
            user.email,
            printable(user.name),
            user.role.value,
            user.status,
            slug,
            to_text(user.created_at),
            user.id,
        )
        table.add_row(*(Text(cell) for cell in cells))
    # In a pipe a row is a line, however long.
    Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


@user_commands.command("disable")
def keep_out(
    email: Email, *, tenant: HomeOption = DEFAULT_TENANT, data: FolderOption = None, config: FileOption = None
) -> None:
    """Let a person sign in no more; every session ends, in a running server within a second."""

    async def work(users: Users) -> User:
        return await users.disable_user(email, tenant)

    typer.echo(f"{_with_users(_database(data, config), work).email} is disabled")


@user_commands.command("enable")
def let_in(
    email: Email, *, tenant: HomeOption = DEFAULT_TENANT, data: FolderOption = None, config: FileOption = None
) -> None:
    """Let a disabled person sign in again."""

    async def work(users: Users) -> User:
        return await users.enable_user(email, tenant)

    typer.echo(f"{_with_users(_database(data, config), work).email} is enabled")


@user_commands.command("password")
def give_password(
    email: Email,
    *,
    tenant: HomeOption = DEFAULT_TENANT,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    data: FolderOption = None,
    config: FileOption = None,
) -> None:
    """Give a person another password; every session ends."""
    path = _database(data, config)
    password = given_password(from_stdin=password_stdin, file=password_file) or asked_password(twice=True)

    async def work(users: Users) -> None:
        await users.set_password(email, tenant, password)

    _with_users(path, work)
    typer.echo(f"{email} has another password, and every session is over")


def _database(folder: Path | None, file: Path | None) -> Path:
    """The existing database, with this program's schema: only ``cloche db upgrade`` and a starting server change that."""
    path = existing_database(chosen_folder(folder, file))
    require_version(read_version(path))
    return path


def _made_database(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageReadOnlyError(f"the data folder {folder} cannot be made: {error.strerror}") from error
    path = folder / DATABASE_FILE
    if path.is_file():
        require_version(read_version(path))
    return path


def _with_users(path: Path, work: Callable[[Users], Awaitable[T]]) -> T:
    return asyncio.run(_opened(path, work))


async def _opened(path: Path, work: Callable[[Users], Awaitable[T]]) -> T:
    clock, policy = SystemClock(), SignInPolicy()
    async with open_sqlite(path, clock=clock) as database:
        sign_in = SignIn(
            database=database,
            clock=clock,
            # No token is given or taken here, so the key is nobody's.
            tokens=AccessTokens(SigningKeys([make_key()]), clock, policy),
            passwords=Passwords(),
            limiter=LoginLimiter(clock),
            policy=policy,
        )
        return await work(sign_in.users)


async def _all_users(users: Users, slug: str) -> list[User]:
    found: list[User] = []
    cursor: str | None = None
    while True:
        page = await users.list_users(slug, page_request("users", limit=MAX_LIMIT, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
