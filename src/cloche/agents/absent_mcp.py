"""Keeps pydantic-ai from loading its MCP client anew in every run where that cannot be loaded at all.

For each run with a durability engine it imports ``pydantic_ai.mcp``, to see whether a toolset is one of that module. Where
the client is not installed the import fails each time, after the module was read from the disk and begun: two
milliseconds on the event loop.

Source: https://docs.python.org/3/library/importlib.html#importlib.abc.MetaPathFinder
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

_MODULE = "pydantic_ai.mcp"


class _Absent(MetaPathFinder):
    """Answers for the one module, with what was said when it was asked for first."""

    def __init__(self, message: str) -> None:
        self._message = message

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        if fullname == _MODULE:
            raise ImportError(self._message, name=_MODULE)


def remember_absence() -> None:
    """From now on importing the MCP client fails at once, with the same message, if it fails now; else it is loaded."""
    if any(isinstance(finder, _Absent) for finder in sys.meta_path):
        return
    try:
        importlib.import_module(_MODULE)
    except ImportError as error:
        sys.meta_path.insert(0, _Absent(str(error)))
