"""``cloche ids``: make, read and map ids."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cloche.clock import from_micros, to_text
from cloche.domain.foreign_ids import IdMapping, UnmappedReason, map_foreign_ids
from cloche.errors import InvalidInputError
from cloche.ids import IDType, ParsedId, generate_id, parse_id

_MAX_SHOWN = 20
_YEAR_10000_MS = 253_402_300_800_000

id_commands = typer.Typer(help="Make, read and map ids.", no_args_is_help=True)

Kind = Annotated[IDType, typer.Argument(metavar="TYPE", help=f"One of {', '.join(IDType)}.", show_choices=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]


@id_commands.command("new")
def make_ids(
    kind: Kind,
    *,
    label: Annotated[str | None, typer.Option(help="A word before the type, for who reads logs.")] = None,
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 1,
) -> None:
    """Make ids, each greater than the one before."""
    for _ in range(count):
        typer.echo(generate_id(kind, label))


@id_commands.command("parse")
def read_id(text: Annotated[str, typer.Argument(metavar="ID")], *, as_json: JsonOption = False) -> None:
    """Tell what can be read off an id."""
    facts = _facts(text, parse_id(text))
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, "–" if value is None else value)
    Console(highlight=False, markup=False).print(table)


@id_commands.command("migrate")
def migrate_ids(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A table of old ids, with a line of column names.")],
    *,
    kind: Annotated[IDType, typer.Option("--type", metavar="TYPE", help="What the ids name.")],
    column: Annotated[str, typer.Option(help="The column of the old ids.")] = "id",
    apply: Annotated[bool, typer.Option("--apply", help="Write the table with the found ids to --out.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The table to write; it must not exist.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Map a table of an older system's ids to ids of this program.

    Reports what cannot be mapped. Without --apply nothing is written. With it, the table gets a column ``cloche_id``
    beside the old one, which is empty where there is no id to be had; the exit code is 1 if there is such a row.
    """
    if apply is (out is None):
        raise InvalidInputError("--apply and --out FILE belong together")
    rows = _read_table(file, column)
    mapping = map_foreign_ids((row[rows.place] for row in rows.lines), kind)
    if out is not None:
        _write_table(out, rows, mapping)
    if as_json:
        typer.echo(json.dumps(_report(mapping, out), ensure_ascii=False))
    else:
        _print_report(mapping, out)
    has_gaps = any(one.reason is not UnmappedReason.DUPLICATE for one in mapping.unmapped)
    raise typer.Exit(int(has_gaps))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    header: list[str]
    lines: list[list[str]]
    place: int


def _facts(text: str, parsed: ParsedId) -> dict[str, str | None]:
    return {
        "id": text,
        "type": parsed.type.value,
        "label": parsed.label,
        # An id may hold a time beyond the calendar; then nobody has made it at that time.
        "created_at": to_text(from_micros(parsed.created_at_ms * 1000))
        if parsed.created_at_ms < _YEAR_10000_MS
        else None,
        "uuid": str(parsed.uuid),
    }


def _read_table(file: Path, column: str) -> _Rows:
    try:
        found = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{file} cannot be read as a table: {error}") from error
    lines = [line for line in found if line]
    if not lines or column not in lines[0]:
        known = ", ".join(lines[0]) if lines else "none"
        raise InvalidInputError(f"{file} has no column {column!r}; its columns: {known}")
    header, *rest = lines
    place = header.index(column)
    for number, line in enumerate(rest, 2):
        if len(line) != len(header):
            raise InvalidInputError(f"{file}, row {number}: {len(line)} cells, and the first row has {len(header)}")
    return _Rows(header=header, lines=rest, place=place)


def _write_table(out: Path, rows: _Rows, mapping: IdMapping) -> None:
    # A duplicate differs from the id that was mapped in nothing but white space, so it means the same thing.
    by_text = {old.strip(): found for old, found in mapping.mapped.items()}
    try:
        with out.open("x", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow([*rows.header, "cloche_id"])
            writer.writerows([*line, by_text.get(line[rows.place].strip(), "")] for line in rows.lines)
    except OSError as error:
        raise InvalidInputError(f"{out} cannot be written: {error.strerror}") from error


def _report(mapping: IdMapping, out: Path | None) -> dict[str, object]:
    return {
        "type": mapping.kind.value,
        "applied": out is not None,
        "mapped": dict(mapping.mapped),
        "unmapped": [
            {"id": one.value, "reason": one.reason.value, "found": None if one.found is None else one.found.value}
            for one in mapping.unmapped
        ],
    }


def _print_report(mapping: IdMapping, out: Path | None) -> None:
    counts = Counter(one.reason.value for one in mapping.unmapped)
    typer.echo(f"{len(mapping.mapped)} mapped to {mapping.kind} ids, {len(mapping.unmapped)} not")
    for reason, count in sorted(counts.items()):
        typer.echo(f"  {reason}: {count}")
    shown: Sequence[str] = [
        f"  {one.value!a}: {one.reason}{'' if one.found is None else f', it is a {one.found} id'}"
        for one in mapping.unmapped[:_MAX_SHOWN]
    ]
    for line in shown:
        typer.echo(line)
    if len(mapping.unmapped) > _MAX_SHOWN:
        typer.echo(f"  … and {len(mapping.unmapped) - _MAX_SHOWN} more; --json shows all")
    typer.echo(f"written to {out}" if out is not None else "nothing was written; --apply --out FILE writes the table")
