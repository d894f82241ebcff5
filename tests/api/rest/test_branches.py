"""Branches over HTTP: going on from an earlier message."""

from __future__ import annotations

from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.execution.intake import Accepted
from cloche.ids import MessageId, RunId, ThreadId
from support.world import World


def accepted_of(answer: dict[str, Any]) -> Accepted:
    return Accepted(**{name: answer[name] for name in ("thread_id", "message_id", "run_id", "seq")})


@pytest.fixture
async def talk(ada: Any, world: World) -> tuple[str, list[dict[str, Any]]]:
    """A thread of two questions with their answers, and its messages."""

    async def agent(run: AgentRun) -> str:
        return f"{len(await run.history())}: {run.text}"

    world.programs.add("agent", agent)
    first = await ada.make("/v1/messages", 202, text="one")
    await world.until(ada.scope, accepted_of(first))
    thread = first["thread_id"]
    await world.until(ada.scope, accepted_of(await ada.make(f"/v1/threads/{thread}/messages", 202, text="two")))
    return thread, (await ada.see(f"/v1/threads/{thread}/messages"))["items"][::-1]


def texts_of(page: dict[str, Any]) -> list[str]:
    return [message["parts"][0]["text"] for message in page["items"][::-1]]


async def test_a_branch_goes_on_from_an_earlier_message(ada: Any, world: World, talk: tuple[str, list[dict[str, Any]]]):
    thread, messages = talk

    answer = await ada.post(f"/v1/threads/{thread}/branch", json={"message_id": messages[2]["id"]})
    branch = answer.json()
    sent = await ada.make(f"/v1/threads/{branch['id']}/messages", 202, text="another two")
    await world.until(ada.scope, accepted_of(sent))

    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/threads/{branch['id']}")
    assert branch["branched_from"] == {"thread_id": thread, "message_id": messages[2]["id"]}
    assert (branch["title"], branch["status"], branch["head_seq"], branch["first_seq"]) == ("one", "idle", 2, 3)
    assert texts_of(await ada.see(f"/v1/threads/{branch['id']}/messages")) == [
        "one",
        "0: one",
        "another two",
        "2: another two",
    ]
    assert len((await ada.see(f"/v1/threads/{thread}/messages"))["items"]) == 4
    assert (await ada.see(f"/v1/threads/{thread}"))["branched_from"] is None


async def test_a_follower_of_a_branch_gets_the_copies_as_a_snapshot(
    ada: Any, world: World, talk: tuple[str, list[dict[str, Any]]]
):
    thread, messages = talk
    branch = await ada.make(f"/v1/threads/{thread}/branch", message_id=messages[2]["id"], title=" Other ")

    subscription, opening, snapshot = await world.log.subscribe(ada.scope, ThreadId(branch["id"]))
    subscription.close()

    assert branch["title"] == "Other"
    assert (opening.recovered, opening.from_seq, opening.head_seq) == (False, 3, 2)
    assert snapshot is not None
    assert [(message.parts[0].text, message.run_id) for message in snapshot.messages] == [
        ("one", None),
        ("0: one", None),
    ]


async def test_a_thread_shows_its_branches_and_a_branch_its_siblings(ada: Any, talk: tuple[str, list[dict[str, Any]]]):
    thread, messages = talk
    one, two, gone = [
        await ada.make(f"/v1/threads/{thread}/branch", message_id=messages[2]["id"], title=title)
        for title in ("b1", "b2", "b3")
    ]
    copied = (await ada.see(f"/v1/threads/{one['id']}/messages"))["items"][-1]
    child = await ada.make(f"/v1/threads/{one['id']}/branch", message_id=copied["id"], title="b1.1")
    await ada.delete(f"/v1/threads/{gone['id']}")

    of_origin, of_one, of_child = [
        (await ada.see(f"/v1/threads/{each}/branches"))["items"] for each in (thread, one["id"], child["id"])
    ]

    assert [item["title"] for item in of_origin] == ["b1", "b2"]
    assert of_origin[0] == {
        "thread_id": one["id"],
        "title": "b1",
        "branched_from": {"thread_id": thread, "message_id": messages[2]["id"]},
        "created_at": one["created_at"],
    }
    assert [item["title"] for item in of_one] == ["b1", "b2", "b1.1"]
    assert [item["title"] for item in of_child] == ["b1.1"]
    listed = {item["id"]: item["branched_from"] for item in (await ada.see("/v1/threads"))["items"]}
    assert listed[two["id"]] == of_origin[1]["branched_from"]


async def test_a_branch_begins_before_a_person_s_message_of_that_thread(
    ada: Any, bob: Any, talk: tuple[str, list[dict[str, Any]]]
):
    thread, messages = talk
    other, foreign = await ada.make("/v1/threads"), await bob.make("/v1/threads")
    path = f"/v1/threads/{thread}/branch"

    refusals = [
        await ada.post(path, json={"message_id": messages[1]["id"]}),
        await ada.post(path, json={"message_id": str(RunId.new())}),
        await ada.post(path, json={}),
        await ada.post(path, json={"message_id": messages[2]["id"], "title": "x" * 201}),
        await ada.post(path, json={"message_id": str(MessageId.new())}),
        await ada.post(f"/v1/threads/{other['id']}/branch", json={"message_id": messages[2]["id"]}),
        await bob.post(f"/v1/threads/{foreign['id']}/branch", json={"message_id": messages[2]["id"]}),
    ]

    told = [(one.status_code, one.json()["error"]["details"].get("place")) for one in refusals]
    assert told == [
        (400, "$.message_id"),
        (400, "$.message_id"),
        (400, "$.message_id"),
        (413, "$.title"),
        (404, None),
        (404, None),
        (404, None),
    ]
    assert (await ada.see(f"/v1/threads/{thread}/branches"))["items"] == []
