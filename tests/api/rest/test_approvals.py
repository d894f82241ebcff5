"""Approvals over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.execution.intake import Accepted
from cloche.tools.tool import tool
from support.world import World


async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.fixture
async def asked(ada: Any, world: World) -> tuple[Accepted, dict[str, Any]]:
    """A run of Ada's that waits for a yes to paying 10."""

    async def agent(run: AgentRun) -> str:
        return str((await run.call_tool("pay", amount=10)).value)

    world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
    sent = await ada.make("/v1/messages", 202, text="pay")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "approval_requested")
    (approval,) = (await ada.see("/v1/approvals"))["items"]
    return accepted, approval


async def test_what_waits_for_a_person_can_be_listed_and_read(ada: Any, asked: tuple[Accepted, dict[str, Any]]):
    accepted, approval = asked

    assert (approval["run_id"], approval["tool"], approval["state"]) == (accepted.run_id, "pay", "pending")
    assert approval["arguments"] == {"amount": 10}
    assert approval["argument_schema"]["properties"]["amount"]["type"] == "integer"
    assert await ada.see(f"/v1/approvals/{approval['id']}") == approval


async def test_a_yes_lets_the_run_go_on_with_the_edited_arguments(
    ada: Any, world: World, asked: tuple[Accepted, dict[str, Any]]
):
    accepted, approval = asked

    answer = await ada.post(
        f"/v1/approvals/{approval['id']}/decide", json={"decision": "approve", "arguments": {"amount": 3}}
    )
    await world.until(ada.scope, accepted)
    messages = (await ada.see(f"/v1/threads/{accepted.thread_id}/messages"))["items"]

    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["edited_arguments"]) == ("approved", {"amount": 3})
    assert answer.json()["decided_by"] == str(ada.scope.user_id)
    assert messages[0]["parts"][0]["text"] == "paid 3"
    assert (await ada.see("/v1/approvals"))["items"] == []
    assert [one["id"] for one in (await ada.see("/v1/approvals?state=all"))["items"]] == [approval["id"]]


async def test_the_first_decision_counts(ada: Any, asked: tuple[Accepted, dict[str, Any]]):
    path = f"/v1/approvals/{asked[1]['id']}/decide"

    first = await ada.post(path, json={"decision": "deny"})
    second = await ada.post(path, json={"decision": "approve"})

    assert first.json()["state"] == "denied"
    assert (second.status_code, second.json()["error"]["code"]) == (409, "already_decided")
    assert second.json()["error"]["details"]["state"] == "denied"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "$.decision"),
        ({"decision": "maybe"}, "$.decision"),
        ({"decision": "approve", "arguments": [1]}, "$.arguments"),
        ({"decision": "deny", "arguments": {}}, "$.arguments"),
        ({"decision": "approve", "by": "somebody"}, "$.by"),
        ({"decision": "approve", "arguments": {"amount": "three"}}, "$.arguments.amount"),
        ({"decision": "approve", "arguments": {}}, "$.arguments.amount"),
        ({"decision": "approve", "arguments": {"amount": 3, "to": "eve"}}, "$.arguments.to"),
    ],
)
async def test_a_decision_is_a_yes_or_a_no(
    ada: Any, asked: tuple[Accepted, dict[str, Any]], body: dict[str, object], place: str
):
    path = f"/v1/approvals/{asked[1]['id']}"

    answer = await ada.post(f"{path}/decide", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)
    assert (await ada.see(path))["state"] == "pending"


async def test_a_colleague_cannot_decide(ada: Any, bob: Any, asked: tuple[Accepted, dict[str, Any]]):
    path = f"/v1/approvals/{asked[1]['id']}"

    answer = await bob.post(f"{path}/decide", json={"decision": "approve"})

    assert answer.status_code == 404
    assert (await ada.see(path))["state"] == "pending"
    assert (await bob.see("/v1/approvals?state=all"))["items"] == []
