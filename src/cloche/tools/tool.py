"""Tools: a typed function, its declaration, and what it is called with."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NewType, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

from cloche.domain.context import UserExecutionContext
from cloche.domain.permissions import Permission
from cloche.domain.tools import Effect, OnUnknown, ToolSpec
from cloche.errors import ConfigurationError, ToolInvalidArgumentsError

Progress = Callable[[str, float | None], None]
Verify = Callable[["ToolContext", Mapping[str, object]], Awaitable["Verification"]]
ToolFunction = Callable[..., object]
IdempotencyKey = NewType("IdempotencyKey", str)
"""The type of an argument in which a tool gets the key of its call. It is not in the schema: the server gives it."""

# An argument may have any name; a field of a model may not.
_FIELD = "argument_"
_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BY_NAME = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of its call.

    ``tool_call_id`` stays the same when the call of a tool that has an effect is made again after a crash.
    """

    context: UserExecutionContext
    tool_call_id: str
    progress: Progress

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """What another system recognises the call of a tool with an effect by, however often it is made."""
        return IdempotencyKey(self.tool_call_id)


def idempotency_headers(key: IdempotencyKey, part: str = "") -> dict[str, str]:
    """The headers with which an HTTP request of the tool takes effect once, at a server that knows ``Idempotency-Key``.

    A tool that makes several requests with an effect names each ``part``: such a server takes one request for each key.

    Raises:
        ValueError: the part is not 1 to 64 letters, digits, ``_``, ``.`` and ``-``.

    Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
    """
    if part and not _PART.fullmatch(part):
        raise ValueError("a part has 1 to 64 letters, digits, _, . and -")
    return {"Idempotency-Key": f"{key}.{part}" if part else key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a tool's check found of a call that a crash interrupted.

    Attributes:
        happened: whether the call took effect; None when that cannot be told.
        value: what the call gave, when it happened.
    """

    happened: bool | None
    value: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A declared function. A plain one runs in a child process, which can be killed; an async one on the event loop."""

    spec: ToolSpec
    function: ToolFunction
    arguments: type[BaseModel]
    takes_context: bool
    in_process: bool
    verify: Verify | None = None
    key_argument: str | None = None

    def validate(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """The arguments, checked and converted, by name.

        Raises:
            ToolInvalidArgumentsError: they do not fit the schema; the text names each place.
        """
        try:
            made = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            found = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'arguments'}: {problem['msg']}"
                for problem in error.errors(include_url=False, include_input=False, include_context=False)
            )
            raise ToolInvalidArgumentsError(found) from error
        return {_argument(field): getattr(made, field) for field in type(made).model_fields}

    def invoke(self, context: ToolContext, arguments: Mapping[str, object]) -> Awaitable[object]:
        """The call of an async function, not yet awaited."""
        call = cast("Callable[..., Awaitable[object]]", self.function)
        return call(context, **arguments) if self.takes_context else call(**arguments)


def tool(
    function: ToolFunction,
    *,
    name: str | None = None,
    permission: str = Permission.TOOLS_BASIC,
    effect: Effect = Effect.NONE,
    timeout: timedelta = timedelta(seconds=30),
    on_unknown: OnUnknown = OnUnknown.REPORT,
    needs_approval: bool = False,
    secrets: frozenset[str] = frozenset(),
    verify: Verify | None = None,
) -> Tool:
    """A tool from a typed function; its description is the docstring, its schema comes from the annotations.

    ``verify`` belongs to ``OnUnknown.VERIFY``: an ``async def`` function that is called with the context and the arguments
    of an interrupted call (under the same ``tool_call_id``) and says whether it took effect.

    An ``async def`` function runs on the event loop. A plain function runs in a child process of its own, so that it can
    be killed; it must be importable by its module and name, and takes and returns JSON values.

    Either gets the key of its call in an argument of the type ``IdempotencyKey``, if it has one.

    Raises:
        ConfigurationError: an argument has no annotation, has no JSON schema or cannot be given by its name; or the
            function gives its values one by one; or a plain one cannot be imported by name; or there is a check without
            ``OnUnknown.VERIFY``, or the other way round; or there are two arguments for the key.
    """
    if not inspect.isroutine(function):
        raise ConfigurationError(f"a tool is a function, not a {type(function).__name__}")
    wanted = name or function.__name__
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(f"tool {wanted!r}: a tool gives one value; this function yields")
    parameters = list(inspect.signature(function).parameters.values())
    hints = _hints(function, wanted)
    takes_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
    in_process = not inspect.iscoroutinefunction(function)
    if in_process:
        _check_importable(function, wanted, takes_context=takes_context)
    _check_verify(wanted, on_unknown, verify)
    given = parameters[1 if takes_context else 0 :]
    key_argument = _key_argument(wanted, given, hints)
    arguments, schema = _arguments(wanted, [one for one in given if one.name != key_argument], hints)
    spec = ToolSpec(
        name=wanted,
        description=inspect.getdoc(function) or "",
        schema=schema,
        permission=str(permission),
        effect=effect,
        timeout=timeout,
        on_unknown=on_unknown,
        needs_approval=needs_approval,
        secrets=secrets,
    )
    return Tool(
        spec=spec,
        function=function,
        arguments=arguments,
        takes_context=takes_context,
        in_process=in_process,
        verify=verify,
        key_argument=key_argument,
    )


