"""Real server processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.server_process import PASSWORD, ServerProcess


@pytest.fixture
def make_server(tmp_path: Path) -> Generator[Callable[..., ServerProcess]]:
    """Makes server processes, which are gone at the end of the test."""
    made: list[ServerProcess] = []

    def make(**options: object) -> ServerProcess:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        server = ServerProcess(folder, **options)  # type: ignore[arg-type]
        made.append(server)
        return server

    yield make
    for server in made:
        if isinstance(server.process, subprocess.Popen):
            server.kill()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """One ready server for all tests of a module; none of them stops it, each has threads of its own."""
    found = ServerProcess(tmp_path_factory.mktemp("shared"))
    found.admin_email = found.add_user("admin@example.org", role="admin")
    found.start()
    yield found
    found.kill()


@pytest.fixture
def server(make_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A ready server with the administrator ``admin_email``."""
    found = make_server()
    found.admin_email = found.add_user("admin@example.org", role="admin")
    found.admin_password = PASSWORD
    found.start()
    return found
