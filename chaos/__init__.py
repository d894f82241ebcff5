"""Harnesses that break the server on purpose; see ``python -m chaos``."""

import sys
from pathlib import Path

# The tests' own helpers serve the harnesses, too.
_TESTS = str(Path(__file__).parent.parent / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
