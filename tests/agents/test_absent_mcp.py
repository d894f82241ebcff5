"""What cannot be loaded is asked for once, and answered alike from then on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from cloche.agents import absent_mcp
from cloche.agents.absent_mcp import remember_absence

BROKEN = """
with open(__file__ + ".asked", "a") as file:
    file.write("x")
raise ImportError("Please install the client")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of its own in the place of the MCP client; what is found for it is forgotten afterwards."""
    file = tmp_path / "odd_client.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(absent_mcp, "_MODULE", "odd_client")
    monkeypatch.setattr(sys, "meta_path", [one for one in sys.meta_path if not isinstance(one, absent_mcp._Absent)])
    monkeypatch.delitem(sys.modules, "odd_client", raising=False)
    return file


def test_a_client_that_cannot_be_loaded_is_looked_for_once_and_fails_with_the_same_words(module: Path):
    module.write_text(BROKEN)

    for _ in range(2):
        remember_absence()
    for _ in range(3):
        with pytest.raises(ImportError, match="Please install the client"):
            importlib.import_module("odd_client")

    assert module.with_name("odd_client.py.asked").read_text() == "x"
    assert importlib.import_module("json")


def test_a_client_that_is_there_is_loaded(module: Path, monkeypatch: pytest.MonkeyPatch):
    module.write_text("IS_HERE = True")

    remember_absence()

    assert importlib.import_module("odd_client").IS_HERE
    monkeypatch.delitem(sys.modules, "odd_client")
