"""The command line as a person calls it, in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cloche.cli.main import app

Cloche = Callable[..., Result]


@pytest.fixture
def cloche(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloche:
    """Runs the program with these arguments; ``typed`` is its standard input, which is no terminal."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLOCHE_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str | Path, typed: str = "") -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments], input=typed)

    return run
