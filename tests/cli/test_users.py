from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cloche.auth.attempts import LoginLimiter
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.sessions import SignIn
from cloche.auth.tokens import AccessTokens
from cloche.clock import SystemClock
from cloche.errors import NotAuthenticatedError
from cloche.storage.sqlite import open_sqlite, owned

Cloche = Callable[..., Result]

PASSWORD = "correct horse battery staple"
OTHER = "another password entirely"

pytestmark = pytest.mark.slow


def can_sign_in(folder: Path, email: str, password: str) -> bool:
    async def attempt() -> bool:
        clock, policy = SystemClock(), SignInPolicy()
        async with open_sqlite(folder / "cloche.db", clock=clock) as database:
            sign_in = SignIn(
                database=database,
                clock=clock,
                tokens=AccessTokens(SigningKeys([make_key()]), clock, policy),
                passwords=Passwords(),
                limiter=LoginLimiter(clock),
                policy=policy,
            )
            try:
                await sign_in.login(email, password)
            except NotAuthenticatedError:
                return False
            return True

    return asyncio.run(attempt())


@pytest.fixture
def folder(cloche: Cloche, tmp_path: Path) -> Path:
    made = tmp_path / "data"
    result = cloche(
        "users",
        "add",
        "Ada@example.org",
        "--role",
        "admin",
        "--password-stdin",
        "--data",
        made,
        typed=f"{PASSWORD}\n",
    )
    assert result.exit_code == 0, result.stderr
    return made


def test_the_first_person_is_added_to_a_folder_that_was_not_there(folder: Path) -> None:
    assert folder.stat().st_mode & 0o077 == 0
    assert can_sign_in(folder, "ada@example.org", PASSWORD)


def test_people_are_listed(cloche: Cloche, folder: Path) -> None:
    cloche("users", "add", "bob@example.org", "--password-stdin", "--data", folder, typed=PASSWORD)

    lines = cloche("users", "list", "--data", folder).stdout.splitlines()

    assert [line.split()[:5] for line in lines[1:]] == [
        ["bob@example.org", "bob", "member", "active", "default"],
        ["ada@example.org", "ada", "admin", "active", "default"],
    ]


def test_users_are_looked_after_while_a_server_owns_the_folder(cloche: Cloche, folder: Path) -> None:
    with owned(folder):
        result = cloche("users", "list", "--data", folder)

    assert result.exit_code == 0


def test_a_tenant_is_made_only_on_demand(cloche: Cloche, folder: Path) -> None:
    arguments = ("users", "add", "bob@example.org", "--tenant", "acme", "--password-stdin", "--data", folder)

    refused = cloche(*arguments, typed=PASSWORD)
    made = cloche(*arguments, "--create-tenant", typed=PASSWORD)

    assert (refused.exit_code, refused.stderr) == (1, "cloche: there is no such tenant\n")
    assert made.exit_code == 0
    assert "acme" in cloche("users", "list", "--tenant", "acme", "--data", folder).stdout


def test_a_disabled_person_is_kept_out_until_enabled(cloche: Cloche, folder: Path) -> None:
    cloche("users", "add", "bob@example.org", "--password-stdin", "--data", folder, typed=PASSWORD)

    cloche("users", "disable", "bob@example.org", "--data", folder)
    was_kept_out = not can_sign_in(folder, "bob@example.org", PASSWORD)
    cloche("users", "enable", "bob@example.org", "--data", folder)

    assert was_kept_out
    assert can_sign_in(folder, "bob@example.org", PASSWORD)


def test_the_last_administrator_stays(cloche: Cloche, folder: Path) -> None:
    result = cloche("users", "disable", "ada@example.org", "--data", folder)

    assert result.exit_code == 1
    assert "last active administrator" in result.stderr


def test_a_password_is_replaced(cloche: Cloche, folder: Path) -> None:
    result = cloche("users", "password", "ada@example.org", "--password-stdin", "--data", folder, typed=f"{OTHER}\n")

    assert result.exit_code == 0
    assert OTHER not in result.output
    assert not can_sign_in(folder, "ada@example.org", PASSWORD)
    assert can_sign_in(folder, "ada@example.org", OTHER)


def test_a_password_that_will_not_do_is_named_and_not_shown(cloche: Cloche, folder: Path) -> None:
    result = cloche("users", "password", "ada@example.org", "--password-stdin", "--data", folder, typed="short1234\n")

    assert result.exit_code == 1
    assert "12 to 1024" in result.stderr
    assert "short1234" not in result.output


def test_without_a_terminal_a_password_must_be_given(cloche: Cloche, tmp_path: Path) -> None:
    result = cloche("users", "add", "ada@example.org", "--data", tmp_path / "data")

    assert result.exit_code == 1
    assert "--password-stdin" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [("list",), ("disable", "ada@example.org"), ("enable", "ada@example.org")])
def test_without_a_database_nothing_is_made(cloche: Cloche, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = cloche("users", *command, "--data", tmp_path / "none")

    assert result.exit_code == 1
    assert "there is no database" in result.stderr
    assert not (tmp_path / "none").exists()
