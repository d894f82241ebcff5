"""``cloche db``, and where the database of a data folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloche.errors import ConfigurationError
from cloche.settings import load
from cloche.storage.sqlite import DATABASE_FILE, owned, upgrade, verify

FolderOption = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder.")]
FileOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The settings file.")]

db_commands = typer.Typer(help="Look after the database.", no_args_is_help=True)


def chosen_folder(folder: Path | None, file: Path | None = None) -> Path:
    """The data folder that the options and settings name.

    Raises:
        ConfigurationError: the settings are not right.
    """
    return load(file, {} if folder is None else {"data": folder})[0].data


def existing_database(folder: Path) -> Path:
    """The database file in the data folder.

    Raises:
        ConfigurationError: there is none.
    """
    path = folder / DATABASE_FILE
    if not path.is_file():
        raise ConfigurationError(
            f"there is no database in {folder}: name the data folder with --data, or start with `cloche up`"
        )
    return path


@db_commands.command("upgrade")
def upgrade_database(*, data: FolderOption = None, config: FileOption = None) -> None:
    """Bring the database to this program's schema, in one transaction. No server may be running on it."""
    folder = chosen_folder(data, config)
    path = existing_database(folder)
    with owned(folder):
        found, was_changed = upgrade(path)
    if was_changed:
        typer.echo(f"{path}: brought up from schema {found or 'none'}")
    else:
        typer.echo(f"{path}: has schema {found}, nothing to do")


@db_commands.command("verify")
def verify_database(*, data: FolderOption = None, config: FileOption = None) -> None:
    """Check that the database file is sound and of this program's schema; a server may be running on it."""
    path = existing_database(chosen_folder(data, config))
    complaints = verify(path)
    for complaint in complaints:
        typer.echo(complaint)
    if complaints:
        typer.echo(f"cloche: {path} is damaged; restore a backup", err=True)
        raise typer.Exit(1)
    typer.echo(f"{path}: sound")
