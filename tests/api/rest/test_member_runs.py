"""What an operator sees of everybody's runs: how they stand, and never a word of what was said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI

from cloche.agents.function import AgentRun, Write
from cloche.api.rest.route import RestRoute
from cloche.execution.intake import Accepted
from cloche.ids import RunId, UserId
from cloche.telemetry import MAX_REMEMBERED_LINES, LogEvent
from cloche.tools.tool import tool
from support.world import World

CANARY = "xylophone"


@pytest.fixture
def spoken(idle_world: World) -> None:
    """An agent whose every text holds the canary: thoughts, messages, arguments, results, errors and questions."""

    async def remember(note: str) -> str:
        """Remember."""
        return f"{note} {CANARY}"

    async def explode(note: str) -> str:
        """Fail."""
        raise RuntimeError(f"{note} {CANARY}")

    async def pay(note: str) -> str:
        """Pay."""
        return f"{note} {CANARY}"

    async def agent(run: AgentRun) -> str:
        await run.think(f"thinking of {CANARY}")

        async def writing(write: Write) -> None:
            await write(f"some {CANARY} ")

        await run.stream(writing)
        await run.call_tool("remember", note=CANARY)
        await run.call_tool("explode", note=CANARY)
        # Who calls a tool that there is none of has chosen its name.
        await run.call_tool(CANARY, note=CANARY)
        if "pay" in run.text:
            await run.call_tool("pay", note=CANARY)
        if "fail" in run.text:
            raise RuntimeError(CANARY)
        return f"an answer with {CANARY}"

    tools = {"remember": tool(remember), "explode": tool(explode), "pay": tool(pay, needs_approval=True)}
    idle_world.programs.add("agent", agent, tools=tools)


@pytest.fixture
def say(world: World, spoken: None) -> Callable[..., Awaitable[str]]:
    """Send a message and wait for what becomes of it; the run's id."""

    async def say(person: Any, text: str, *types: str) -> str:
        sent = await person.make("/v1/messages", 202, text=f"{text} {CANARY}", client_message_id=f"{text}{CANARY}")
        accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
        await world.until(person.scope, accepted, *types)
        return sent["run_id"]

    return say


async def test_no_route_of_an_operator_holds_a_word_that_anybody_wrote(
    app: FastAPI, admin: Any, ada: Any, say: Callable[..., Awaitable[str]]
):
    ended, failed = await say(ada, "hello"), await say(ada, "fail")
    waiting = await say(ada, "pay", "approval_requested")
    cancelled = await say(ada, "pay again", "approval_requested")
    await ada.post(f"/v1/runs/{cancelled}/cancel", json={"reason": f"no {CANARY}"})
    await ada.patch(
        f"/v1/threads/{(await ada.see(f'/v1/runs/{ended}'))['thread_id']}",
        json={"title": CANARY, "metadata": {CANARY: CANARY}},
    )
    told = (await ada.see(f"/v1/runs/{failed}"))["failure"]["message"] + (await ada.get("/v1/approvals")).text
    assert CANARY in told, "or there would be nothing to hide"

    paths = [route.path for route in app.routes if isinstance(route, RestRoute) and "GET" in (route.methods or ())]
    seen = 0
    for path in [path for path in paths if path.startswith("/v1/admin/") or path == "/metrics"]:
        for run_id in (ended, failed, waiting, cancelled):
            answer = await admin.get(path.format(run_id=run_id, user_id=ada.scope.user_id))

            assert answer.status_code == 200, (path, answer.text)
            assert CANARY not in answer.text, path
            seen += 1
    assert seen >= 4 * 6


