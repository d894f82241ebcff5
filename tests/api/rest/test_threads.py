"""Threads over HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import to_micros
from cloche.domain.event_order import decoded
from cloche.domain.events import ThreadUpdated
from cloche.domain.runs import ExecutionState
from cloche.events.codec import decode
from cloche.execution.intake import Accepted
from cloche.ids import ThreadId
from support.world import World


async def test_a_thread_is_made_read_changed_and_deleted(ada: Any):
    made = await ada.make("/v1/threads", title="  Garden ", metadata={"colour": "green"})
    path = f"/v1/threads/{made['id']}"

    changed = await ada.patch(path, json={"title": "Glasshouse"})
    read = await ada.see(path)
    deleted = await ada.delete(path)

    assert made["title"] == "Garden"
    assert made["status"] == "idle"
    assert made["archived_at"] is None
    assert changed.json() == read
    assert (read["title"], read["metadata"]) == ("Glasshouse", {"colour": "green"})
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await ada.get(path)).status_code == 404
    assert (await ada.see("/v1/threads"))["items"] == []


async def test_a_new_thread_says_where_it_is(ada: Any):
    answer = await ada.post("/v1/threads", json={})

    assert answer.headers["Location"] == f"/v1/threads/{answer.json()['id']}"


async def test_a_new_title_is_an_event_of_the_thread_and_the_same_one_is_none(ada: Any, idle_world: World):
    made = await ada.make("/v1/threads", title="Garden")

    await ada.patch(f"/v1/threads/{made['id']}", json={"title": "Glasshouse"})
    again = await ada.patch(f"/v1/threads/{made['id']}", json={"title": "Glasshouse"})
    events = await anext(idle_world.log.follow(ada.scope, ThreadId(made["id"])))

    assert again.json()["head_seq"] == 1
    assert [decode(event.body).type for event in events] == ["thread_updated"]
    assert decoded(decode(events[0].body)) == ThreadUpdated(title="Glasshouse", status="idle")


async def test_metadata_is_replaced_as_a_whole_and_stays_when_it_is_not_named(ada: Any):
    made = await ada.make("/v1/threads", metadata={"a": 1, "b": [None, {"c": 0.5}]})
    path = f"/v1/threads/{made['id']}"

    await ada.patch(path, json={"metadata": {"d": "ä"}})
    untouched = await ada.patch(path, json={})

    assert untouched.json()["metadata"] == {"d": "ä"}


async def test_an_archived_thread_is_in_the_other_list_and_comes_back(ada: Any):
    made = await ada.make("/v1/threads")
    path = f"/v1/threads/{made['id']}"

    first = await ada.post(f"{path}/archive")
    again = await ada.post(f"{path}/archive")
    lists = [(await ada.see(f"/v1/threads?archived={archived}"))["items"] for archived in ("true", "false")]
    back = await ada.post(f"{path}/unarchive")

    assert first.json()["archived_at"] == again.json()["archived_at"] is not None
    assert [[thread["id"] for thread in items] for items in lists] == [[made["id"]], []]
    assert back.json()["archived_at"] is None


async def test_a_list_goes_on_where_its_cursor_says(ada: Any):
    made = [(await ada.make("/v1/threads", title=str(number)))["id"] for number in range(5)]
    seen: list[str] = []
    cursor = ""

    for _ in range(3):
        page = await ada.see(f"/v1/threads?limit=2{cursor}")
        seen += [thread["id"] for thread in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == made[::-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=-1", "limit=two", "limit=", "cursor=x", "archived=maybe"]
)
async def test_a_list_refuses_what_is_no_page(ada: Any, query: str):
    answer = await ada.get(f"/v1/threads?{query}")

    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["place"].rpartition(".")[2] == query.partition("=")[0]


async def test_the_cursor_of_another_list_is_refused(ada: Any, idle_world: World, echo: None):
    for _ in range(2):
        await ada.make("/v1/messages", 202, text="hello")
    cursor = (await ada.see("/v1/runs?limit=1"))["next_cursor"]

    answer = await ada.get(f"/v1/threads?cursor={cursor}")

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_cursor"


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({"title": "x" * 201}, 413, "$.title"),
        ({"title": 5}, 400, "$.title"),
        ({"title": None}, 400, "$.title"),
        ({"metadata": {"x": "y" * 16_384}}, 413, "$.metadata"),
        ({"metadata": [1]}, 400, "$.metadata"),
        ({"owner": "somebody"}, 400, "$.owner"),
        ({"user_id": "somebody"}, 400, "$.user_id"),
        ([], 400, "$"),
    ],
)
async def test_what_cannot_be_a_thread_is_refused_and_the_place_is_named(
    ada: Any, body: object, status: int, place: str
):
    answer = await ada.post("/v1/threads", json=body)

    assert answer.status_code == status
    assert answer.json()["error"]["details"]["place"] == place


async def test_a_thread_s_status_follows_its_runs(ada: Any, idle_world: World, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")

    one = await ada.see(f"/v1/threads/{sent['thread_id']}")
    listed = (await ada.see("/v1/threads"))["items"]

    assert one["status"] == listed[0]["status"] == "queued"
    assert one["title"] == "hello"


async def test_deleting_a_thread_stops_its_live_runs(ada: Any, world: World):
    async def waits(run: AgentRun) -> None:
        async def writing(write: Any) -> None:
            await write("on ")
            await asyncio.get_running_loop().create_future()

        await run.stream(writing)

    world.programs.add("waits", waits)
    sent = await ada.make("/v1/messages", 202, text="hello")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "message_delta")
    subscription, _, _ = await world.log.subscribe(ada.scope, ThreadId(sent["thread_id"]), after=accepted.seq)

    deleted = await ada.delete(f"/v1/threads/{sent['thread_id']}")
    types: list[str] = []
    with subscription:
        while "agent_cancelled" not in types:
            types += [decode(event.body).type for event in await subscription.next()]

    assert deleted.status_code == 204
    assert types[-1] == "agent_cancelled"
    assert await world.state(ada.scope, sent["run_id"]) is ExecutionState.CANCELLED


async def test_a_thread_is_unread_from_the_agent_s_first_word_until_it_is_read(ada: Any, world: World, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    await world.until(
        ada.scope, Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    )
    path = f"/v1/threads/{sent['thread_id']}"

    before = await ada.see(path)
    half = await ada.post(f"{path}/read", json={"seq": before["head_seq"] - 1})
    whole = await ada.post(f"{path}/read", json={"seq": before["head_seq"] + 100})
    back = await ada.post(f"{path}/read", json={"seq": 0})

    assert (before["read_seq"], before["unread"]) == (2, True)
    assert (half.json()["read_seq"], half.json()["unread"]) == (before["head_seq"] - 1, True)
    assert (whole.json()["read_seq"], whole.json()["unread"]) == (before["head_seq"], False)
    assert back.json() == whole.json() == await ada.see(path)
    assert (await ada.see("/v1/threads"))["items"] == [whole.json()]


async def test_one_s_own_words_and_titles_do_not_make_a_thread_unread(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    path = f"/v1/threads/{sent['thread_id']}"

    told = [await ada.see(path)]
    told.append((await ada.patch(path, json={"title": "Other"})).json())
    await ada.make(f"{path}/messages", 202, text="more")
    told.append(await ada.see(path))
    await ada.post(f"/v1/runs/{sent['run_id']}/cancel")
    told.append(await ada.see(path))
    await ada.post(f"/v1/runs/{sent['run_id']}/retry")
    told.append((await ada.patch(path, json={"title": "Third"})).json())

    assert [(one["head_seq"], one["read_seq"], one["unread"]) for one in told] == [
        (2, 2, False),
        (3, 3, False),
        (5, 5, False),
        (6, 5, True),
        (8, 5, True),
    ]


@pytest.mark.parametrize("body", [{}, {"seq": -1}, {"seq": "x"}, {"seq": 1.5}, {"seq": None}, {"seq": 2**60}])
async def test_a_read_mark_is_a_number_of_an_event(ada: Any, body: dict[str, object]):
    made = await ada.make("/v1/threads")

    refused = await ada.post(f"/v1/threads/{made['id']}/read", json=body)

    assert (refused.status_code, refused.json()["error"]["details"]["place"]) == (400, "$.seq")


async def test_a_delete_is_taken_back_and_its_runs_stay_cancelled(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    path = f"/v1/threads/{sent['thread_id']}"
    await ada.delete(path)
    gone = await ada.get(path)

    restored = await ada.post(f"{path}/restore")
    again = await ada.post(f"{path}/restore")

    assert (gone.status_code, restored.status_code) == (404, 200)
    assert restored.json() == again.json() == await ada.see(path)
    assert restored.json()["status"] == "idle"
    assert [thread["id"] for thread in (await ada.see("/v1/threads"))["items"]] == [sent["thread_id"]]
    assert (await ada.see(f"/v1/runs/{sent['run_id']}"))["state"] == "cancelled"
    assert len((await ada.see(f"{path}/messages"))["items"]) == 1


@pytest.mark.parametrize(("hours", "status"), [(23, 200), (25, 404)])
async def test_a_delete_is_taken_back_for_a_day(ada: Any, idle_world: World, hours: int, status: int):
    made = await ada.make("/v1/threads")
    await ada.delete(f"/v1/threads/{made['id']}")
    at = to_micros(idle_world.clock.now() - timedelta(hours=hours))
    await idle_world.database.write(
        lambda tx: tx.execute("UPDATE threads SET deleted_at = ? WHERE id = ?", at, made["id"])
    )

    answer = await ada.post(f"/v1/threads/{made['id']}/restore")

    assert answer.status_code == status
