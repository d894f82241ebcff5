"""Writes the generated pages of docs/reference from the code; with --check it compares, and names what differs."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
import typer.main
from fastapi import FastAPI
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from cloche import settings, telemetry
from cloche.api.rest.metrics import FiguresCollector
from cloche.api.wire.access import access_of_route
from cloche.api.wire.errors import INTERNAL_ERROR, NORMAL, SERVICE_RESTART, row_of
from cloche.api.wire.frames import NEEDED_PERMISSION
from cloche.app import build
from cloche.cli.main import app as command_line
from cloche.clock import SystemClock
from cloche.domain.events import EVENTS, TERMINAL_TYPES, Envelope
from cloche.domain.permissions import ROLE_PERMISSIONS, Permission, Role
from cloche.domain.runs import LIVE_STATES, OWNED_STATES, TRANSITIONS, ExecutionState
from cloche.errors import ClocheError

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
GENERATED = "<!-- Written by `make docs` from the code: change the code, not this page. -->"

Page = Callable[[], str]


def text_of(thing: object) -> str:
    """A docstring as one paragraph of Markdown."""
    paragraphs = (inspect.getdoc(thing) or "").split("\n\n")
    return markdown(" ".join(paragraphs[0].split()))


def markdown(text: str) -> str:
    return text.replace("``", "`")


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    names = list(heads)
    return [row(*names), "|" + "---|" * len(names), *(row(*cells) for cells in rows), ""]


def page(title: str, *lines: str) -> str:
    return "\n".join([f"# {title}", "", GENERATED, "", *lines]).rstrip() + "\n"


# Settings


def settings_page() -> str:
    head, _, rest = settings.reference().partition("\n")
    return "\n".join([head, "", GENERATED, rest]).rstrip() + "\n"


# Events


def type_name(schema: Mapping[str, Any]) -> str:
    """How a reader would write the type of a JSON schema."""
    if "$ref" in schema:
        return f"[{last(schema)}](#{last(schema).lower()})"
    if "anyOf" in schema:
        return " or ".join(type_name(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {type_name(schema.get('items', {}))}"
        case None:
            return "any JSON value"
        case kind:
            return str(kind)


def last(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def fields_table(schema: Mapping[str, Any], *, is_whole: bool = False) -> list[str]:
    """The fields of an object; ``is_whole`` when those with a default are sent all the same."""
    required = set(schema.get("properties", ()) if is_whole else schema.get("required", ()))
    return table(
        ("field", "type", ""),
        (
            (f"`{name}`", type_name(inner), "always" if name in required else "may be missing")
            for name, inner in schema.get("properties", {}).items()
        ),
    )


def any_value(kind: type) -> dict[str, Any]:
    """The schema of a value that is only known to be JSON."""
    if kind in (object, msgspec.Raw):
        return {"description": "any JSON value"}
    raise NotImplementedError


def event_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each event's data by its type, and of the shapes that they share."""
    _, components = msgspec.json.schema_components(EVENTS, schema_hook=any_value, ref_template="#/$defs/{name}")
    events = {event.type: components.pop(event.__name__) for event in EVENTS}
    return events, components


def is_sent_whole(name: str) -> bool:
    """Whether the shape of this name is encoded with its defaults."""
    kinds = [kind for kind in msgspec.Struct.__subclasses__() if kind.__name__ == name and "domain" in kind.__module__]
    return not any(kind.__struct_config__.omit_defaults for kind in kinds)


def events_page() -> str:
    events, shared = event_schemas()
    _, envelope = msgspec.json.schema_components([Envelope], schema_hook=any_value)
    lines = [
        "Every event is one object: its envelope.",
        "`seq` counts per thread, from 1, without a gap.",
        "`data` depends on `type` and is described below; what an event's table does not list is not there.",
        "The same shapes as JSON schema: [events.schema.json](events.schema.json).",
        "",
        "## The envelope",
        "",
        *fields_table(envelope["Envelope"]),
        "## Order",
        "",
        "For the events of one run:",
        "",
        "- `message_created` is first and `run_queued` second; a run that is a retry begins with its `run_queued`, which",
        "  names the other run in `retry_of`.",
        "- `agent_started` comes once for each attempt, before any work of it.",
        "- A call's `tool_executing` comes before its `tool_progress` and its one `tool_completed`.",
        "- A message's `message_delta`s come before its `message_completed`, and none after it.",
        "- `step_restarted` voids what an earlier attempt showed of that step.",
        f"- Exactly one of {', '.join(f'`{one}`' for one in sorted(TERMINAL_TYPES))} is there, and it is last.",
        "",
        "`cloche.domain.event_order.check_run` checks these rules.",
        "",
        "## The events",
        "",
    ]
    for event in EVENTS:
        lines += [f"### `{event.type}`", "", text_of(event), "", *fields_table(events[event.type])]
    lines += ["## Shared shapes", ""]
    for name, schema in shared.items():
        lines += [f"### {name}", "", *said(schema), *fields_table(schema, is_whole=is_sent_whole(name))]
    return page("Events", *lines)


