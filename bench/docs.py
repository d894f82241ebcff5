"""``python -m bench.docs FILE…``: the tables of docs/explanation/performance.md from findings that were written as JSON.

What stands between ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->`` is replaced; a name that no file has is left.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.report import Section, markdown
from bench.servers import ROOT

PAGE = ROOT / "docs" / "explanation" / "performance.md"
_PLACE = re.compile(r"(<!-- bench:(?P<name>[\w-]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL)


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    tables: dict[str, str] = {}
    for file in arguments:
        for name, found in json.loads(Path(file).read_text(encoding="utf-8")).items():
            tables[name] = markdown(Section.from_json(found))
    page = PAGE.read_text(encoding="utf-8")
    missing = set(tables) - {place["name"] for place in _PLACE.finditer(page)}
    if missing:
        print(f"{PAGE.name} has no place for {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    PAGE.write_text(filled(page, tables), encoding="utf-8")
    return 0


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with these tables in their places."""

    def replaced(place: re.Match[str]) -> str:
        table = tables.get(place["name"])
        return place[0] if table is None else f"{place[1]}{table}\n{place[3]}"

    return _PLACE.sub(replaced, page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
