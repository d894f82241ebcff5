"""The caller's own account over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloche.domain.usage import Usage
from cloche.ids import RunId
from cloche.storage.usage import UsageRepository
from support.world import World

PASSWORD = "correct horse battery staple"
OTHER = "another horse battery staple"


async def test_a_changed_password_ends_every_other_session(ada: Any, stranger: Any):
    other = await stranger.make("/v1/auth/login", 200, email="ada@example.org", password=PASSWORD)

    answer = await ada.post("/v1/me/password", json={"current_password": PASSWORD, "new_password": OTHER})
    stranger.headers["Authorization"] = f"Bearer {other['access_token']}"

    assert answer.status_code == 204
    assert (await ada.get("/v1/me")).status_code == 200
    assert (await stranger.get("/v1/me")).status_code == 401
    await stranger.make("/v1/auth/login", 200, email="ada@example.org", password=OTHER)
    await stranger.make("/v1/auth/login", 401, email="ada@example.org", password=PASSWORD)


@pytest.mark.parametrize(
    ("current", "wanted", "place"),
    [("wrong", OTHER, "$.current_password"), (PASSWORD, "short", "$.new_password"), (PASSWORD, None, "$.new_password")],
)
async def test_a_password_that_will_not_do_changes_nothing(ada: Any, current: str, wanted: str | None, place: str):
    answer = await ada.post("/v1/me/password", json={"current_password": current, "new_password": wanted})

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)
    await ada.make("/v1/auth/login", 200, email="ada@example.org", password=PASSWORD)


async def test_sessions_are_listed_and_one_of_them_can_be_ended(ada: Any, stranger: Any):
    signed_in = await stranger.post(
        "/v1/auth/login",
        json={"email": "ada@example.org", "password": PASSWORD},
        headers={"User-Agent": "Lynx\x7f/2.9"},
    )
    stranger.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"

    sessions = (await ada.see("/v1/sessions"))["items"]
    (other,) = (session for session in sessions if not session["is_current"])
    ended = await ada.delete(f"/v1/sessions/{other['id']}")

    assert len(sessions) == 2
    assert (other["user_agent"], other["address"]) == ("Lynx/2.9", "192.0.2.7")
    assert ended.status_code == 204
    assert (await stranger.get("/v1/me")).json()["error"]["code"] == "session_revoked"
    assert [session["is_current"] for session in (await ada.see("/v1/sessions"))["items"]] == [True]


async def test_agents_are_listed(ada: Any, echo: None):
    page = await ada.see("/v1/agents")

    assert page == {
        "items": [
            {
                "name": "echo",
                "version": "1",
                "description": "",
                "model": "none",
                "tools": [],
                "run_timeout_s": 600.0,
                "examples": [],
            }
        ],
        "next_cursor": None,
    }


async def test_usage_is_added_up_by_agent_and_model_since_a_time(ada: Any, bob: Any, idle_world: World):
    now = idle_world.clock.now()
    entries = [("writer", "m1", 0), ("writer", "m1", 1), ("writer", "m2", 1), ("writer", "m1", 40)]
    for agent, model, days in entries:

        async def work(tx: Any, agent: str = agent, model: str = model, days: int = days) -> None:
            await UsageRepository(ada.scope).record(
                tx,
                RunId.new(),
                agent=agent,
                model=model,
                step=1,
                usage=Usage(input_tokens=10, output_tokens=1),
                at=now - timedelta(days=days),
            )

        await idle_world.database.write(work)

    recent = await ada.see("/v1/usage")
    everything = await ada.see("/v1/usage?since=2020-01-01T00:00:00Z")

    assert [(line["model"], line["calls"], line["input_tokens"]) for line in recent["items"]] == [
        ("m1", 2, 20),
        ("m2", 1, 10),
    ]
    assert recent["total"] == {"calls": 3, "input_tokens": 30, "output_tokens": 3}
    assert everything["total"]["calls"] == 4
    assert everything["since"] == "2020-01-01T00:00:00.000Z"
    assert (await bob.see("/v1/usage"))["items"] == []


@pytest.mark.parametrize("since", ["yesterday", "2020-01-01T00:00:00", "1e400", "-1"])
async def test_a_time_without_an_offset_is_none(ada: Any, since: str):
    answer = await ada.get("/v1/usage", params={"since": since})

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, "query.since")
