"""``cloche check-config``: the settings that count, and whether the server could start with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, cast

import typer
from pydantic import BaseModel, SecretStr

from cloche.cli.database import FileOption
from cloche.settings import Settings, load, reference

_HIDDEN = "***"


def check_config(
    *,
    config: FileOption = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page of all settings.")] = False,
) -> None:
    """Print the settings that count, as a settings file, and load the agents and tools that they name."""
    if markdown:
        typer.echo(reference(), nl=False)
        return
    settings, file = load(config)
    typer.echo(f"# {'from defaults and the environment' if file is None else f'from {file} and the environment'}")
    typer.echo(as_toml(settings), nl=False)
    names = _load_agents(settings, Path.cwd() if file is None else file.parent)
    typer.echo(f"# these agents can be loaded: {', '.join(names)}")


def as_toml(settings: Settings) -> str:
    """The settings as a settings file would hold them, with secrets as ``***``; what is not set is a comment."""
    return "\n".join(_section("", settings))


def _section(name: str, values: BaseModel | Mapping[str, object]) -> list[str]:
    members = cast("Mapping[str, object]", dict(values))
    plain = {key: value for key, value in members.items() if not _is_section(value)}
    lines = [f"[{name}]"] if name and (plain or not members) else []
    lines += [_line(key, value) for key, value in plain.items()]
    lines += [""] if lines else []
    for key, value in members.items():
        if _is_section(value):
            path = f"{name}.{_key(key)}" if name else _key(key)
            lines += _section(path, cast("BaseModel | Mapping[str, object]", value))
    return lines


def _is_section(value: object) -> bool:
    return isinstance(value, BaseModel | Mapping)


def _line(key: str, value: object) -> str:
    return f"# {_key(key)} is not set" if value is None else f"{_key(key)} = {_value(value)}"


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else _value(key)


def _value(value: object) -> str:
    match value:
        case SecretStr():
            return _value(_HIDDEN)
        case Path():
            return _value(str(value))
        case tuple():
            return f"[{', '.join(_value(one) for one in cast('tuple[object, ...]', value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _load_agents(settings: Settings, folder: Path) -> list[str]:
    from cloche.catalogue import check_agents  # noqa: PLC0415 -- loads the agents' libraries, which takes up to a second

    return [spec.name for spec in check_agents(settings, folder)]
