"""Administration over HTTP: of the own tenant only, and without anybody's content."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.api.wire.parts import EdgeParts
from cloche.execution.intake import Accepted
from cloche.ids import RunId, UserId
from support.world import World

PASSWORD = "correct horse battery staple"
SECRET = "what nobody else may read"
ADMIN_PATHS = ["/v1/admin/users", "/v1/admin/runs", "/v1/admin/tenant", "/v1/admin/audit", "/metrics"]


@pytest.mark.parametrize("path", ADMIN_PATHS)
async def test_a_member_administers_nothing(ada: Any, path: str):
    answer = await ada.get(path)

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
    assert answer.json()["error"]["details"]["permission"].startswith(("admin:", "metrics:"))


async def test_a_member_makes_nobody_and_disables_nobody(ada: Any, bob: Any):
    body = {"email": "x@example.org", "password": PASSWORD, "role": "admin"}

    assert (await ada.post("/v1/admin/users", json=body)).status_code == 403
    assert (await ada.post(f"/v1/admin/users/{bob.scope.user_id}/disable")).status_code == 403
    assert (await bob.get("/v1/me")).status_code == 200


async def test_a_user_is_added_disabled_and_enabled(admin: Any, stranger: Any):
    made = await admin.make("/v1/admin/users", email="Carol@example.org", password=PASSWORD, name="Carol")
    signed_in = await stranger.make("/v1/auth/login", 200, email="carol@example.org", password=PASSWORD)
    stranger.headers["Authorization"] = f"Bearer {signed_in['access_token']}"

    disabled = await admin.make(f"/v1/admin/users/{made['id']}/disable", 200)
    refused = await stranger.get("/v1/me")
    await stranger.make("/v1/auth/login", 401, email="carol@example.org", password=PASSWORD)
    enabled = await admin.make(f"/v1/admin/users/{made['id']}/enable", 200)

    assert (made["email"], made["role"], made["status"]) == ("carol@example.org", "member", "active")
    assert (disabled["status"], enabled["status"]) == ("disabled", "active")
    assert refused.json()["error"]["code"] == "session_revoked"
    await stranger.make("/v1/auth/login", 200, email="carol@example.org", password=PASSWORD)


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({"email": "x", "password": PASSWORD}, 400, "$.email"),
        ({"email": "x@example.org", "password": "short"}, 400, "$.password"),
        ({"email": "x@example.org", "password": PASSWORD, "role": "owner"}, 400, "$.role"),
        ({"email": "x@example.org", "password": PASSWORD, "tenant": "elsewhere"}, 400, "$.tenant"),
        ({"email": "root@example.org", "password": PASSWORD}, 409, "$.email"),
    ],
)
async def test_a_user_who_cannot_be_is_refused(admin: Any, body: dict[str, object], status: int, place: str):
    answer = await admin.post("/v1/admin/users", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (status, place)


async def test_the_last_administrator_stays(admin: Any):
    answer = await admin.post(f"/v1/admin/users/{admin.scope.user_id}/disable")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


async def test_users_are_listed_page_by_page(admin: Any, ada: Any, bob: Any, eve: Any):
    first = await admin.see("/v1/admin/users?limit=2")
    second = await admin.see(f"/v1/admin/users?limit=2&cursor={first['next_cursor']}")

    emails = [user["email"] for page in (first, second) for user in page["items"]]
    assert sorted(emails) == ["ada@example.org", "bob@example.org", "root@example.org"]
    assert second["next_cursor"] is None


async def test_a_user_of_another_tenant_is_like_one_that_does_not_exist(eve: Any, ada: Any):
    answers = [await eve.post(f"/v1/admin/users/{user_id}/disable") for user_id in (ada.scope.user_id, UserId.new())]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert (await ada.get("/v1/me")).status_code == 200


async def test_runs_are_listed_for_the_whole_tenant_without_a_word_of_their_content(
    admin: Any, ada: Any, bob: Any, eve: Any, world: World, echo: None
):
    sent = [await person.make("/v1/messages", 202, text=SECRET) for person in (ada, bob, ada, eve)]
    for person, one in zip((ada, bob, ada, eve), sent, strict=True):
        accepted = Accepted(**{name: one[name] for name in ("thread_id", "message_id", "run_id", "seq")})
        await world.until(person.scope, accepted)

    first = await admin.get("/v1/admin/runs?limit=2")
    second = await admin.get(f"/v1/admin/runs?limit=2&cursor={first.json()['next_cursor']}")

    runs = first.json()["items"] + second.json()["items"]
    assert [run["id"] for run in runs] == [one["run_id"] for one in reversed(sent[:3])]
    assert second.json()["next_cursor"] is None
    assert {run["user_id"] for run in runs} == {str(ada.scope.user_id), str(bob.scope.user_id)}
    assert SECRET not in first.text + second.text
    assert set(first.json()["live"].values()) == {0}


async def test_live_runs_are_counted_for_the_own_tenant(admin: Any, ada: Any, bob: Any, eve: Any, echo: None):
    for person in (ada, ada, bob, eve):
        await person.make("/v1/messages", 202, text="hello")
    cancelled = await ada.make("/v1/messages", 202, text="hello")
    await ada.post(f"/v1/runs/{cancelled['run_id']}/cancel")

    own, other = [(await person.see("/v1/admin/runs"))["live"] for person in (admin, eve)]

    assert own == {
        "pending": 3,
        "starting": 0,
        "running": 0,
        "waiting": 0,
        "completing": 0,
        "cancelling": 0,
    }
    assert other["pending"] == 1


@pytest.mark.slow
async def test_a_tenant_of_many_users_and_a_user_of_many_runs_are_counted_to_the_end(
    admin: Any, ada: Any, idle_world: World, services: EdgeParts, echo: None
):
    await idle_world.send(ada.scope)
    for _ in range(100):
        sent = await idle_world.send(ada.scope)
        await idle_world.cancellation.cancel(ada.scope, RunId(sent.run_id))
    for number in range(100):
        await services.sign_in.users.add_user(f"user{number}@example.org", PASSWORD, "member", "acme")

    page = await admin.see("/v1/admin/runs?limit=1")

    assert page["live"]["pending"] == 1
    assert page["next_cursor"] is not None


async def test_the_tenant_is_the_own_one(admin: Any, eve: Any):
    own, other = [await person.see("/v1/admin/tenant") for person in (admin, eve)]

    assert (own["slug"], own["status"], other["slug"]) == ("acme", "active", "elsewhere")


async def test_the_trail_tells_who_did_what_to_whom(admin: Any, ada: Any, eve: Any):
    await admin.post(f"/v1/admin/users/{ada.scope.user_id}/disable")

    newest = (await admin.see("/v1/admin/audit?limit=1"))["items"][0]
    elsewhere = await eve.see("/v1/admin/audit?limit=100")

    assert (newest["action"], newest["actor"]) == ("user.disabled", str(admin.scope.user_id))
    assert newest["target"] == str(ada.scope.user_id)
    assert str(ada.scope.user_id) not in {line["target"] for line in elsewhere["items"]}


async def test_the_trail_is_looked_through_by_who_what_and_when(admin: Any, ada: Any):
    await admin.post(f"/v1/admin/users/{ada.scope.user_id}/disable")
    newest = (await admin.see("/v1/admin/audit?limit=1"))["items"][0]

    async def actions(query: str) -> list[str]:
        return [line["action"] for line in (await admin.see(f"/v1/admin/audit?{query}"))["items"]]

    assert await actions(f"actor={admin.scope.user_id}&action=user.") == ["user.disabled"]
    assert set(await actions("action=session.")) == {"session.opened"}
    assert (await actions(f"since={newest['at']}"))[0] == "user.disabled"
    assert await actions("since=2999-01-01T00:00:00Z") == []
    first = await admin.see("/v1/admin/audit?action=session.&limit=1")
    second = await admin.see(f"/v1/admin/audit?action=session.&limit=1&cursor={first['next_cursor']}")
    assert first["items"] != second["items"]
    assert (await admin.get("/v1/admin/audit?since=yesterday")).status_code == 400
