"""Users and their sessions, as an administrator of their tenant handles them."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.api.wire.parts import EdgeParts
from cloche.ids import SessionId
from support.edges import closing, edges_over

PASSWORD = "correct horse battery staple"


async def another_session(stranger: Any, name: str) -> str:
    """Somebody signs in once more, as the stranger's client; the session's id."""
    signed_in = await stranger.make("/v1/auth/login", 200, email=f"{name}@example.org", password=PASSWORD)
    stranger.headers["Authorization"] = f"Bearer {signed_in['access_token']}"
    return (await stranger.see("/v1/me"))["session_id"]


async def test_users_are_listed_with_their_sessions(admin: Any, ada: Any, stranger: Any):
    await another_session(stranger, "ada")
    await admin.make("/v1/admin/users", email="carol@example.org", password=PASSWORD)

    users = {user["email"]: user for user in (await admin.see("/v1/admin/users"))["items"]}

    assert (users["ada@example.org"]["live_sessions"], users["carol@example.org"]["live_sessions"]) == (2, 0)
    assert users["carol@example.org"]["last_seen_at"] is None
    sessions = (await ada.see("/v1/sessions"))["items"]
    assert users["ada@example.org"]["last_seen_at"] == max(session["used_at"] for session in sessions)


async def test_one_session_of_a_user_is_ended_and_the_others_stay(admin: Any, ada: Any, stranger: Any):
    session_id = await another_session(stranger, "ada")
    path = f"/v1/admin/users/{ada.scope.user_id}/sessions"
    listed = await admin.see(path)

    answers = [await admin.delete(f"{path}/{session_id}") for _ in range(2)]

    assert {session["id"] for session in listed["items"]} == {session_id, str(ada.scope.session_id)}
    assert not any(session["is_current"] for session in listed["items"])
    assert [answer.status_code for answer in answers] == [204, 204]
    assert (await stranger.get("/v1/me")).json()["error"]["code"] == "session_revoked"
    assert (await ada.get("/v1/me")).status_code == 200
    assert [session["id"] for session in (await admin.see(path))["items"]] == [str(ada.scope.session_id)]
    lines = [line for line in (await admin.see("/v1/admin/audit"))["items"] if line["action"] == "session.revoked"]
    assert [(line["actor"], line["target"], line["detail"]) for line in lines] == [
        (str(admin.scope.user_id), session_id, {"user_id": str(ada.scope.user_id)})
    ]


async def test_every_session_of_a_user_is_ended_and_the_user_may_come_back(admin: Any, ada: Any, stranger: Any):
    await another_session(stranger, "ada")

    answer = await admin.delete(f"/v1/admin/users/{ada.scope.user_id}/sessions")

    assert (answer.status_code, answer.json()) == (200, {"sessions_ended": 2})
    for person in (ada, stranger):
        assert (await person.get("/v1/me")).status_code == 401
    await stranger.make("/v1/auth/login", 200, email="ada@example.org", password=PASSWORD)
    (newest, *_) = [line for line in (await admin.see("/v1/admin/audit"))["items"] if "sessions" in line["action"]]
    assert (newest["action"], newest["target"]) == ("sessions.revoked", str(ada.scope.user_id))
    assert newest["detail"] == {"sessions_ended": 2}


async def test_a_session_is_that_of_its_user_only(admin: Any, ada: Any, bob: Any, eve: Any):
    wrong = f"/v1/admin/users/{bob.scope.user_id}/sessions/{ada.scope.session_id}"
    unknown = f"/v1/admin/users/{bob.scope.user_id}/sessions/{SessionId.new()}"
    foreign = f"/v1/admin/users/{ada.scope.user_id}/sessions"

    assert [(await admin.delete(path)).status_code for path in (wrong, unknown)] == [404, 404]
    assert [(await eve.get(foreign)).status_code, (await eve.delete(foreign)).status_code] == [404, 404]
    assert (await bob.delete(foreign)).status_code == 403
    assert (await ada.get("/v1/me")).status_code == 200


@pytest.mark.parametrize("is_all", [True, False])
async def test_live_connections_of_an_ended_session_are_told_and_closed(
    services: EdgeParts, admin: Any, ada: Any, is_all: bool
):
    path = f"/v1/admin/users/{ada.scope.user_id}/sessions"
    async with edges_over(services) as edges, edges.socket(ada.signed_in.access_token) as opened:
        await opened.recv()

        await admin.delete(path if is_all else f"{path}/{ada.scope.session_id}")

        code, reason, _ = await closing(opened)

    assert (code, reason) == (4502, "session_revoked")


async def test_a_role_counts_at_once_and_a_name_is_changed(admin: Any, ada: Any):
    path = f"/v1/admin/users/{ada.scope.user_id}"
    assert (await ada.get("/v1/admin/tenant")).status_code == 403

    changed = (await admin.patch(path, json={"role": "admin", "name": "  Countess\n Ada "})).json()
    allowed = await ada.get("/v1/admin/tenant")
    back = (await admin.patch(path, json={"role": "member"})).json()
    same = (await admin.patch(path, json={"role": "member", "name": "Countess Ada"})).json()

    assert (changed["role"], changed["name"]) == ("admin", "Countess Ada")
    assert allowed.status_code == 200
    assert (back["role"], back["name"], same) == ("member", "Countess Ada", back)
    assert (await ada.get("/v1/admin/tenant")).status_code == 403
    lines = [line for line in (await admin.see("/v1/admin/audit"))["items"] if line["target"] == str(ada.scope.user_id)]
    told = [(line["action"], line["detail"]) for line in lines if line["action"].startswith("user.r")]
    assert told == [
        ("user.role_set", {"from": "admin", "to": "member"}),
        ("user.renamed", {}),
        ("user.role_set", {"from": "member", "to": "admin"}),
    ]


async def test_the_last_administrator_is_not_demoted_and_nothing_of_it_is_kept(admin: Any, ada: Any):
    path = f"/v1/admin/users/{admin.scope.user_id}"

    refused = await admin.patch(path, json={"role": "member", "name": "Nobody"})
    renamed = await admin.patch(path, json={"name": ""})
    await admin.patch(f"/v1/admin/users/{ada.scope.user_id}", json={"role": "admin"})
    demoted = await admin.patch(path, json={"role": "member"})

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert (renamed.json()["name"], renamed.json()["role"]) == ("root", "admin")
    assert demoted.json()["role"] == "member"
    assert (await admin.get("/v1/admin/tenant")).status_code == 403


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"role": "owner"}, "$.role"),
        ({"name": 7}, "$.name"),
        ({"name": "x" * 201}, "$.name"),
        ({"email": "x"}, "$.email"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(admin: Any, ada: Any, body: dict[str, object], place: str):
    answer = await admin.patch(f"/v1/admin/users/{ada.scope.user_id}", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)