def events_schema() -> str:
    events, shared = event_schemas()
    _, envelope = msgspec.json.schema_components([Envelope], schema_hook=any_value)
    body = envelope["Envelope"]
    variants = [
        {"properties": {"type": {"const": name}, "data": {"$ref": f"#/$defs/{event.__name__}"}}}
        for name, event in ((one.type, one) for one in EVENTS)
    ]
    defs = {event.__name__: events[event.type] for event in EVENTS} | shared
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cloche event",
        **{key: value for key, value in body.items() if key != "title"},
        "oneOf": variants,
        "$defs": defs,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


# Errors


def error_classes(kind: type[ClocheError] = ClocheError) -> list[type[ClocheError]]:
    found = [kind]
    for below in kind.__subclasses__():
        found += error_classes(below)
    return found


def errors_page() -> str:
    known = error_classes()
    lines = [
        "Every edge answers with one shape:",
        "",
        "```json",
        '{"error": {"code": "not_found", "message": "…", "retryable": false, "details": {}, "request_id": "request_…"}}',
        "```",
        "",
        "`code` is stable; `message` is for people; `details` names the place and the limit, never a secret.",
        "`retryable` means that the same request may succeed later without a change;",
        "where it is known when, `Retry-After` and `details.retry_after_s` say so.",
        "",
        "## Close codes of a WebSocket",
        "",
        *table(
            ("code", "what a client does"),
            [
                (NORMAL, "Nothing: the connection was closed as asked."),
                (INTERNAL_ERROR, "The server failed: come back with your positions."),
                (SERVICE_RESTART, "The server goes away: come back with your positions."),
                ("4000-4499", "Come back with your positions; what was wrong may be over."),
                ("4500-4999", "Do not come back in the same way: it ends in the same way."),
            ],
        ),
        "## All codes",
        "",
        *table(
            ("code", "HTTP", "close code", "retryable"),
            [
                (f"[`{one.code}`](#{one.code})", row_of(one).status, row_of(one).close_code, yes(one.retryable))
                for one in known
            ],
        ),
    ]
    for one in known:
        above = cast("type[ClocheError]", one.__mro__[1])
        kind = f"A kind of [`{above.code}`](#{above.code}). " if issubclass(above, ClocheError) else ""
        lines += [f"### `{one.code}`", "", f"{kind}{text_of(one)}", ""]
    return page("Errors and close codes", *lines)


def yes(value: object) -> str:
    return "yes" if value else "no"


# Permissions


def permissions_page() -> str:
    uses = permission_uses()
    lines = [
        "What is not granted is denied.",
        "A user has the permissions of a role, and those that were granted to the user by name.",
        "A tool may also name a permission that is not in this list; it is denied until it is granted by name.",
        "",
        *table(
            ("permission", *(f"role `{role}`" for role in Role), "needed for"),
            [
                (
                    f"`{one}`",
                    *(yes(one in ROLE_PERMISSIONS[role]) for role in Role),
                    ", ".join(uses.get(str(one), [])) or "tools that name it",
                )
                for one in Permission
            ],
        ),
    ]
    return page("Permissions", *lines)


def permission_uses() -> dict[str, list[str]]:
    uses: dict[str, list[str]] = {}
    for route in server().routes:
        access = access_of_route(route)
        methods = [one for one in getattr(route, "methods", None) or () if one != "HEAD"]
        if isinstance(access, Permission):
            uses.setdefault(str(access), []).extend(f"`{one} {getattr(route, 'path', '')}`" for one in methods)
    for kind, permission in NEEDED_PERMISSION.items():
        if permission is not None:
            uses.setdefault(str(permission), []).append(f"op `{kind.__struct_config__.tag}`")
    return uses


