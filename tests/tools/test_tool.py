"""A tool from a typed function: what its schema says, which arguments fit, and what cannot be a tool."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from cloche.domain.permissions import Permission
from cloche.domain.tools import Effect, OnUnknown
from cloche.errors import ConfigurationError, ToolInvalidArgumentsError
from cloche.tools.tool import Tool, ToolContext, Verification, configured, tool
from support import process_tools


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Place(BaseModel):
    city: str
    street: str | None = None


@dataclass
class Pot:
    litres: float


def taking(annotation: object, default: object = inspect.Parameter.empty) -> Tool:
    """A tool with the one argument ``value``."""

    async def take(value) -> object:
        return value

    take.__annotations__ = {"value": annotation}
    if default is not inspect.Parameter.empty:
        take.__defaults__ = (default,)
    return tool(take)


def properties(made: Tool) -> dict[str, Any]:
    found = made.spec.schema["properties"]
    assert isinstance(found, dict)
    return found


# What it declares


async def water(plant: str, litres: float = 0.5) -> str:
    """Water a plant.

    Gently.
    """
    return f"{plant} {litres}"


def test_a_tool_is_described_by_its_function():
    made = tool(water)

    assert (made.spec.name, made.spec.description) == ("water", "Water a plant.\n\nGently.")
    assert made.spec.schema["type"] == "object"
    assert made.spec.schema["required"] == ["plant"]
    assert made.spec.schema["additionalProperties"] is False
    assert properties(made)["plant"]["type"] == "string"
    assert properties(made)["litres"] == {"title": "Litres", "type": "number", "default": 0.5}
    assert not made.in_process
    assert not made.takes_context


def test_a_tool_that_says_nothing_has_no_effect_and_no_secrets_and_is_for_everybody():
    spec = tool(water).spec

    assert spec.permission == "tools:basic"
    assert spec.effect is Effect.NONE
    assert spec.timeout == timedelta(seconds=30)
    assert spec.on_unknown is OnUnknown.REPORT
    assert not spec.needs_approval
    assert spec.secrets == frozenset()


def test_a_tool_declares_what_it_may_change_who_may_call_it_and_what_is_secret():
    made = tool(
        water,
        name="pour",
        permission=Permission.TOOLS_EXTERNAL,
        effect=Effect.EXTERNAL,
        timeout=timedelta(seconds=2),
        on_unknown=OnUnknown.REPEAT,
        needs_approval=True,
        secrets=frozenset({"pin"}),
    )

    assert made.spec.name == "pour"
    assert made.spec.permission == "tools:external"
    assert made.spec.effect is Effect.EXTERNAL
    assert made.spec.timeout == timedelta(seconds=2)
    assert made.spec.on_unknown is OnUnknown.REPEAT
    assert made.spec.needs_approval
    assert made.spec.secrets == frozenset({"pin"})


def test_a_function_without_a_docstring_has_an_empty_description():
    async def silent() -> None: ...

    made = tool(silent)

    assert made.spec.description == ""
    assert made.spec.schema["properties"] == {}


def test_a_plain_function_runs_in_a_process_and_has_the_same_kind_of_schema():
    made = tool(process_tools.describe)

    assert made.in_process
    assert properties(made)["day"]["format"] == "date"
    assert made.spec.schema["required"] == ["number", "day"]


def test_what_an_operator_sets_stands_in_place_of_what_the_author_said():
    made = tool(water, timeout=timedelta(seconds=1), effect=Effect.EXTERNAL)

    changed = configured(made, needs_approval=True, timeout=timedelta(seconds=9))

    assert (changed.spec.needs_approval, changed.spec.timeout) == (True, timedelta(seconds=9))
    assert changed.spec.effect is Effect.EXTERNAL
    assert (made.spec.needs_approval, made.spec.timeout) == (False, timedelta(seconds=1))


def test_what_an_operator_does_not_set_stays():
    made = tool(water, needs_approval=True)

    assert configured(made).spec == made.spec


# The schema of each annotation


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (date, {"type": "string", "format": "date"}),
        (UUID, {"type": "string", "format": "uuid"}),
        (Any, {}),
        (object, {}),
        (Annotated[int, Field(ge=1, le=5)], {"type": "integer", "minimum": 1, "maximum": 5}),
        (Annotated[str, Field(min_length=1)], {"type": "string", "minLength": 1}),
        (Annotated[str, Field(description="its name")], {"type": "string", "description": "its name"}),
        (Annotated[str, "a remark"], {"type": "string"}),
    ],
    ids=str,
)
def test_an_annotation_says_what_fits(annotation: object, schema: dict[str, object]):
    said = properties(taking(annotation))["value"]

    assert {name: value for name, value in said.items() if name != "title"} == schema


@pytest.mark.parametrize("annotation", [Place, Pot, Size], ids=["a model", "a dataclass", "an enum"])
def test_a_structured_argument_has_a_schema_of_its_own(annotation: type):
    made = taking(annotation)

    assert properties(made)["value"] == {"$ref": f"#/$defs/{annotation.__name__}"}
    definitions = made.spec.schema["$defs"]
    assert isinstance(definitions, dict)
    assert annotation.__name__ in definitions


@pytest.mark.parametrize(
    ("annotation", "given_", "value"),
    [
        (int, "3", 3),
        (float, 3, 3.0),
        (date, "2031-01-02", date(2031, 1, 2)),
        (Decimal, "0.10", Decimal("0.10")),
        (Size, "small", Size.SMALL),
        (Place, {"city": "Oslo"}, Place(city="Oslo")),
        (Pot, {"litres": 2}, Pot(litres=2.0)),
        (list[Place], [{"city": "Oslo", "street": "a"}], [Place(city="Oslo", street="a")]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (object, {"any": ["thing"]}, {"any": ["thing"]}),
    ],
    ids=str,
)
def test_what_fits_is_converted_to_what_the_function_expects(annotation: object, given_: object, value: object):
    assert taking(annotation).validate({"value": given_}) == {"value": value}


def test_an_argument_that_is_left_out_has_its_default():
    assert tool(water).validate({"plant": "fern"}) == {"plant": "fern", "litres": 0.5}
    assert taking(list[int], None).validate({}) == {"value": None}


NAMES = [
    "json",
    "copy",
    "schema",
    "validate",
    "model_config",
    "model_dump",
    "model_name",
    "_private",
    "__dunder",
    "self",
]


@pytest.mark.parametrize("name", [*NAMES, "argument_x", "class_"])
def test_an_argument_may_have_any_name(name: str):
    made = tool(function_of(name))

    assert list(properties(made)) == [name]
    assert made.validate({name: 7}) == {name: 7}
    with pytest.raises(ToolInvalidArgumentsError, match=f"^{name}: "):
        made.validate({name: "seven"})


def function_of(name: str) -> Callable[..., object]:
    """A function with the one argument of that name."""

    async def take(**arguments: int) -> object:
        return arguments

    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=int)
    take.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    take.__annotations__ = {name: int}
    return take


def test_the_name_inside_is_no_way_in():
    made = tool(water)

    with pytest.raises(ToolInvalidArgumentsError, match="argument_plant: "):
        made.validate({"argument_plant": "fern"})


# Arguments that do not fit


@pytest.mark.parametrize(
    ("annotation", "given_", "places"),
    [
        (int, {"value": "three"}, ["value"]),
        (int, {"value": None}, ["value"]),
        (int, {"value": 1.5}, ["value"]),
        (int, {}, ["value"]),
        (int, {"value": 1, "other": 2}, ["other"]),
        (int, {"other": 2}, ["value", "other"]),
        (int, {"value": float("nan")}, ["value"]),
        (Annotated[int, Field(ge=1, le=5)], {"value": 6}, ["value"]),
        (Annotated[str, Field(min_length=1, max_length=2)], {"value": ""}, ["value"]),
        (Annotated[str, Field(max_length=2)], {"value": "abc"}, ["value"]),
        (Literal["a", "b"], {"value": "c"}, ["value"]),
        (Size, {"value": "huge"}, ["value"]),
        (date, {"value": "yesterday"}, ["value"]),
        (Place, {"value": {}}, ["value.city"]),
        (list[Place], {"value": [{"city": "a"}, {"city": 1, "street": 2}]}, ["value.1.city", "value.1.street"]),
        (dict[str, int], {"value": {"a": 1, "b": "x"}}, ["value.b"]),
    ],
)
def test_what_does_not_fit_is_refused_with_each_place_named(
    annotation: object, given_: dict[str, object], places: list[str]
):
    with pytest.raises(ToolInvalidArgumentsError) as refused:
        taking(annotation).validate(given_)

    told = refused.value.message.split("; ")
    assert [line.split(": ")[0] for line in told] == places


def test_what_was_given_is_not_repeated_in_the_refusal():
    with pytest.raises(ToolInvalidArgumentsError) as refused:
        taking(int).validate({"value": "hunter2"})

    assert "hunter2" not in refused.value.message


@given(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=4))
def test_whatever_is_given_either_fits_or_is_refused(arguments: dict[str, object]):
    made = tool(water)

    with contextlib.suppress(ToolInvalidArgumentsError):
        found = made.validate(arguments)
        assert isinstance(found["plant"], str)
        assert isinstance(found["litres"], float)


# What cannot be a tool


def refusal(function: object, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        tool(function, **options)  # type: ignore[arg-type]
    return refused.value.message


def test_an_argument_without_an_annotation_is_refused_by_name():
    async def careless(plant: str, litres=1): ...

    assert refusal(careless) == "tool 'careless': the argument 'litres' has no annotation"


async def star(*plants: str) -> None: ...


async def double_star(**plants: str) -> None: ...


async def positional(plant: str, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "argument"), [(star, "*plants"), (double_star, "**plants"), (positional, "plant")]
)
def test_an_argument_that_has_no_name_to_give_it_by_is_refused(function: Callable[..., object], argument: str):
    told = refusal(function)

    assert told.startswith(f"tool {function.__name__!r}: ")
    assert argument in told
    assert "cannot be given by its name" in told


class Odd:
    """Nothing that JSON knows."""


@pytest.mark.parametrize("annotation", [Callable[[], int], Odd, list[Odd]], ids=str)
def test_an_annotation_that_has_no_json_schema_is_refused(annotation: object):
    assert "tool 'take': the arguments have no JSON schema" in refusal_of(annotation)


@pytest.mark.parametrize("annotation", ["Nowhere", "date.nowhere", "int |", "3 | 'a'"])
def test_an_annotation_that_cannot_be_resolved_is_refused(annotation: str):
    assert "tool 'take': an annotation cannot be resolved" in refusal_of(annotation)


def refusal_of(annotation: object) -> str:
    with pytest.raises(ConfigurationError) as refused:
        taking(annotation)
    return refused.value.message


async def late_context(plant: str, context: ToolContext) -> None: ...


def test_a_context_that_does_not_come_first_is_refused():
    assert refusal(late_context) == "tool 'late_context': the ToolContext 'context' must come first"


def with_context(context: ToolContext) -> None: ...


def test_a_plain_function_cannot_take_the_context():
    assert refusal(with_context) == (
        "tool 'with_context': a plain function runs in a child process and cannot take a ToolContext"
    )


async def streams() -> AsyncIterator[int]:
    yield 1


def counts() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("function", [streams, counts])
def test_a_function_that_yields_is_refused(function: Callable[..., object]):
    assert "yields" in refusal(function)


class Garden:
    def __call__(self, plant: str) -> None: ...

    def weed(self, plant: str) -> str:
        return plant

    @staticmethod
    def rake(plant: str) -> str:
        return plant

    @classmethod
    def named(cls, plant: str) -> str:
        return plant

    async def tend(self, plant: str) -> str:
        return plant


@pytest.mark.parametrize(
    "odd",
    [Garden(), Garden, functools.partial(water, litres=1.0), 3, None],
    ids=["object", "class", "partial", "number", "none"],
)
@pytest.mark.parametrize("name", [None, "named"])
def test_what_is_no_function_is_refused(odd: object, name: str | None):
    assert "a tool is a function, not a " in refusal(odd, name=name)


unbound = lambda plant: plant  # noqa: E731
unbound.__annotations__ = {"plant": str}


def wrapping(function: Callable[..., object]) -> Callable[..., object]:
    def inner(plant: str) -> object:
        return function(plant)

    return inner


@wrapping
def wrapped(plant: str) -> str:
    return plant


def shadowed(plant: str) -> str:
    return plant


plain = shadowed
shadowed = tool(water)  # type: ignore[assignment]


@pytest.mark.parametrize(
    "function", [Garden().weed, unbound, wrapped, plain], ids=["bound", "lambda", "wrapped", "gone"]
)
def test_a_plain_function_that_a_child_process_would_not_find_is_refused(function: Callable[..., object]):
    assert "must be importable by module and name" in refusal(function, name="it")


def test_a_plain_function_of_the_program_s_first_module_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_tools.double, "__module__", "__main__")
    monkeypatch.setattr("__main__.double", process_tools.double, raising=False)

    assert "must be importable by module and name" in refusal(process_tools.double)


@pytest.mark.parametrize("function", [Garden.rake, Garden.named], ids=["static", "of the class"])
def test_a_function_that_is_found_inside_a_class_is_a_tool(function: Callable[..., object]):
    assert tool(function).in_process


async def test_an_async_function_may_be_anybody_s():
    made = tool(Garden().tend)

    assert not made.in_process
    assert await made.function(**made.validate({"plant": "fern"})) == "fern"  # type: ignore[misc]


# The call


async def whose(context: ToolContext, plant: str) -> str:
    return f"{plant} {context.tool_call_id}"


async def test_a_function_that_takes_the_context_gets_it_first():
    made = tool(whose)
    context = ToolContext(context=None, tool_call_id="tool_1", progress=print)  # type: ignore[arg-type]

    assert made.takes_context
    assert list(properties(made)) == ["plant"]
    assert await made.invoke(context, made.validate({"plant": "fern"})) == "fern tool_1"


async def test_a_function_that_does_not_take_the_context_is_called_without():
    made = tool(water)
    context = ToolContext(context=None, tool_call_id="tool_1", progress=print)  # type: ignore[arg-type]

    assert await made.invoke(context, made.validate({"plant": "fern", "litres": 2})) == "fern 2.0"


def test_a_schema_is_a_json_value():
    made = tool(water)

    assert json.loads(json.dumps(made.spec.schema)) == made.spec.schema


async def checks(context: ToolContext, arguments: Mapping[str, object]) -> Verification:
    return Verification(happened=None)


def checks_at_once(context: ToolContext, arguments: Mapping[str, object]) -> Verification:
    return Verification(happened=None)


@pytest.mark.parametrize(
    ("on_unknown", "verify"),
    [(OnUnknown.VERIFY, None), (OnUnknown.ASK, checks), (OnUnknown.VERIFY, checks_at_once)],
    ids=["no check", "no use for it", "not async"],
)
def test_a_check_goes_with_its_policy_and_is_async(on_unknown: OnUnknown, verify: Any):
    async def act() -> None:
        """Act."""

    with pytest.raises(ConfigurationError, match=r"act.*(verify|check)"):
        tool(act, effect=Effect.EXTERNAL, on_unknown=on_unknown, verify=verify)
    assert tool(act, on_unknown=OnUnknown.VERIFY, verify=checks).verify is checks