async def test_a_run_says_whose_it_is_how_it_stands_and_what_it_waits_for(
    admin: Any, ada: Any, say: Callable[..., Awaitable[str]]
):
    waiting, failed = await say(ada, "pay", "approval_requested"), await say(ada, "fail")
    (approval,) = (await ada.see("/v1/approvals"))["items"]

    newest, oldest = (await admin.see("/v1/admin/runs"))["items"]

    assert (oldest["id"], newest["id"]) == (waiting, failed)
    assert oldest["user"] == {"id": str(ada.scope.user_id), "email": "ada@example.org", "name": "ada"}
    assert oldest["waiting_for"] == {
        "approval_id": approval["id"],
        "tool": "pay",
        "expires_at": approval["expires_at"],
    }
    assert (oldest["state"], oldest["failure"], oldest["last_event"]["type"]) == ("waiting", None, "approval_requested")
    assert oldest["state_since"] == oldest["state_times"]["waiting"]
    assert 0 <= oldest["age_s"] < 60
    assert newest["failure"] == {"code": "agent_failed", "retryable": False}
    assert (newest["failure_code"], newest["waiting_for"], newest["worker_id"]) == ("agent_failed", None, None)
    assert newest["last_event"]["type"] == "agent_failed"
    assert (newest["attempt"], newest["losses"], newest["lease_until"]) == (1, 0, None)


async def test_runs_are_chosen_by_state_agent_person_and_whether_they_are_over(
    admin: Any, ada: Any, bob: Any, eve: Any, say: Callable[..., Awaitable[str]]
):
    done, failed = await say(ada, "hello"), await say(bob, "fail")
    waiting = await say(ada, "pay", "approval_requested")
    await say(eve, "hello")

    async def ids(query: str) -> list[str]:
        return [run["id"] for run in (await admin.see(f"/v1/admin/runs?{query}"))["items"]]

    assert await ids("") == [waiting, failed, done]
    assert await ids("state=failed&state=completed") == [failed, done]
    assert await ids("live=true") == [waiting]
    assert await ids("live=false") == [failed, done]
    assert await ids(f"user_id={ada.scope.user_id}") == [waiting, done]
    assert await ids(f"user_id={ada.scope.user_id}&live=false&agent=agent") == [done]
    assert await ids("agent=another") == []
    assert await ids("order=stuck") == [waiting]
    for somebody in (eve.scope.user_id, UserId.new()):
        assert await ids(f"user_id={somebody}") == []


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("state=broken", "query.state.0"),
        ("live=perhaps", "query.live"),
        ("order=oldest", "query.order"),
        ("user_id=x", "query.user_id"),
        ("user_id=run_01m7ztqshne1gad3v4dmfm54zk", "query.user_id"),
        ("order=stuck&live=false", "query.live"),
        ("agent=" + "x" * 201, "query.agent"),
    ],
)
async def test_a_choice_that_cannot_be_is_refused(admin: Any, query: str, place: str):
    answer = await admin.get(f"/v1/admin/runs?{query}")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)


async def test_each_order_has_cursors_of_its_own(admin: Any, ada: Any, echo: None):
    for _ in range(3):
        await ada.make("/v1/messages", 202, text="hello")

    newest, stuck = [await admin.see(f"/v1/admin/runs?limit=2&order={order}") for order in ("newest", "stuck")]
    rest = await admin.see(f"/v1/admin/runs?limit=2&order=stuck&cursor={stuck['next_cursor']}")
    wrong = await admin.get(f"/v1/admin/runs?cursor={stuck['next_cursor']}")

    assert [run["id"] for run in stuck["items"] + rest["items"]] == sorted(
        run["id"] for page in (stuck, rest) for run in page["items"]
    )
    assert (len(newest["items"]), len(rest["items"]), rest["next_cursor"]) == (2, 1, None)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_cursor")
    assert json.dumps(stuck["live"]).count("3") == 1


async def test_the_story_of_a_run_has_its_attempts_steps_and_approvals(
    admin: Any, ada: Any, say: Callable[..., Awaitable[str]]
):
    run_id = await say(ada, "pay", "approval_requested")
    (approval,) = (await ada.see("/v1/approvals"))["items"]
    own = await ada.see(f"/v1/runs/{run_id}")

    story = await admin.see(f"/v1/admin/runs/{run_id}")

    assert (story["id"], story["state"], story["trace_id"]) == (run_id, "waiting", own["trace_id"])
    assert story["request_id"].startswith("request_")
    assert story["usage"] == own["usage"]
    (execution,) = story["executions"]
    assert (execution["epoch"], execution["worker_id"]) == (1, "worker")
    assert [(step["kind"], step["name"], step["code"]) for step in story["steps"]] == [
        ("thought", "think", None),
        ("message", "stream", None),
        ("tool", "remember", None),
        ("tool", "explode", "tool_failed"),
        ("tool", None, "tool_unknown"),
        ("approval", "pay", None),
    ]
    assert [step["index"] for step in story["steps"]] == [0, 1, 2, 3, 4, 5]
    assert all(step["duration_ms"] >= 0 for step in story["steps"][:5])
    assert story["approvals"] == [
        {
            "approval_id": approval["id"],
            "tool": "pay",
            "state": "pending",
            "created_at": approval["created_at"],
            "expires_at": approval["expires_at"],
            "decided_at": None,
        }
    ]


