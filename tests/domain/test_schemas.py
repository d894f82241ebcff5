"""A value fits its schema, or every place is named at which it does not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from cloche.domain.schemas import MAX_PROBLEMS, check_fits
from cloche.errors import InvalidInputError

PAYMENT = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1},
        "to": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}},
    },
    "required": ["amount"],
    "additionalProperties": False,
}


def refusal(value: dict[str, Any], schema: dict[str, Any]) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as refused:
        check_fits(value, schema, place="$.arguments")
    assert refused.value.code == "invalid_input"
    return refused.value


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"amount": 3}, PAYMENT),
        ({"amount": 10**40, "to": None, "tags": ["a", "ü"]}, PAYMENT),
        ({"anything": [1, None, {"a": 1.5}]}, {}),
        ({"anything": 1}, {"a word that no draft has": "x"}),
        ({"child": {"child": {}}}, {"properties": {"child": {"$ref": "#"}}, "additionalProperties": False}),
    ],
)
def test_what_fits_is_taken(value: dict[str, Any], schema: dict[str, Any]):
    check_fits(value, schema, place="$.arguments")


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ({"amount": "ten"}, ["$.arguments.amount"]),
        ({"amount": 0}, ["$.arguments.amount"]),
        ({}, ["$.arguments.amount"]),
        ({"amount": 1, "currency": "EUR"}, ["$.arguments.currency"]),
        ({"amount": 1, "to": 7}, ["$.arguments.to"]),
        ({"amount": 1, "tags": ["a", 2, "too long"]}, ["$.arguments.tags[1]", "$.arguments.tags[2]"]),
        ({"amount": True, "x": 1, "y": 2}, ["$.arguments.amount", "$.arguments.x", "$.arguments.y"]),
    ],
)
def test_each_place_that_does_not_fit_is_named(value: dict[str, Any], places: list[str]):
    found = refusal(value, PAYMENT)

    problems: Any = found.details["problems"]
    assert [problem["place"] for problem in problems] == places
    assert found.details["place"] == places[0]
    assert all(f"{place}: " in found.message for place in places)


def test_what_somebody_typed_is_not_repeated():
    assert "hunter2" not in str(refusal({"amount": "hunter2"}, PAYMENT).__dict__)


def test_a_value_with_very_many_problems_is_refused_quickly_and_briefly():
    few = refusal({"amount": 1, "tags": list(range(100))}, PAYMENT)
    many = refusal({"amount": 1, "tags": list(range(100_000))}, PAYMENT)

    assert len(few.details["problems"]) == MAX_PROBLEMS  # type: ignore[arg-type]
    assert [problem["place"] for problem in many.details["problems"]] == ["$.arguments.tags[0]"]  # type: ignore[union-attr]


def test_a_pattern_that_would_take_for_ever_does_not_match():
    schema = {"properties": {"name": {"type": "string", "pattern": "^(a|a)+(?=x)$"}}}

    assert refusal({"name": "a" * 50_000 + "!"}, schema).details["place"] == "$.arguments.name"


@pytest.mark.parametrize("schema", [{"type": "banana"}, {"pattern": "("}, {"$ref": "#/nowhere"}, {"$schema": "x:y"}])
def test_a_schema_that_cannot_be_understood_takes_nothing(schema: dict[str, Any]):
    assert "cannot be understood" in refusal({}, schema).message


@pytest.mark.parametrize("scheme", ["http", "https", "file"])
def test_nothing_outside_the_schema_is_fetched(scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        refusal({}, {"$ref": f"{scheme}://127.0.0.1:{server.getsockname()[1]}/etc/hosts"})

        with pytest.raises(BlockingIOError):
            server.accept()
