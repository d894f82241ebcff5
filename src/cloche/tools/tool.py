"""Tools: a typed function, its declaration, and what it is called with."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from cloche.domain.context import UserExecutionContext
from cloche.domain.permissions import Permission
from cloche.domain.tools import Effect, OnUnknown, ToolSpec
from cloche.errors import ConfigurationError, ToolInvalidArgumentsError

Progress = Callable[[str, float | None], None]
ToolFunction = Callable[..., object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may know of its call. ``tool_call_id`` stays the same when the call is made again after a crash."""

    context: UserExecutionContext
    tool_call_id: str
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A declared function. A plain one runs in a child process, which can be killed; an async one on the event loop."""

    spec: ToolSpec
    function: ToolFunction
    arguments: type[BaseModel]
    takes_context: bool
    in_process: bool

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
        return {name: getattr(made, name) for name in type(made).model_fields}

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
) -> Tool:
    """A tool from a typed function; its description is the docstring, its schema comes from the annotations.

    An ``async def`` function runs on the event loop. A plain function runs in a child process of its own, so that it can
    be killed; it must be importable by its module and name, and takes and returns JSON values.

    Raises:
        ConfigurationError: an argument has no annotation, or a plain function cannot be imported by name.
    """
    wanted = name or function.__name__
    parameters = list(inspect.signature(function).parameters.values())
    hints = get_type_hints(function)
    takes_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
    fields: dict[str, tuple[object, object]] = {}
    for parameter in parameters[1 if takes_context else 0 :]:
        if parameter.name not in hints:
            raise ConfigurationError(f"tool {wanted!r}: the argument {parameter.name!r} has no annotation")
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    make = cast("Callable[..., type[BaseModel]]", create_model)
    arguments = make(f"{wanted}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
    in_process = not inspect.iscoroutinefunction(function)
    if in_process:
        _check_importable(function, wanted, takes_context=takes_context)
    spec = ToolSpec(
        name=wanted,
        description=inspect.getdoc(function) or "",
        schema=arguments.model_json_schema(),
        permission=str(permission),
        effect=effect,
        timeout=timeout,
        on_unknown=on_unknown,
        needs_approval=needs_approval,
        secrets=secrets,
    )
    return Tool(spec=spec, function=function, arguments=arguments, takes_context=takes_context, in_process=in_process)


def configured(known: Tool, *, needs_approval: bool | None = None, timeout: timedelta | None = None) -> Tool:
    """The tool with an operator's settings in place of its author's."""
    spec = known.spec
    if needs_approval is not None:
        spec = replace(spec, needs_approval=needs_approval)
    if timeout is not None:
        spec = replace(spec, timeout=timeout)
    return replace(known, spec=spec)


def _check_importable(function: ToolFunction, name: str, *, takes_context: bool) -> None:
    if takes_context:
        raise ConfigurationError(
            f"tool {name!r}: a plain function runs in a child process and cannot take a ToolContext"
        )
    if "<locals>" in function.__qualname__ or function.__module__ == "__main__":
        raise ConfigurationError(
            f"tool {name!r}: a plain function runs in a child process, so it must be importable by module and name; "
            "write it at the top of a module, or as `async def`"
        )