async def test_a_run_of_another_tenant_is_one_that_does_not_exist(
    eve: Any, ada: Any, say: Callable[..., Awaitable[str]]
):
    foreign, unknown = await say(ada, "hello"), RunId.new()

    answers = [await eve.get(f"/v1/admin/runs/{run_id}") for run_id in (foreign, unknown)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["error"]["message"] == answers[1].json()["error"]["message"]


async def test_the_events_of_a_run_are_told_by_what_is_nobody_s_words(
    admin: Any, ada: Any, say: Callable[..., Awaitable[str]]
):
    run_id = await say(ada, "pay", "approval_requested")

    page = await admin.see(f"/v1/admin/runs/{run_id}/events")

    events = {event["type"]: event for event in page["items"]}
    tools = [event["shown"].get("tool") for event in page["items"] if event["type"].startswith("tool_")]
    completed = [event["shown"] for event in page["items"] if event["type"] == "tool_completed"]
    assert [event["seq"] for event in page["items"]] == list(range(1, len(page["items"]) + 1))
    assert (page["next_after"], page["trimmed"]) == (None, False)
    assert events["message_created"]["shown"] == {
        "message_id": (await ada.see(f"/v1/runs/{run_id}"))["message_id"],
        "role": "user",
        "parts": 1,
        "by": str(ada.scope.user_id),
    }
    assert events["agent_started"]["shown"] == {"agent": "agent", "version": "1", "model": "none", "attempt": 1}
    assert events["agent_started"]["execution_id"].startswith("execution_")
    assert events["agent_thinking"]["shown"] == {"step": 0}
    assert tools == ["remember", "remember", "explode", "explode", None, None]
    assert [one.get("error") for one in completed] == [None, {"code": "tool_failed"}, {"code": "tool_unknown"}]
    assert set(events["approval_requested"]["shown"]) == {"approval_id", "tool_call_id", "tool", "expires_at"}
    assert all(event["bytes"] > 100 for event in page["items"])


async def test_the_events_of_a_run_come_in_pages(admin: Any, ada: Any, say: Callable[..., Awaitable[str]]):
    await say(ada, "hello")
    run_id = await say(ada, "fail")
    whole = (await admin.see(f"/v1/admin/runs/{run_id}/events"))["items"]

    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = await admin.see(f"/v1/admin/runs/{run_id}/events?limit=4&after={after}")
        found += page["items"]
        after = page["next_after"]
    beyond = await admin.see(f"/v1/admin/runs/{run_id}/events?after={whole[-1]['seq']}")

    assert found == whole
    assert whole[-1]["shown"] == {"code": "agent_failed", "retryable": False}
    assert (beyond["items"], beyond["next_after"]) == ([], None)


async def test_a_log_that_begins_later_says_so_and_an_event_that_is_not_known_is_only_there(
    admin: Any, ada: Any, say: Callable[..., Awaitable[str]], idle_world: World
):
    run_id = await say(ada, "hello")

    async def work(tx: Any) -> None:
        await tx.execute("DELETE FROM events WHERE tenant_id = ? AND seq <= 2", str(ada.scope.tenant_id))
        await tx.execute("UPDATE threads SET first_seq = 3 WHERE tenant_id = ?", str(ada.scope.tenant_id))
        for seq, kind, body in ((3, "agent_danced", b'{"seq":3,"type":"agent_danced"}'), (4, "agent_thinking", b"{")):
            await tx.execute(
                "UPDATE events SET type = ?, body = ? WHERE tenant_id = ? AND seq = ?",
                kind,
                body,
                str(ada.scope.tenant_id),
                seq,
            )

    await idle_world.database.write(work)

    page = await admin.see(f"/v1/admin/runs/{run_id}/events")

    assert page["trimmed"]
    assert [(event["seq"], event["type"], event["shown"]) for event in page["items"][:2]] == [
        (3, "agent_danced", {}),
        (4, "agent_thinking", {}),
    ]
    assert not (await admin.see(f"/v1/admin/runs/{run_id}/events?after=2"))["trimmed"]


async def test_an_administrator_stops_anybody_s_run_and_the_trail_says_who_and_why(admin: Any, ada: Any, world: World):
    async def forever(run: AgentRun) -> None:
        await run.think("looking")
        await asyncio.get_running_loop().create_future()

    world.programs.add("agent", forever)
    sent = await ada.make("/v1/messages", 202, text="hello")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "agent_thinking")

    answer = await admin.make(f"/v1/admin/runs/{sent['run_id']}/cancel", 202, reason="it cost too much")
    events = await world.until(ada.scope, accepted)
    again = await admin.make(f"/v1/admin/runs/{sent['run_id']}/cancel", 202)

    lines = (await admin.see("/v1/admin/audit?limit=10"))["items"]
    assert answer == {"run_id": sent["run_id"], "state": "cancelling"}
    assert events[-1].type == "agent_cancelled"
    assert again["state"] == "cancelled"
    (line,) = [line for line in lines if line["action"] == "run.cancelled"]
    assert (line["actor"], line["target"]) == (str(admin.scope.user_id), sent["run_id"])
    assert line["detail"]["user_id"] == str(ada.scope.user_id)
    assert (line["detail"]["reason"], line["detail"]["state"]) == ("it cost too much", "running")


