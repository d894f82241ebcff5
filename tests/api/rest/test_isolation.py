"""Another's object is answered exactly as one that does not exist, on every route that takes an id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI

from cloche.agents.function import AgentRun
from cloche.api.rest.route import RestRoute
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, MessageId, RunId, SessionId, ThreadId, UserId
from cloche.tools.tool import tool
from support.world import World

FRESH = {"thread_id": ThreadId, "run_id": RunId, "approval_id": ApprovalId, "session_id": SessionId, "user_id": UserId}
BODIES = {
    "send_message": {"text": "hello"},
    "decide_approval": {"decision": "approve"},
    "delegate_approval": {"email": "eve@example.org"},
    "branch_thread": {"message_id": str(MessageId.new())},
    "mark_thread_read": {"seq": 1},
    "update_thread": {"title": "mine now"},
    "update_user": {"name": "mine now"},
}
SECRET = "what nobody else may read"


@pytest.fixture
async def owned(ada: Any, world: World) -> dict[str, str]:
    """One of everything that is Ada's, by the name of the path's parameter."""

    async def pay() -> None:
        """Pay."""

    async def agent(run: AgentRun) -> None:
        await run.call_tool("pay")

    world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
    sent = await ada.make("/v1/messages", 202, text=SECRET)
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "approval_requested")
    return {
        "thread_id": sent["thread_id"],
        "run_id": sent["run_id"],
        "approval_id": (await ada.see("/v1/approvals"))["items"][0]["id"],
        "session_id": str(ada.scope.session_id),
        "user_id": str(ada.scope.user_id),
    }


def routes_with_ids(app: FastAPI) -> list[tuple[str, str, str, str]]:
    return [
        (method, route.path, next(name for name in FRESH if f"{{{name}}}" in route.path), str(route.operation_id))
        for route in app.routes
        if isinstance(route, RestRoute) and "{" in route.path
        for method in sorted(route.methods or ())
    ]


def face_of(answer: Any) -> tuple[int, Any, dict[str, str]]:
    """What a client can tell one answer from another by, but for the request's own id."""
    body = json.loads(answer.text.replace(answer.headers["X-Request-Id"], ""))
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, body, headers


async def test_a_foreign_id_is_answered_like_a_missing_one_by_every_route(
    app: FastAPI, owned: dict[str, str], bob: Any, eve: Any, ada: Any
):
    for method, template, name, operation in routes_with_ids(app):
        # The id that comes last in the path is the one that is foreign, those before it are its owner's.
        path = template.format(**{**owned, name: f"{{{name}}}"})
        people = [eve] if path.startswith("/v1/admin/") else [bob, eve]
        for person in people:
            foreign, missing = [
                await person.request(method, path.replace(f"{{{name}}}", id_), json=BODIES.get(operation))
                if method != "GET"
                else await person.get(path.replace(f"{{{name}}}", id_))
                for id_ in (owned[name], FRESH[name].new())
            ]

            assert foreign.status_code == 404, (method, path)
            assert face_of(foreign) == face_of(missing), (method, path)
    assert (await ada.see(f"/v1/runs/{owned['run_id']}"))["state"] == "waiting"
    assert (await ada.see(f"/v1/threads/{owned['thread_id']}"))["title"] == SECRET


@pytest.mark.parametrize("path", ["threads", "runs", "approvals?state=all", "sessions", "usage", f"search?q={SECRET}"])
async def test_lists_hold_only_what_is_one_s_own(owned: dict[str, str], bob: Any, eve: Any, path: str):
    for person in (bob, eve):
        answer = await person.get(f"/v1/{path}")

        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert not [id_ for id_ in owned.values() if id_ in answer.text]


async def test_another_s_message_cannot_be_sent_on_with_their_client_id(ada: Any, bob: Any, echo: None):
    first = await ada.make("/v1/messages", 202, text="hello", client_message_id="one")
    second = await bob.make("/v1/messages", 202, text="hello", client_message_id="one")

    assert first["run_id"] != second["run_id"]
    assert second["replayed"] is False


async def test_a_wrong_kind_of_id_is_named_and_its_owner_does_not_matter(
    app: FastAPI, owned: dict[str, str], ada: Any, bob: Any
):
    for person in (ada, bob):
        answer = await person.get(f"/v1/threads/{owned['run_id']}")

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_id"
        assert answer.json()["error"]["message"] == "expected a thread id, got a run id"
        assert answer.json()["error"]["details"] == {"expected": "thread", "got": "run", "place": "path.thread_id"}


@pytest.mark.parametrize("text", ["x", "thread_", "1", "%27", "..%5c", "thread_" + "z" * 26, "x" * 5000, "%E2%80%AE"])
async def test_what_is_no_id_is_refused(app: FastAPI, ada: Any, admin: Any, text: str):
    for method, template, name, operation in routes_with_ids(app):
        path = template.format(**{**{one: kind.new() for one, kind in FRESH.items()}, name: f"{{{name}}}"})
        person = admin if path.startswith("/v1/admin/") else ada

        answer = await person.request(method, path.replace(f"{{{name}}}", text), json=BODIES.get(operation))

        assert answer.status_code == 400, (method, path)
        assert answer.json()["error"]["code"] == "invalid_id"
        assert answer.json()["error"]["details"]["place"] == f"path.{name}"


@pytest.mark.parametrize("text", ["%00", "%0a", "%ff", "a%2fb", "../../etc/passwd", "a/b"])
async def test_a_path_that_is_none_of_ours_is_refused_in_the_same_shape(ada: Any, text: str):
    answer = await ada.get(f"/v1/threads/{text}")

    assert answer.status_code in {400, 404}
    assert set(answer.json()["error"]) == {"code", "message", "retryable", "details", "request_id"}