def configured(known: Tool, *, needs_approval: bool | None = None, timeout: timedelta | None = None) -> Tool:
    """The tool with an operator's settings in place of its author's."""
    spec = known.spec
    if needs_approval is not None:
        spec = replace(spec, needs_approval=needs_approval)
    if timeout is not None:
        spec = replace(spec, timeout=timeout)
    return replace(known, spec=spec)


def _check_verify(name: str, on_unknown: OnUnknown, verify: Verify | None) -> None:
    if (on_unknown is OnUnknown.VERIFY) != (verify is not None):
        raise ConfigurationError(f'tool {name!r}: `verify` names a check, and goes with on_unknown = "verify" only')
    if verify is not None and not inspect.iscoroutinefunction(verify):
        raise ConfigurationError(f"tool {name!r}: the check must be an `async def` function")


def _argument(field: str) -> str:
    return field.removeprefix(_FIELD)


def _hints(function: ToolFunction, name: str) -> Mapping[str, object]:
    try:
        return get_type_hints(function, include_extras=True)
    except (AttributeError, NameError, SyntaxError, TypeError) as error:
        raise ConfigurationError(f"tool {name!r}: an annotation cannot be resolved: {error}") from error


def _key_argument(tool_name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, object]) -> str | None:
    found = [one for one in parameters if hints.get(one.name) is IdempotencyKey]
    if len(found) > 1 or any(one.kind not in _BY_NAME for one in found):
        raise ConfigurationError(
            f"tool {tool_name!r}: one argument takes the idempotency key, and is given by its name"
        )
    return found[0].name if found else None


def _arguments(
    tool_name: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, object]
) -> tuple[type[BaseModel], Mapping[str, object]]:
    """The model of the arguments, and its JSON schema."""
    fields: dict[str, tuple[object, object]] = {}
    for parameter in parameters:
        if parameter.kind not in _BY_NAME:
            raise ConfigurationError(f"tool {tool_name!r}: {str(parameter)!r} cannot be given by its name")
        if parameter.name not in hints:
            raise ConfigurationError(f"tool {tool_name!r}: the argument {parameter.name!r} has no annotation")
        if hints[parameter.name] is ToolContext:
            raise ConfigurationError(f"tool {tool_name!r}: the ToolContext {parameter.name!r} must come first")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[_FIELD + parameter.name] = (hints[parameter.name], default)
    make = cast("Callable[..., type[BaseModel]]", create_model)
    try:
        made = make(
            f"{tool_name}_arguments", __config__=ConfigDict(extra="forbid", alias_generator=_argument), **fields
        )
        return made, made.model_json_schema()
    except PydanticUserError as error:
        told = str(error).split("\n", 1)[0]
        raise ConfigurationError(f"tool {tool_name!r}: the arguments have no JSON schema: {told}") from error


def _check_importable(function: ToolFunction, name: str, *, takes_context: bool) -> None:
    if takes_context:
        raise ConfigurationError(
            f"tool {name!r}: a plain function runs in a child process and cannot take a ToolContext"
        )
    found: object = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    if found != function or function.__module__ == "__main__":
        raise ConfigurationError(
            f"tool {name!r}: a plain function runs in a child process, so it must be importable by module and name; "
            "write it at the top of a module, or as `async def`"
        )
