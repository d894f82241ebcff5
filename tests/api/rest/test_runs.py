"""Runs over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.execution.intake import Accepted
from support.world import World


def accepted_of(answer: dict[str, Any]) -> Accepted:
    return Accepted(**{name: answer[name] for name in ("thread_id", "message_id", "run_id", "seq")})


async def test_a_run_tells_how_it_went(ada: Any, world: World, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    await world.until(ada.scope, accepted_of(sent))

    run = await ada.see(f"/v1/runs/{sent['run_id']}")

    assert (run["state"], run["agent"], run["attempt"], run["failure"]) == ("completed", "echo", 1, None)
    assert run["message_id"] == sent["message_id"]
    assert run["first_seq"] == 1 < run["last_seq"]
    assert list(run["state_times"]) == ["pending", "starting", "running", "completing", "completed"]
    assert run["created_at"].endswith("Z")
    assert run["usage"] == {"input_tokens": 0, "output_tokens": 0, "model_calls": 0, "tool_calls": 0}


async def test_a_failed_run_says_why_and_not_what_the_agent_raised(ada: Any, world: World):
    async def agent(run: AgentRun) -> None:
        raise RuntimeError("a secret text")

    world.programs.add("agent", agent)
    sent = await ada.make("/v1/messages", 202, text="hello")
    await world.until(ada.scope, accepted_of(sent))

    answer = await ada.get(f"/v1/runs/{sent['run_id']}")

    assert answer.json()["state"] == "failed"
    assert answer.json()["failure"]["code"] == "agent_failed"
    assert "a secret text" not in answer.text


async def test_runs_are_listed_newest_first_and_by_thread(ada: Any, echo: None):
    sent = [await ada.make("/v1/messages", 202, text=str(number)) for number in range(3)]

    everything = await ada.see("/v1/runs?limit=2")
    rest = await ada.see(f"/v1/runs?limit=2&cursor={everything['next_cursor']}")
    own = await ada.see(f"/v1/runs?thread_id={sent[1]['thread_id']}")

    assert [run["id"] for run in everything["items"] + rest["items"]] == [one["run_id"] for one in reversed(sent)]
    assert rest["next_cursor"] is None
    assert [run["id"] for run in own["items"]] == [sent[1]["run_id"]]


async def test_the_runs_of_a_thread_that_is_none_are_not_an_empty_list(ada: Any, bob: Any):
    foreign = await bob.make("/v1/threads")

    assert (await ada.get(f"/v1/runs?thread_id={foreign['id']}")).status_code == 404
    wrong = await ada.get("/v1/runs?thread_id=x")
    assert (wrong.status_code, wrong.json()["error"]["details"]["place"]) == (400, "query.thread_id")


async def test_a_waiting_run_is_cancelled_at_once_and_stays_so(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    path = f"/v1/runs/{sent['run_id']}/cancel"

    first = await ada.post(path)
    again = await ada.post(path, json={"reason": "I mean it"})

    assert first.status_code == again.status_code == 202
    assert first.json() == again.json() == {"run_id": sent["run_id"], "state": "cancelled"}


async def test_a_run_at_work_is_cancelling_until_it_has_stopped(ada: Any, world: World):
    async def agent(run: AgentRun) -> None:
        await run.think("let me see")
        await asyncio.get_running_loop().create_future()

    world.programs.add("agent", agent)
    sent = await ada.make("/v1/messages", 202, text="hello")
    await world.until(ada.scope, accepted_of(sent), "agent_thinking")

    answer = await ada.post(f"/v1/runs/{sent['run_id']}/cancel", json={"reason": "enough"})
    events = await world.until(ada.scope, accepted_of(sent))

    assert answer.json()["state"] == "cancelling"
    assert events[-1].type == "agent_cancelled"
    assert (await ada.see(f"/v1/runs/{sent['run_id']}"))["state"] == "cancelled"


@pytest.mark.parametrize("body", [{"reason": ""}, {"reason": "x" * 201}, {"reason": 5}, {"force": True}])
async def test_a_cancel_takes_a_reason_and_nothing_else(ada: Any, echo: None, body: dict[str, object]):
    sent = await ada.make("/v1/messages", 202, text="hello")

    answer = await ada.post(f"/v1/runs/{sent['run_id']}/cancel", json=body)

    assert answer.status_code == 400
    assert (await ada.see(f"/v1/runs/{sent['run_id']}"))["state"] == "pending"


async def test_a_cancelled_run_is_tried_again(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")
    await ada.post(f"/v1/runs/{sent['run_id']}/cancel")

    answer = await ada.post(f"/v1/runs/{sent['run_id']}/retry")
    again = await ada.make(f"/v1/runs/{sent['run_id']}/retry", 202, client_message_id="c1", on_busy="interrupt")
    replayed = await ada.make(f"/v1/runs/{sent['run_id']}/retry", 202, client_message_id="c1")

    told = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/runs/{told['run_id']}")
    assert (told["thread_id"], told["message_id"], told["seq"]) == (sent["thread_id"], sent["message_id"], 4)
    assert (await ada.see(f"/v1/runs/{told['run_id']}"))["retry_of"] == sent["run_id"]
    assert (await ada.see(f"/v1/runs/{sent['run_id']}"))["retry_of"] is None
    assert replayed == {**again, "replayed": True}


async def test_a_run_that_is_not_over_is_not_tried_again(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="hello")

    refused = await ada.post(f"/v1/runs/{sent['run_id']}/retry", json={})

    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "retry_refused"
    assert refused.json()["error"]["details"] == {"state": "pending"}


@pytest.mark.parametrize("body", [{"on_busy": "wait"}, {"client_message_id": ""}, {"text": "else"}])
async def test_a_retry_takes_its_own_options_and_nothing_else(ada: Any, echo: None, body: dict[str, object]):
    sent = await ada.make("/v1/messages", 202, text="hello")
    await ada.post(f"/v1/runs/{sent['run_id']}/cancel")

    assert (await ada.post(f"/v1/runs/{sent['run_id']}/retry", json=body)).status_code == 400