async def test_a_run_that_waits_is_cancelled_at_once_and_its_approval_with_it(
    admin: Any, ada: Any, bob: Any, eve: Any, say: Callable[..., Awaitable[str]]
):
    run_id = await say(ada, "pay", "approval_requested")
    refused = [await person.post(f"/v1/admin/runs/{run_id}/cancel") for person in (bob, eve)]
    too_long = await admin.post(f"/v1/admin/runs/{run_id}/cancel", json={"reason": "x" * 201})

    answer = await admin.make(f"/v1/admin/runs/{run_id}/cancel", 202)

    assert [one.status_code for one in refused] == [403, 404]
    assert too_long.status_code == 400
    assert answer["state"] == "cancelled"
    assert (await ada.see(f"/v1/runs/{run_id}"))["failure"]["message"] == "an administrator cancelled the run"
    assert (await ada.see("/v1/approvals"))["items"] == []
    assert [one["state"] for one in (await admin.see(f"/v1/admin/runs/{run_id}"))["approvals"]] == ["cancelled"]


async def test_the_log_of_a_run_has_the_lines_of_this_process_without_what_was_said(
    admin: Any, ada: Any, eve: Any, say: Callable[..., Awaitable[str]], world: World
):
    other, run_id = await say(ada, "hello"), await say(ada, "fail")

    answer = await admin.see(f"/v1/admin/runs/{run_id}/logs")
    foreign = await eve.get(f"/v1/admin/runs/{run_id}/logs")

    assert [(line["level"], line["event"]) for line in answer["items"]] == [
        ("info", "run.claimed"),
        ("error", "tool.called"),
        ("error", "run.raised"),
        ("info", "run.ended"),
    ]
    assert {line["fields"]["run"] for line in answer["items"]} == {run_id}
    assert answer["items"][1]["fields"] == {"run": run_id, "tool": "explode", "error": "RuntimeError"}
    assert (answer["items"][-1]["fields"]["state"], answer["items"][-1]["fields"]["code"]) == ("failed", "agent_failed")
    assert answer["complete"]
    assert (await admin.see(f"/v1/admin/runs/{other}/logs"))["items"]
    assert foreign.status_code == 404


async def test_a_log_that_does_not_reach_back_to_the_run_says_so(
    admin: Any, ada: Any, say: Callable[..., Awaitable[str]], idle_world: World
):
    run_id = await say(ada, "hello")
    for _ in range(MAX_REMEMBERED_LINES):
        idle_world.telemetry.info(LogEvent.RUN_CLAIMED, run="another")

    answer = await admin.see(f"/v1/admin/runs/{run_id}/logs")

    assert (answer["items"], answer["complete"]) == ([], False)
    assert answer["since"] > (await ada.see(f"/v1/runs/{run_id}"))["created_at"]
