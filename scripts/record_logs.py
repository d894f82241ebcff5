"""Writes web/tests/logs.json: logs of a real server, and the order checker's cases, for the tests of the page."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from support.recorded import order_cases, record

LOGS = Path(__file__).resolve().parents[1] / "web" / "tests" / "logs.json"


def main() -> None:
    """The file holds what the code gives now."""
    with tempfile.TemporaryDirectory() as folder:
        logs = asyncio.run(record(Path(folder)))
    LOGS.write_text(json.dumps({"recorded": logs, **order_cases()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
