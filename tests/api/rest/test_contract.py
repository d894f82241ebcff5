"""The OpenAPI document says everything that a client needs, and what it says is so."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.openapi.models import OpenAPI

from cloche.api.rest.route import RestRoute
from cloche.api.wire.access import Public, access_of_route

EXPORTS = {"/v1/threads/{thread_id}/export", "/v1/me/export"}
WITHOUT_MODEL = {"/metrics", "/openapi.json", "/asyncapi.json", "/.well-known/jwks.json", *EXPORTS}


@pytest.fixture
async def document(stranger: Any) -> dict[str, Any]:
    return await stranger.see("/openapi.json")


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_openapi_and_is_made_once(app: FastAPI):
    OpenAPI.model_validate(app.openapi())

    assert app.openapi() is app.openapi()


async def test_every_reference_leads_somewhere(document: dict[str, Any]):
    for reference in set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document))):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


async def test_every_route_is_in_it_once_with_a_name_of_its_own(app: FastAPI, document: dict[str, Any]):
    expected = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, RestRoute)
        for method in route.methods or ()
    }
    names = [operation["operationId"] for operation in operations(document).values()]

    assert set(operations(document)) == expected
    assert len(names) == len(set(names))
    assert all(operation["summary"] and operation["tags"] for operation in operations(document).values())


async def test_every_route_says_what_it_needs_as_it_is_enforced(app: FastAPI, document: dict[str, Any]):
    found = operations(document)
    for route in app.routes:
        assert isinstance(route, RestRoute)
        access = access_of_route(route)
        for method in route.methods or ():
            operation = found[f"{method} {route.path}"]
            if isinstance(access, Public):
                assert (operation["security"], operation["x-public"]) == ([], access.reason)
            else:
                assert (operation["security"], operation["x-permission"]) == ([{"access_token": []}], str(access))
    assert document["components"]["securitySchemes"]["access_token"]["scheme"] == "bearer"


async def test_every_route_has_a_model_of_its_answer_and_of_its_errors(document: dict[str, Any]):
    for name, operation in operations(document).items():
        (success,) = [status for status in operation["responses"] if status.startswith("2")]
        answer = operation["responses"][success].get("content", {})
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "4"}

        assert "422" not in failures
        assert {"400", "503", "default"} <= set(failures)
        assert all(failure["description"] for failure in failures.values())
        for status, failure in failures.items():
            if (name, status) != ("GET /readyz", "503"):
                assert failure["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
        if success == "204":
            assert not answer
        elif name.split(" ")[1] not in WITHOUT_MODEL:
            assert "$ref" in answer["application/json"]["schema"]


async def test_bodies_refuse_what_they_do_not_know_and_say_so(document: dict[str, Any]):
    bodies = {
        operation["requestBody"]["content"]["application/json"]["schema"].get("$ref")
        for operation in operations(document).values()
        if "requestBody" in operation
    }
    schemas = document["components"]["schemas"]

    assert len(bodies) >= 8
    for reference in bodies - {None}:
        assert schemas[reference.rpartition("/")[2]]["additionalProperties"] is False


async def test_the_document_holds_no_example_of_a_secret_and_no_address(document: dict[str, Any]):
    assert "servers" not in document
    assert document["info"] == {"title": "Cloche", "version": "1.2.3"}
