"""Writes web/src/client/live.ts and rest.ts from the contracts of the server; with --check it compares."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cloche.api.wire.asyncapi import asyncapi_document
from docs import server  # beside this file

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ROOT / "web" / "src" / "client"
HEAD = "// Written by `make docs` from the server's contracts: change the code, not this file.\n"

_match_identifier = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*").fullmatch


def sent_whole(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas in which what the server always sends is required: shapes of the domain that leave no default out."""
    kinds = {kind.__name__: kind for kind in msgspec.Struct.__subclasses__() if ".domain." in kind.__module__}
    whole = {name for name, kind in kinds.items() if not kind.__struct_config__.omit_defaults}
    return {
        name: {**schema, "required": list(schema.get("properties", ()))} if name in whole else schema
        for name, schema in schemas.items()
    }


def declarations(schemas: Mapping[str, Any]) -> str:
    """Every schema as an exported TypeScript type, in order of names."""
    return HEAD + "".join(_declared(_name(name), schema) for name, schema in sorted(schemas.items()))


def _declared(name: str, schema: Mapping[str, Any]) -> str:
    text = schema.get("description", "").split("\n\n")[0]
    said = f"/** {' '.join(text.split()).replace('``', '`').replace('*/', '* /')} */\n" if text else ""
    if schema.get("type") == "object" and schema.get("properties"):
        return f"\n{said}export interface {name} {_body(schema)}\n"
    return f"\n{said}export type {name} = {_type(schema)};\n"


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _body(schema: Mapping[str, Any], depth: int = 1) -> str:
    required = set(schema.get("required", ()))
    lines = list(_fields(schema.get("properties", {}), required, depth))
    if schema.get("additionalProperties") is True:
        lines.append(f"{'  ' * depth}[name: string]: unknown;")
    return "\n".join(["{", *lines, f"{'  ' * (depth - 1)}}}"])


def _fields(properties: Mapping[str, Any], required: set[str], depth: int) -> Iterator[str]:
    for name, schema in properties.items():
        key = name if _match_identifier(name) else f'"{name}"'
        yield f"{'  ' * depth}{key}{'' if name in required else '?'}: {_type(schema, depth + 1)};"


def _type(schema: Mapping[str, Any], depth: int = 1) -> str:
    """The TypeScript type of a schema."""
    if "$ref" in schema:
        return _name(str(schema["$ref"]).rpartition("/")[2])
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return " | ".join(_literal(one) for one in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_type(one, depth) for one in schema[several]))
    return _plain(schema, depth)


def _plain(schema: Mapping[str, Any], depth: int) -> str:
    match schema.get("type"):
        case "string":
            return "string"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "boolean"
        case "null":
            return "null"
        case "array":
            inner = _type(schema.get("items", {}), depth)
            return f"({inner})[]" if " " in inner else f"{inner}[]"
        case "object" if schema.get("properties"):
            return _body(schema, depth)
        case "object":
            inner = schema.get("additionalProperties", {})
            return f"Record<string, {_type(inner, depth) if isinstance(inner, Mapping) else 'unknown'}>"
        case _:
            return "unknown"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def files() -> dict[Path, str]:
    """What each file should hold."""
    contract = server().openapi()
    return {
        CLIENT / "live.ts": declarations(sent_whole(asyncapi_document("")["components"]["schemas"])),  # type: ignore[index]
        CLIENT / "rest.ts": declarations(contract["components"]["schemas"]),  # type: ignore[index]
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    given = parser.parse_args()
    different = 0
    for path, text in files().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        different += 1
        if given.check:
            print(f"{path.relative_to(ROOT)} is not what the code says: run `make docs`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(given.check and different > 0)


if __name__ == "__main__":
    sys.exit(main())
