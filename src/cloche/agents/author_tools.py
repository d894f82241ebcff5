"""The tools that an agent's author gives to the agent itself: how they are declared, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import cast

import msgspec
from pydantic_ai.tools import ToolDefinition
from pydantic_core import to_json

from cloche.domain.permissions import Permission
from cloche.domain.text import sound_value
from cloche.domain.tools import MAX_RESULT_BYTES, Effect, OnUnknown, ToolFailure, ToolSpec, capped
from cloche.errors import (
    AgentFailedError,
    ToolDeniedError,
    ToolFailedError,
    ToolInvalidArgumentsError,
    ToolStoppedError,
)
from cloche.tools.dispatcher import ForeignResult

METADATA_KEY = "cloche"
_GRACE = timedelta(seconds=1)
# The words of pydantic-ai's recorded tool results, which stay readable over its versions.
# Source: https://pydantic.dev/docs/ai/capabilities/durable_execution/backends/
_RETURNED = frozenset({"tool_return", "tool_content_result"})
_CODES: Mapping[object, str] = {
    "validation_error": ToolInvalidArgumentsError.code,
    "approval_required": ToolDeniedError.code,
    "run_cancelled": ToolStoppedError.code,
}
_TEXTS: Mapping[object, str] = {
    "validation_error": "the arguments do not fit the tool",
    "approval_required": "a person has to approve this call first",
    "call_deferred": "the call is carried out elsewhere",
}


class _Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not said is taken as the worst, except the permission, which every member has."""

    effect: Effect = Effect.EXTERNAL
    permission: str = Permission.TOOLS_BASIC.value
    on_unknown: OnUnknown = OnUnknown.REPORT
    secrets: frozenset[str] = frozenset()


def author_tool_spec(name: str, definition: ToolDefinition | None) -> ToolSpec:
    """The declaration of a tool, from what its author said in ``metadata={"cloche": {...}}``.

    Without a word it may change the world outside, and a call whose worker died is reported, not repeated.

    Raises:
        AgentFailedError: the metadata cannot be understood.
    """
    said: object = None if definition is None or definition.metadata is None else definition.metadata.get(METADATA_KEY)
    try:
        declared = _Declared() if said is None else msgspec.convert(said, _Declared)
    except msgspec.ValidationError as error:
        raise AgentFailedError(f"the tool {name!r}: metadata[{METADATA_KEY!r}]: {error}") from error
    if declared.on_unknown is OnUnknown.VERIFY:
        raise AgentFailedError(
            f"the tool {name!r}: metadata[{METADATA_KEY!r}]: `verify` needs a check; use a tool of Cloche"
        )
    spec = ToolSpec(
        name=name,
        description="" if definition is None else definition.description or "",
        schema={} if definition is None else definition.parameters_json_schema,
        permission=declared.permission,
        effect=declared.effect,
        on_unknown=declared.on_unknown,
        secrets=declared.secrets,
    )
    if definition is None or definition.timeout is None:
        return spec
    # pydantic-ai applies the author's own limit; ours is for code that does not listen to it.
    return replace(spec, timeout=timedelta(seconds=definition.timeout) + _GRACE)


def foreign_result(recorded: object) -> ForeignResult:
    """The outcome of a call from pydantic-ai's recorded form of it, which is a JSON value.

    Raises:
        ToolFailedError: it is larger than a result may be, and is no text that could be cut.
    """
    sound = sound_value(recorded)
    payload, fields = to_json(sound), _fields(sound)
    kind = fields.get("kind")
    if kind in _RETURNED:
        return _returned(payload, fields.get("result"))
    message = fields.get("message") or _TEXTS.get(kind) or f"the call ended with {kind}"
    failure = ToolFailure(code=_CODES.get(kind, ToolFailedError.code), message=str(message))
    return ForeignResult(payload=payload, failure=failure)


def _returned(payload: bytes, result: object) -> ForeignResult:
    shape = _fields(result).get("kind")
    if len(payload) <= MAX_RESULT_BYTES:
        shown = _fields(result).get("return_value") if shape == "tool-return" else result
        return ForeignResult(payload=payload, value=shown)
    if shape in {"tool-return", "binary"}:
        raise ToolFailedError(f"the result had {len(payload)} bytes; at most {MAX_RESULT_BYTES} are kept")
    text = capped(result if isinstance(result, str) else to_json(result).decode())
    return ForeignResult(payload=to_json({"kind": "tool_return", "result": text}), value=text)


def _fields(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
