"""An approval given to somebody else over HTTP: that person may decide it, and sees nothing besides."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, UserId
from cloche.tools.tool import tool
from support.world import World

SECRET = "what only Ada may read"


async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@pytest.fixture
async def asked(ada: Any, world: World) -> tuple[Accepted, str]:
    """A run of Ada's that waits for a yes, and the approval."""

    async def agent(run: AgentRun) -> str:
        return str((await run.call_tool("pay", amount=10)).value)

    world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
    sent = await ada.make("/v1/messages", 202, text=SECRET)
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "approval_requested")
    return accepted, (await ada.see("/v1/approvals"))["items"][0]["id"]


def name_of(person: Any, how: str) -> dict[str, str]:
    email = person.signed_in.principal.email
    return {"user_id": str(person.scope.user_id)} if how == "id" else {"email": f" {email.upper()} "}


async def actions(admin: Any) -> list[tuple[str, str, str, dict[str, Any]]]:
    lines = (await admin.see("/v1/admin/audit"))["items"]
    return [
        (line["actor"], line["action"], line["target"], line["detail"])
        for line in reversed(lines)
        if line["action"].startswith("approval.")
    ]


@pytest.mark.parametrize("how", ["id", "email"])
async def test_who_was_given_an_approval_sees_it_with_who_asks(
    ada: Any, bob: Any, asked: tuple[Accepted, str], how: str
):
    _, approval_id = asked

    given = await ada.make(f"/v1/approvals/{approval_id}/delegate", 200, **name_of(bob, how))

    assert given["delegate"] == {"user_id": str(bob.scope.user_id), "name": "bob", "email": "bob@example.org"}
    assert given["asked_by"] == {"user_id": str(ada.scope.user_id), "name": "ada", "email": "ada@example.org"}
    assert await bob.see(f"/v1/approvals/{approval_id}") == given
    for person in (ada, bob):
        assert (await person.see("/v1/approvals"))["items"] == [given]


async def test_the_delegate_sees_nothing_else_of_the_thread_or_the_run(ada: Any, bob: Any, asked: tuple[Accepted, str]):
    accepted, approval_id = asked
    await ada.make(f"/v1/approvals/{approval_id}/delegate", 200, **name_of(bob, "id"))

    for path in (
        f"threads/{accepted.thread_id}",
        f"threads/{accepted.thread_id}/messages",
        f"runs/{accepted.run_id}",
    ):
        assert (await bob.get(f"/v1/{path}")).status_code == 404, path
    assert (await bob.post(f"/v1/runs/{accepted.run_id}/cancel")).status_code == 404
    assert (await bob.post(f"/v1/threads/{accepted.thread_id}/messages", json={"text": "hi"})).status_code == 404
    for path in ("threads", "runs"):
        assert (await bob.see(f"/v1/{path}"))["items"] == []
    assert SECRET not in (await bob.get(f"/v1/approvals/{approval_id}")).text


async def test_the_delegate_decides_and_the_run_goes_on_as_its_own_user_s(
    ada: Any, bob: Any, admin: Any, world: World, asked: tuple[Accepted, str]
):
    accepted, approval_id = asked
    await ada.make(f"/v1/approvals/{approval_id}/delegate", 200, **name_of(bob, "email"))

    decided = await bob.make(f"/v1/approvals/{approval_id}/decide", 200, decision="approve", arguments={"amount": 3})
    await world.until(ada.scope, accepted)
    messages = (await ada.see(f"/v1/threads/{accepted.thread_id}/messages"))["items"]
    late = await ada.post(f"/v1/approvals/{approval_id}/decide", json={"decision": "deny"})

    bob_id, ada_id = str(bob.scope.user_id), str(ada.scope.user_id)
    assert (decided["state"], decided["decided_by"]) == ("approved", bob_id)
    assert messages[0]["parts"][0]["text"] == "paid 3"
    assert (late.status_code, late.json()["error"]["details"]) == (409, {"state": "approved", "decided_by": bob_id})
    assert await actions(admin) == [
        (ada_id, "approval.delegated", approval_id, {"to": bob_id}),
        (bob_id, "approval.decided", approval_id, {"decision": "approve", "for": ada_id}),
    ]
    assert (await bob.see("/v1/approvals?state=all"))["items"] == [decided]
    assert (await bob.get(f"/v1/runs/{accepted.run_id}")).status_code == 404


async def test_the_owner_may_still_decide(ada: Any, bob: Any, asked: tuple[Accepted, str]):
    path = f"/v1/approvals/{asked[1]}"
    await ada.make(f"{path}/delegate", 200, **name_of(bob, "id"))

    first = await ada.post(f"{path}/decide", json={"decision": "deny"})
    second = await bob.post(f"{path}/decide", json={"decision": "approve"})

    assert first.json()["decided_by"] == str(ada.scope.user_id)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "already_decided")
    assert second.json()["error"]["details"]["decided_by"] == str(ada.scope.user_id)


async def test_what_was_taken_back_is_gone_for_the_delegate(
    ada: Any, bob: Any, admin: Any, asked: tuple[Accepted, str]
):
    path = f"/v1/approvals/{asked[1]}"
    await ada.make(f"{path}/delegate", 200, **name_of(bob, "id"))

    taken = [await ada.delete(f"{path}/delegate") for _ in range(2)]

    assert [answer.status_code for answer in taken] == [204, 204]
    assert (await bob.get(path)).status_code == 404
    assert (await bob.post(f"{path}/decide", json={"decision": "approve"})).status_code == 404
    assert (await ada.see(path))["delegate"] is None
    assert [line[1] for line in await actions(admin)] == ["approval.delegated", "approval.taken_back"]


