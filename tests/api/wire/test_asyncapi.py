from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cloche.api.wire.asyncapi import asyncapi_document
from cloche.api.wire.frames import OPERATIONS
from cloche.domain.events import EVENTS


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def find(document: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = json.loads(json.dumps(asyncapi_document("1.2.3")))
    found = list(references(document))

    assert document["asyncapi"].startswith("3.")
    assert document["info"]["version"] == "1.2.3"
    assert found
    for reference in found:
        find(document, reference)


def test_every_operation_and_every_event_is_described() -> None:
    document = asyncapi_document("1")
    schemas: Any = document["components"]
    kinds = {schema["$ref"].rsplit("/", 1)[1] for schema in schemas["schemas"]["Event"]["oneOf"]}
    types = {schemas["schemas"][kind]["properties"]["type"]["const"] for kind in kinds}

    assert types == {event.type for event in EVENTS}
    assert {kind.__struct_config__.tag for kind in OPERATIONS} < set(document["operations"])  # type: ignore[call-overload]


def test_the_close_codes_are_those_of_the_table() -> None:
    codes: Any = asyncapi_document("1")["x-close-codes"]
    by_code = {entry["code"]: entry for entry in codes}

    assert by_code[4408] == {"code": 4408, "come_back": True, "errors": ["slow_consumer"]}
    assert by_code[4502]["come_back"] is False