# REST


@cache
def server() -> FastAPI:
    """The application of a server with the default settings; it answers no request any more."""
    return asyncio.run(_built())


async def _built() -> FastAPI:
    with tempfile.TemporaryDirectory() as folder:
        async with build(settings.Settings(data=Path(folder) / "data"), clock=SystemClock()) as app:
            return cast("FastAPI", app.asgi)


def openapi() -> dict[str, Any]:
    return server().openapi()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    found: list[tuple[str, str, dict[str, Any]]] = []
    for path, item in openapi()["paths"].items():
        found += [(path, method.upper(), operation) for method, operation in item.items()]
    return found


def rest_page() -> str:
    tags: dict[str, list[str]] = {}
    for path, method, operation in operations():
        access = operation.get("x-permission")
        needs = f"`{access}`" if access else f"nothing: {operation.get('x-public', 'public')}"
        lines = [
            f"### `{method} {path}`",
            "",
            f"{markdown(operation.get('summary', '')).rstrip('.')}.",
            *([markdown(operation["description"].strip())] if operation.get("description", "").strip() else []),
            "",
            f"- Needs {needs}",
            *parameters_of(operation),
            *body_of(operation),
            *answers_of(operation),
            "",
        ]
        for tag in operation.get("tags", ["other"]):
            tags.setdefault(tag, []).extend(lines)
    lines = [
        "The contract itself is served at `/openapi.json`; this page is a view of it.",
        "Send the access token as `Authorization: Bearer …`.",
        "Lists take `limit` and `cursor`, and give `next_cursor`.",
        "Errors have [one shape](errors.md).",
        "",
    ]
    for tag, found in tags.items():
        lines += [f"## {tag}", "", *found]
    lines += ["## Shapes", ""]
    for name, schema in sorted(openapi().get("components", {}).get("schemas", {}).items()):
        if "enum" in schema:
            lines += [f"### {name}", "", *said(schema), type_name(schema), ""]
        else:
            lines += [f"### {name}", "", *said(schema), *fields_table(schema)]
    return page("REST", *lines)


def said(schema: Mapping[str, Any]) -> list[str]:
    return [markdown(" ".join(schema["description"].split())), ""] if schema.get("description") else []


def parameters_of(operation: Mapping[str, Any]) -> list[str]:
    return [
        f"- {one['in']} `{one['name']}`: {type_name(one.get('schema', {}))}"
        + ("" if one.get("required") else ", optional")
        + (f"; {markdown(one['description'])}" if one.get("description") else "")
        for one in operation.get("parameters", [])
    ]


def body_of(operation: Mapping[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    return [f"- body: {type_name(one.get('schema', {}))}" for one in content.values()]


def answers_of(operation: Mapping[str, Any]) -> list[str]:
    good, bad = [], []
    for status, answer in operation.get("responses", {}).items():
        if not status.startswith("2"):
            bad.append("any other error" if status == "default" else f"`{status}`")
            continue
        shapes = [type_name(one.get("schema", {})) for one in answer.get("content", {}).values()]
        good.append(f"- answers `{status}`" + (f" with {shapes[0]}" if shapes else ""))
    return [*good, *([f"- refuses with {', '.join(bad)}"] if bad else [])]


# Command line


def cli_page() -> str:
    lines = ["`cloche --help` and `cloche COMMAND --help` say the same on the screen.", ""]
    for words, command in commands(typer.main.get_group(command_line), ()):
        lines += command_lines(words, command)
    return page("Command line", *lines)


def commands(group: TyperGroup, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], TyperCommand]]:
    """Every command below the group that can be run, with its words."""
    found: list[tuple[tuple[str, ...], TyperCommand]] = []
    for name, inner in group.commands.items():
        if isinstance(inner, TyperGroup):
            found += commands(inner, (*words, name))
        elif isinstance(inner, TyperCommand) and not inner.hidden:
            found.append(((*words, name), inner))
    return found


def command_lines(words: tuple[str, ...], command: TyperCommand) -> list[str]:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    options = [one for one in command.params if isinstance(one, TyperOption) and not one.hidden]
    usage = " ".join(["cloche", *words, *map(argument_name, arguments), *(["[OPTIONS]"] if options else [])])
    text = markdown(inspect.cleandoc(command.help or ""))
    lines = [f"## `cloche {' '.join(words)}`", "", text, "", "```", usage, "```", ""]
    if arguments:
        rows = [(f"`{argument_name(one)}`", markdown(one.help or "")) for one in arguments]
        lines += table(("argument", "what it is"), rows)
    if options:
        lines += table(("option", "default", "what it does"), [option_row(one) for one in options])
    return lines