async def test_an_approval_is_given_to_one_user_at_a_time(ada: Any, bob: Any, admin: Any, asked: tuple[Accepted, str]):
    path = f"/v1/approvals/{asked[1]}"
    for person in (bob, bob, admin):
        await ada.make(f"{path}/delegate", 200, **name_of(person, "id"))

    assert (await bob.get(path)).status_code == 404
    assert (await admin.get(path)).status_code == 200
    assert [line[3]["to"] for line in await actions(admin)] == [str(bob.scope.user_id), str(admin.scope.user_id)]


async def test_a_delegate_passes_nothing_on(ada: Any, bob: Any, admin: Any, asked: tuple[Accepted, str]):
    path = f"/v1/approvals/{asked[1]}/delegate"
    await ada.make(path, 200, **name_of(bob, "id"))

    passed, returned = await bob.post(path, json=name_of(admin, "id")), await bob.delete(path)

    assert [answer.status_code for answer in (passed, returned)] == [403, 403]
    assert (await ada.see(f"/v1/approvals/{asked[1]}"))["delegate"]["name"] == "bob"


async def test_nobody_can_tell_why_somebody_cannot_be_a_delegate(
    ada: Any, bob: Any, eve: Any, admin: Any, asked: tuple[Accepted, str]
):
    path = f"/v1/approvals/{asked[1]}"
    assert (await admin.post(f"/v1/admin/users/{bob.scope.user_id}/disable")).status_code == 200
    wanted = [
        {"user_id": str(bob.scope.user_id)},
        {"user_id": str(eve.scope.user_id)},
        {"user_id": str(UserId.new())},
        {"email": "bob@example.org"},
        {"email": "eve@example.org"},
        {"email": "nobody@example.org"},
    ]

    answers = [await ada.post(f"{path}/delegate", json=body) for body in wanted]

    assert {answer.status_code for answer in answers} == {400}
    told = [answer.json()["error"] for answer in answers]
    assert {(error["code"], error["message"]) for error in told} == {
        ("invalid_input", "nobody of this name in the tenant can decide")
    }
    assert [error["details"] for error in told] == [{"place": f"$.{next(iter(body))}"} for body in wanted]
    assert (await ada.see(path))["delegate"] is None
    assert await actions(admin) == []


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        ({}, "invalid_input", "$"),
        ({"email": "a@example.org", "user_id": str(UserId.new())}, "invalid_input", "$"),
        ({"email": "ada@example.org"}, "invalid_input", "$.email"),
        ({"email": "nobody"}, "invalid_input", "$.email"),
        ({"user_id": "bob"}, "invalid_id", "$.user_id"),
        ({"user_id": str(ApprovalId.new())}, "invalid_id", "$.user_id"),
        ({"email": 7}, "invalid_input", "$.email"),
        ({"email": "a@example.org", "until": "then"}, "invalid_input", "$.until"),
    ],
)
async def test_a_delegate_is_another_user_named_once(
    ada: Any, asked: tuple[Accepted, str], body: dict[str, object], code: str, place: str
):
    answer = await ada.post(f"/v1/approvals/{asked[1]}/delegate", json=body)

    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["details"]["place"]) == (code, place)


async def test_what_is_decided_is_given_to_nobody(ada: Any, bob: Any, asked: tuple[Accepted, str]):
    path = f"/v1/approvals/{asked[1]}"
    await ada.make(f"{path}/decide", 200, decision="deny")

    for answer in (
        await ada.post(f"{path}/delegate", json=name_of(bob, "id")),
        await ada.delete(f"{path}/delegate"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_decided")
    assert (await bob.get(path)).status_code == 404


async def test_a_colleague_or_a_stranger_cannot_give_it_to_anybody(
    bob: Any, eve: Any, ada: Any, asked: tuple[Accepted, str]
):
    for person in (bob, eve):
        for approval_id in (asked[1], str(ApprovalId.new())):
            path = f"/v1/approvals/{approval_id}/delegate"

            assert (await person.post(path, json=name_of(person, "id"))).status_code == 404
            assert (await person.delete(path)).status_code == 404
    assert (await ada.see(f"/v1/approvals/{asked[1]}"))["delegate"] is None


async def test_a_delegate_who_was_disabled_meanwhile_decides_nothing(
    ada: Any, bob: Any, admin: Any, asked: tuple[Accepted, str]
):
    path = f"/v1/approvals/{asked[1]}"
    await ada.make(f"{path}/delegate", 200, **name_of(bob, "id"))
    await admin.post(f"/v1/admin/users/{bob.scope.user_id}/disable")

    answer = await bob.post(f"{path}/decide", json={"decision": "approve"})

    assert answer.status_code == 401
    assert (await ada.see(path))["state"] == "pending"


async def test_a_delegate_without_the_permission_decides_nothing(
    ada: Any, bob: Any, switches: Any, asked: tuple[Accepted, str]
):
    path = f"/v1/approvals/{asked[1]}"
    await ada.make(f"{path}/delegate", 200, **name_of(bob, "id"))
    switches.granted = frozenset({"runs:read"})

    answer = await bob.post(f"{path}/decide", json={"decision": "approve"})

    assert answer.status_code == 403
    assert (await ada.see(path))["state"] == "pending"
