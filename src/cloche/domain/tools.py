"""What a tool is, and what comes of calling one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import cast

MAX_RESULT_BYTES = 256 * 1024
RESULT_MARKER = "\n… [cut: the result had {size} bytes, {limit} are kept]"
MASK = "***"
_SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
    "credential",
    "cookie",
)


class Effect(StrEnum):
    """What a tool may change: nothing, things inside Cloche, or the world outside."""

    NONE = "none"
    INTERNAL = "internal"
    EXTERNAL = "external"


class OnUnknown(StrEnum):
    """What happens to a call whose worker died while it ran.

    ``repeat`` is for tools that are safe to run twice; ``verify`` asks the tool's own check, ``ask`` a person;
    ``report`` tells the agent that the outcome is not known.
    """

    REPEAT = "repeat"
    VERIFY = "verify"
    ASK = "ask"
    REPORT = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool's declaration. ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, object]
    permission: str
    effect: Effect = Effect.NONE
    timeout: timedelta = timedelta(seconds=30)
    on_unknown: OnUnknown = OnUnknown.REPORT
    needs_approval: bool = False
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFailure:
    """Why a call did not succeed, as the model is told."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a call gave. Exactly one of ``value`` (a JSON value) and ``failure`` counts; ``ok`` says which."""

    tool_call_id: str
    tool: str
    ok: bool
    value: object = None
    failure: ToolFailure | None = None
    duration_ms: int = 0
    replayed: bool = field(default=False, compare=False)


def masked(arguments: Mapping[str, object], secrets: frozenset[str] = frozenset()) -> dict[str, object]:
    """The arguments as they may be shown: values whose name says that they are secret become ``***``."""
    return {name: _masked_value(name, value, secrets) for name, value in arguments.items()}


def _masked_value(name: str, value: object, secrets: frozenset[str]) -> object:
    lowered = name.lower().replace("-", "_")
    if name in secrets or any(word in lowered for word in _SECRET_WORDS):
        return MASK
    if isinstance(value, Mapping):
        return masked({str(key): inner for key, inner in cast("Mapping[object, object]", value).items()}, secrets)
    if isinstance(value, list):
        return [_masked_value("", inner, secrets) for inner in cast("list[object]", value)]
    return value


def capped(text: str, limit: int = MAX_RESULT_BYTES) -> str:
    """The text, cut to ``limit`` bytes with a marker that says how large it was."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return text
    kept = encoded[:limit].decode("utf-8", "ignore")
    return kept + RESULT_MARKER.format(size=len(encoded), limit=limit)
