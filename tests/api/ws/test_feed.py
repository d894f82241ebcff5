"""A list of threads that is live, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from cloche.agents.function import AgentRun
from cloche.api.wire.parts import EdgeParts
from cloche.api.ws import feed as feed_module
from cloche.auth.opening import SignedIn
from cloche.errors import StorageUnavailableError
from cloche.ids import ApprovalId, ThreadId
from cloche.storage.database import Work
from support.client import Live
from support.edges import Edges, append, closing, eventually, make_thread
from support.world import World

Enter = Callable[..., Awaitable[SignedIn]]


@asynccontextmanager
async def browser(edges: Edges, signed_in: SignedIn) -> AsyncGenerator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {signed_in.access_token}"}
    async with httpx2.AsyncClient(base_url=edges.url, headers=headers, timeout=10) as http:
        yield http


async def notice(live: Live, kind: str) -> dict[str, Any]:
    """The next notice of that kind."""
    async with asyncio.timeout(10):
        while True:
            frame = await live.frame()
            if frame.get("notice") == kind:
                return frame


async def thread_notice(live: Live) -> dict[str, Any]:
    """The one thread of the next notice."""
    [thread] = (await notice(live, "threads_changed"))["threads"]
    return thread


async def next_answer(live: Live) -> dict[str, Any]:
    """The very next frame, where an answer is due."""
    await live.socket.send('{"op":"ping","ref":"next"}')
    return await live.frame()


async def test_what_a_person_does_elsewhere_is_seen_in_the_list(
    edges: Edges, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.001)
    ada = await enter("ada")
    async with edges.live(ada.access_token) as live, browser(edges, ada) as http:
        answer = await live.ask("watch")
        first = await notice(live, "approvals_changed")
        made = (await http.post("/v1/threads", json={"title": "Garden"})).json()
        path = f"/v1/threads/{made['id']}"
        told = [await thread_notice(live)]
        for step in ("title", "archive", "unarchive", "delete", "restore"):
            if step == "title":
                await http.patch(path, json={"title": "Glasshouse"})
            elif step == "delete":
                await http.delete(path)
            else:
                await http.post(f"{path}/{step}")
            told.append(await thread_notice(live))

    assert (answer["ok"], first) == (True, {"notice": "approvals_changed", "pending": 0})
    assert set(told[0]) == {
        "thread_id",
        "title",
        "status",
        "head_seq",
        "read_seq",
        "unread",
        "updated_at",
        "archived",
        "deleted",
    }
    assert {one["thread_id"] for one in told} == {made["id"]}
    assert [(one["title"], one["archived"], one["deleted"]) for one in told] == [
        ("Garden", False, False),
        ("Glasshouse", False, False),
        ("Glasshouse", True, False),
        ("Glasshouse", False, False),
        ("Glasshouse", False, True),
        ("Glasshouse", False, False),
    ]


async def test_a_run_a_branch_and_a_mark_are_seen(
    edges: Edges, enter: Enter, world: World, monkeypatch: pytest.MonkeyPatch
):
    async def agent(run: AgentRun) -> str:
        return run.text

    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.001)
    world.programs.add("agent", agent)
    ada = await enter("ada")
    async with edges.live(ada.access_token) as live, browser(edges, ada) as http:
        await live.ask("watch")
        sent = (await http.post("/v1/messages", json={"text": "hello"})).json()
        while (ended := await thread_notice(live))["status"] != "idle":
            pass
        marked = await http.post(f"/v1/threads/{sent['thread_id']}/read", json={"seq": 1000})
        read = await thread_notice(live)
        made = await http.post(f"/v1/threads/{sent['thread_id']}/branch", json={"message_id": sent["message_id"]})
        branch = await thread_notice(live)

    assert (ended["unread"], read["unread"]) == (True, False)
    assert read["read_seq"] == read["head_seq"] == ended["head_seq"] == marked.json()["head_seq"]
    assert branch["thread_id"] == made.json()["id"]


async def test_nothing_more_is_told_before_the_pause_is_over(
    edges: Edges, enter: Enter, services: EdgeParts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "INTERVAL_S", 3600)
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    threads = [await make_thread(services.database, scope, services) for _ in range(3)]
    async with edges.live(ada.access_token) as live:
        await live.ask("watch")
        first = await notice(live, "approvals_changed")
        for thread_id in threads:
            await append(services.log, services, scope, thread_id, "a", "b")
        after = [await next_answer(live) for _ in range(2)]

    assert (first["pending"], [one.get("ref") for one in after]) == (0, ["next", "next"])


async def test_the_last_state_is_told_when_the_pause_is_over(
    edges: Edges, enter: Enter, services: EdgeParts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.05)
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    threads = [await make_thread(services.database, scope, services) for _ in range(3)]
    async with edges.live(ada.access_token) as live:
        await live.ask("watch")
        await notice(live, "approvals_changed")
        for thread_id in threads:
            await append(services.log, services, scope, thread_id, "a", "b")
        told: dict[str, Any] = {}
        notices = 0
        while len(told) < 3:
            notices += 1
            for thread in (await notice(live, "threads_changed"))["threads"]:
                told[thread["thread_id"]] = thread

    assert {one["head_seq"] for one in told.values()} == {2}
    assert notices <= 2


async def test_a_list_is_watched_once_and_no_more_when_it_is_not(
    edges: Edges, enter: Enter, services: EdgeParts, idle_world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.001)
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    key = (scope.tenant_id, scope.user_id)
    thread_id = await make_thread(services.database, scope, services)
    async with edges.live(ada.access_token) as live:
        answers = [await live.ask("watch")]
        await notice(live, "approvals_changed")
        answers.append(await live.ask("watch"))
        was_watched = idle_world.hub.is_watched(key)
        answers += [await live.ask("unwatch") for _ in range(2)]
        is_watched = idle_world.hub.is_watched(key)
        await append(services.log, services, scope, thread_id, "a")
        after = await next_answer(live)
        answers.append(await live.ask("watch"))
        await notice(live, "approvals_changed")
    await eventually(lambda: not idle_world.hub.is_watched(key))

    assert all(answer["ok"] for answer in answers)
    assert (was_watched, is_watched, after["ref"]) == (True, False, "next")


async def test_a_watch_takes_nothing_and_needs_the_right_to_read(edges: Edges, enter: Enter, switches: Any):
    ada = await enter("ada")
    async with edges.live(ada.access_token) as live:
        odd = await live.ask("watch", thread_id="x")
        switches.granted = frozenset({"runs:write"})
        refused = await live.ask("watch")

    assert (odd["error"]["code"], odd["error"]["details"]["place"]) == ("invalid_input", "$.thread_id")
    assert refused["error"]["code"] == "permission_denied"


async def test_another_s_threads_are_not_seen(edges: Edges, enter: Enter, services: EdgeParts):
    ada, bob = await enter("ada"), await enter("bob")
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    async with edges.live(ada.access_token) as hers, edges.live(bob.access_token) as his:
        for live in (hers, his):
            await live.ask("watch")
            await notice(live, "approvals_changed")
        await append(services.log, services, scope, thread_id, "secret")
        seen = await thread_notice(hers)
        after = await next_answer(his)

    assert (seen["thread_id"], after.get("ref")) == (thread_id, "next")


async def test_approvals_that_were_given_to_one_are_counted_live(
    edges: Edges, enter: Enter, world: World, monkeypatch: pytest.MonkeyPatch
):
    async def agent(run: AgentRun) -> str:
        return str((await run.ask("may I?")).state)

    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.001)
    world.programs.add("agent", agent)
    ada, bob = await enter("ada"), await enter("bob")
    scope = await edges.services.sign_in.scope_of(ada.principal)
    async with edges.live(ada.access_token) as hers, edges.live(bob.access_token) as his:
        counts = []
        for live in (hers, his):
            await live.ask("watch")
            counts.append((await notice(live, "approvals_changed"))["pending"])
        sent = await hers.ask("send", text="pay", client_message_id="1")
        counts.append((await notice(hers, "approvals_changed"))["pending"])
        await hers.ask("subscribe", thread_id=sent["thread_id"])
        asked = (await hers.until(sent["run_id"], "approval_requested"))[-1]["data"]["approval_id"]
        await edges.services.decisions.delegate(scope, ApprovalId(asked), user_id=bob.principal.user_id)
        counts.append((await notice(his, "approvals_changed"))["pending"])
        await his.ask("decide", approval_id=asked, decision="approve")
        counts += [(await notice(live, "approvals_changed"))["pending"] for live in (hers, his)]

    assert counts == [0, 0, 1, 1, 0, 0]


async def test_a_list_that_cannot_be_read_ends_the_connection(
    edges: Edges, enter: Enter, services: EdgeParts, monkeypatch: pytest.MonkeyPatch
):
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id: ThreadId = await make_thread(services.database, scope, services)
    monkeypatch.setattr(feed_module, "INTERVAL_S", 0.001)
    async with edges.live(ada.access_token) as live:
        await live.ask("watch")
        await notice(live, "approvals_changed")

        async def fail(_work: Work[object]) -> object:
            raise StorageUnavailableError("no")

        monkeypatch.setattr(services.database, "read", fail)
        await append(services.log, services, scope, thread_id, "a")
        code, reason, _ = await closing(live.socket)

    assert (code, reason) == (4453, "storage_unavailable")