def argument_name(argument: TyperArgument) -> str:
    name = (argument.metavar or argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def option_row(option: TyperOption) -> tuple[str, str, str]:
    names = ", ".join(f"`{one}`" for one in [*option.opts, *option.secondary_opts])
    default = "" if option.default in (None, False, "", ()) or callable(option.default) else f"`{option.default}`"
    return names, "required" if option.required else default, markdown(option.help or "")


# Metrics and log lines


def metrics_page() -> str:
    figures = telemetry.Figures()
    collector = FiguresCollector(figures, version="", runs=dict.fromkeys(LIVE_STATES, 0), writer=writer_names())
    rows: list[tuple[str, str, str, str]] = []
    for metric in collector.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = sorted(getattr(metric, "_labelnames", ()))
        rows.append((f"`{name}`", metric.type, ", ".join(f"`{one}`" for one in labels), metric.documentation))
    lines = [
        "`GET /metrics` answers in the text format of Prometheus, for whoever has the permission `metrics:read`.",
        "Figures are of one process, since it started.",
        "",
        *table(("metric", "type", "labels", "what it counts"), rows),
        "## Buckets",
        "",
        "Histograms count durations up to these seconds, and all above:",
        ", ".join(f"`{bound:g}`" for bound in telemetry.Histogram().bounds) + ".",
        "",
        "## Log lines",
        "",
        "Each line on standard error names one of these events:",
        "",
        *[f"- `{event}`" for event in telemetry.LogEvent],
    ]
    return page("Metrics and log lines", *lines)


def writer_names() -> dict[str, float]:
    """The figures that the writer adds, as ``cloche.app`` names them."""
    source = (ROOT / "src" / "cloche" / "app.py").read_text(encoding="utf-8")
    body = source[source.index("def _writer_figures") :]
    return dict.fromkeys(re.findall(r'^        "(\w+)":', body, re.MULTILINE), 0.0)


# States


def states_page() -> str:
    arrows = [f"    {state} --> {to}" for state in ExecutionState for to in sorted(TRANSITIONS[state])]
    ends = [f"    {state} --> [*]" for state in ExecutionState if state.is_terminal]
    lines = [
        "The states of a run, and every move there is.",
        "The table `TRANSITIONS` in `cloche.domain.runs` makes the check, the guarded SQL and this page.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    direction LR",
        "    [*] --> pending",
        *arrows,
        *ends,
        "```",
        "",
        *table(
            ("state", "ends the run", "held by a worker", "moves to"),
            [
                (
                    f"`{state}`",
                    yes(state.is_terminal),
                    yes(state in OWNED_STATES),
                    ", ".join(f"`{to}`" for to in sorted(TRANSITIONS[state])) or "nothing",
                )
                for state in ExecutionState
            ],
        ),
        "A move back to `pending` offers the run again:",
        "its worker went away, or the person that it waited for has decided.",
        "[Decision 2](../decisions/0002-states.md) says why.",
    ]
    return page("States of a run", *lines)


PAGES: Mapping[str, Page] = {
    "settings.md": settings_page,
    "events.md": events_page,
    "events.schema.json": events_schema,
    "errors.md": errors_page,
    "permissions.md": permissions_page,
    "rest.md": rest_page,
    "cli.md": cli_page,
    "metrics.md": metrics_page,
    "states.md": states_page,
}


def differences(folder: Path = REFERENCE) -> list[str]:
    """The generated pages that are not what the code says."""
    found: list[str] = []
    for name, render in PAGES.items():
        path = folder / name
        if not path.exists():
            found.append(f"{path.relative_to(ROOT)} is missing")
        elif path.read_text(encoding="utf-8") != render():
            found.append(f"{path.relative_to(ROOT)} is not what the code says")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("pages", nargs="*", help="only these, such as events.md")
    given = parser.parse_args()
    if given.check:
        found = differences()
        for line in found:
            print(f"{line}: run `make docs`", file=sys.stderr)
        return 1 if found else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in given.pages or PAGES:
        (REFERENCE / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
