"""Usage by day over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from cloche.domain.usage import Usage
from cloche.ids import RunId
from cloche.storage.usage import UsageRepository
from support.world import World


@pytest.fixture
def use(idle_world: World) -> Callable[..., Awaitable[None]]:
    """Somebody used ten tokens, so many days ago."""

    async def use(person: Any, *, days: int = 0, agent: str = "writer", model: str = "m") -> None:
        at = idle_world.clock.now() - timedelta(days=days)
        usage = Usage(input_tokens=10, output_tokens=1)
        await idle_world.database.write(
            lambda tx: UsageRepository(person.scope).record(
                tx, RunId.new(), agent=agent, model=model, step=1, usage=usage, at=at
            )
        )

    return use


async def test_one_s_own_usage_is_added_up_by_day_agent_and_model(
    ada: Any, bob: Any, use: Callable[..., Awaitable[None]], idle_world: World
):
    today = idle_world.clock.now().date()
    for options in ({}, {}, {"model": "n"}, {"days": 29}, {"days": 30}):
        await use(ada, **options)
    await use(bob)

    answer = await ada.see("/v1/usage/days")
    early = await ada.see(f"/v1/usage/days?since={today - timedelta(days=30)}&until={today - timedelta(days=1)}")

    first = today - timedelta(days=29)
    assert (answer["since"], answer["until"]) == (first.isoformat(), today.isoformat())
    assert [(line["day"], line["agent"], line["model"], line["calls"]) for line in answer["items"]] == [
        (first.isoformat(), "writer", "m", 1),
        (today.isoformat(), "writer", "m", 2),
        (today.isoformat(), "writer", "n", 1),
    ]
    assert (answer["items"][1]["input_tokens"], answer["items"][1]["output_tokens"]) == (20, 2)
    assert [line["day"] for line in early["items"]] == [
        (today - timedelta(days=30)).isoformat(),
        first.isoformat(),
    ]


async def test_a_tenant_s_usage_is_added_up_by_day_and_person(
    admin: Any, ada: Any, bob: Any, eve: Any, use: Callable[..., Awaitable[None]]
):
    for person, agent in ((ada, "writer"), (ada, "reader"), (bob, "writer"), (eve, "writer")):
        await use(person, agent=agent)

    by_agent = await admin.see("/v1/admin/usage/days")
    by_model = await admin.see("/v1/admin/usage/days?by=model")
    by_user = await admin.see("/v1/admin/usage/days?by=user")

    assert [(line["agent"], line["model"], line["user"], line["calls"]) for line in by_agent["items"]] == [
        ("reader", None, None, 1),
        ("writer", None, None, 2),
    ]
    assert [(line["agent"], line["model"], line["input_tokens"]) for line in by_model["items"]] == [(None, "m", 30)]
    assert sorted((line["user"]["email"], line["calls"]) for line in by_user["items"]) == [
        ("ada@example.org", 2),
        ("bob@example.org", 1),
    ]
    assert {line["user"]["id"] for line in by_user["items"]} == {str(ada.scope.user_id), str(bob.scope.user_id)}


@pytest.mark.parametrize("path", ["/v1/usage/days", "/v1/admin/usage/days"])
@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("since=yesterday", "query.since"),
        ("since=1700000000", "query.since"),
        ("since=2020-01-01", "query.since"),
        ("since=2999-01-01", "query.since"),
        ("since=2020-02-01&until=2020-01-01", "query.since"),
        ("until=2020-13-01", "query.until"),
    ],
)
async def test_days_that_cannot_be_are_refused(admin: Any, path: str, query: str, place: str):
    answer = await admin.get(f"{path}?{query}")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)


async def test_the_first_and_the_last_day_of_the_calendar_are_days(admin: Any):
    early = await admin.see("/v1/usage/days?until=0001-01-05")
    late = await admin.see("/v1/usage/days?until=9999-12-31")

    assert (early["since"], early["items"]) == ("0001-01-01", [])
    assert late["until"] < "9999"


async def test_days_with_too_many_lines_are_refused(
    admin: Any, use: Callable[..., Awaitable[None]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cloche.api.rest.usage.MAX_LINES", 2)
    for model in "abc":
        await use(admin, model=model)

    answers = [await admin.get(path) for path in ("/v1/usage/days", "/v1/admin/usage/days?by=model")]
    fits = await admin.get("/v1/admin/usage/days?by=agent")

    assert [answer.status_code for answer in (*answers, fits)] == [400, 400, 200]
    assert answers[0].json()["error"]["details"] == {"place": "query.since", "limit": 2}
