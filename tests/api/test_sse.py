from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cloche.agents.function import AgentRun
from cloche.api.sse.response import ClientLeftError, EventResponse
from cloche.api.wire.parts import EdgeLimits, EdgeParts
from cloche.auth.opening import SignedIn
from cloche.domain.permissions import ROLE_PERMISSIONS, Role
from cloche.domain.scope import Scope
from cloche.errors import StorageUnavailableError
from cloche.ids import RunId, ThreadId
from cloche.storage.database import Transaction, Work
from cloche.testing.clock import ManualClock
from support.edges import Edges, append, edges_over, eventually, make_thread
from support.world import World, opened_world

Enter = Callable[..., Awaitable[SignedIn]]


@dataclass
class Told:
    """One server-sent event, or a comment."""

    id: str | None = None
    event: str = "message"
    data: Any = None
    retry: str | None = None
    comment: str | None = None


@dataclass
class Stream:
    """A response that goes on, read block by block."""

    response: httpx2.Response
    _blocks: AsyncGenerator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._blocks = self._read()

    async def _read(self) -> AsyncGenerator[str]:
        text = ""
        async for chunk in self.response.aiter_bytes():
            text += chunk.decode()
            assert "\r" not in text
            while "\n\n" in text:
                block, text = text.split("\n\n", 1)
                yield block
        assert text == ""

    async def next(self) -> Told:
        async with asyncio.timeout(5):
            block = await anext(self._blocks)
        told = Told()
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "":
                told.comment = value
            elif name == "data":
                told.data = json.loads(value)
            else:
                setattr(told, name, value)
        return told

    async def rest(self) -> list[Told]:
        found = []
        while True:
            try:
                found.append(await self.next())
            except StopAsyncIteration:
                return found


@pytest.fixture
async def edges(services: EdgeParts) -> AsyncGenerator[Edges]:
    async with edges_over(services) as served:
        yield served


@pytest.fixture
async def ada(enter: Enter) -> SignedIn:
    return await enter("ada")


@pytest.fixture
async def ada_scope(services: EdgeParts, ada: SignedIn) -> Scope:
    return await services.sign_in.scope_of(ada.principal)


@asynccontextmanager
async def reading(edges: Edges, path: str, token: str, **headers: str) -> AsyncGenerator[Stream]:
    sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        httpx2.AsyncClient(base_url=edges.url, timeout=10) as http,
        http.stream("GET", path, headers=sent) as response,
    ):
        yield Stream(response)


async def ask(edges: Edges, path: str, token: str | None, method: str = "GET", **headers: str) -> httpx2.Response:
    sent = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=edges.url, timeout=10) as http:
        return await http.request(
            method, path, headers={**sent, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )


async def echo(_run: AgentRun) -> str:
    return "hello yourself"


async def test_a_thread_is_told_from_the_beginning_and_goes_on(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope
):
    thread_id = await make_thread(services.database, ada_scope, services)
    await append(services.log, services, ada_scope, thread_id, "a", "b")

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        opening = await stream.next()
        events = [await stream.next(), await stream.next()]
        await append(services.log, services, ada_scope, thread_id, "c")
        events.append(await stream.next())

    headers = stream.response.headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert (opening.event, opening.id) == ("stream_opened", "0")
    assert (opening.data["recovered"], opening.data["from_seq"], opening.data["head_seq"]) == (True, 1, 2)
    assert [(event.id, event.data["seq"], event.data["data"]["title"]) for event in events] == [
        ("1", 1, "a"),
        ("2", 2, "b"),
        ("3", 3, "c"),
    ]


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [("?after=1", None, 2), ("", "2", 3), ("?after=1", "2", 3), ("?after=1", "", 2), ("?after=3", None, None)],
)
async def test_a_stream_resumes_where_it_was(
    edges: Edges,
    services: EdgeParts,
    ada: SignedIn,
    ada_scope: Scope,
    query: str,
    header: str | None,
    first: int | None,
):
    thread_id = await make_thread(services.database, ada_scope, services)
    await append(services.log, services, ada_scope, thread_id, "a", "b", "c")
    headers = {} if header is None else {"Last_Event_ID": header}

    async with reading(edges, f"/v1/threads/{thread_id}/events{query}", ada.access_token, **headers) as stream:
        opening = await stream.next()
        if first is None:
            await append(services.log, services, ada_scope, thread_id, "d")
        event = await stream.next()

    assert opening.data["recovered"] is True
    assert event.data["seq"] == (first or 4)


@pytest.mark.parametrize("query", ["?after=1&epoch=99", "?after=50"])
async def test_a_position_that_is_none_of_this_log_gets_a_snapshot(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, query: str
):
    thread_id = await make_thread(services.database, ada_scope, services)
    await append(services.log, services, ada_scope, thread_id, "a", "b")

    async with reading(edges, f"/v1/threads/{thread_id}/events{query}", ada.access_token) as stream:
        opening = await stream.next()

    assert opening.id == "2"
    assert opening.data["recovered"] is False
    assert opening.data["snapshot"]["seq"] == 2


@pytest.mark.parametrize(
    ("path", "headers", "status", "place"),
    [
        ("/v1/threads/{thread}/events?after=-1", {}, 400, "query.after"),
        ("/v1/threads/{thread}/events?after=", {}, 400, "query.after"),
        ("/v1/threads/{thread}/events?after=1e3", {}, 400, "query.after"),
        ("/v1/threads/{thread}/events?after=9999999999999999999", {}, 400, "query.after"),
        ("/v1/threads/{thread}/events?epoch=x", {}, 400, "query.epoch"),
        ("/v1/threads/{thread}/events", {"Last_Event_ID": "seven"}, 400, "header last-event-id"),
        ("/v1/threads/{thread}/events?access_token=hunter2", {}, 400, "query.access_token"),
        ("/v1/threads/{run}/events", {}, 400, "path.thread_id"),
        ("/v1/runs/{thread}/events", {}, 400, "path.run_id"),
        ("/v1/threads/{nobody}/events", {}, 404, None),
        ("/v1/runs/{run}/events", {}, 404, None),
    ],
)
async def test_what_is_wrong_is_answered_before_the_stream_begins(
    edges: Edges,
    services: EdgeParts,
    ada: SignedIn,
    ada_scope: Scope,
    path: str,
    headers: dict[str, str],
    status: int,
    place: str | None,
):
    thread_id = await make_thread(services.database, ada_scope, services)
    filled = path.format(thread=thread_id, nobody=ThreadId.new(), run=RunId.new())

    answer = await ask(edges, filled, ada.access_token, **headers)

    assert (answer.status_code, answer.json()["error"]["details"].get("place")) == (status, place)
    assert "hunter2" not in answer.text
    assert len(edges.connections) == 0


async def test_only_the_owner_may_read(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, enter: Enter
):
    bob = await enter("bob")
    thread_id = await make_thread(services.database, ada_scope, services)
    answers = [await ask(edges, f"/v1/threads/{name}/events", bob.access_token) for name in (thread_id, ThreadId.new())]
    bodies = [answer.json()["error"] for answer in answers]
    for body in bodies:
        del body["request_id"]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert bodies[0] == bodies[1]
    assert (await ask(edges, f"/v1/threads/{thread_id}/events", None)).status_code == 401
    assert (await ask(edges, f"/v1/threads/{thread_id}/events", "a.b.c")).status_code == 401


async def test_what_is_not_granted_is_denied(
    edges: Edges, ada: SignedIn, services: EdgeParts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ROLE_PERMISSIONS, Role.MEMBER, frozenset())  # type: ignore[arg-type]
    services.sign_in._parts.standings.forget_session(ada.principal.session_id)

    for path in (f"/v1/threads/{ThreadId.new()}/events", f"/v1/runs/{RunId.new()}/events"):
        answer = await ask(edges, path, ada.access_token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")


async def test_only_the_headers_are_sent_to_who_wants_only_these(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope
):
    thread_id = await make_thread(services.database, ada_scope, services)

    answer = await ask(edges, f"/v1/threads/{thread_id}/events", ada.access_token, "HEAD")

    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")


async def test_a_silent_stream_is_kept_alive(services: EdgeParts, ada: SignedIn, ada_scope: Scope):
    thread_id = await make_thread(services.database, ada_scope, services)

    async with (
        edges_over(replace(services, limits=EdgeLimits(sse_keep_alive_s=0.02))) as edges,
        reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream,
    ):
        await stream.next()
        comments = [await stream.next(), await stream.next()]
        await append(services.log, services, ada_scope, thread_id, "a")
        told = await stream.next()
        while told.comment is not None:
            told = await stream.next()

    assert [comment.comment for comment in comments] == ["", ""]
    assert told.data["seq"] == 1


async def test_the_stream_of_a_run_holds_the_run_and_ends_with_it(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, world: World
):
    gate = asyncio.Event()

    async def held(_run: AgentRun) -> str:
        await gate.wait()
        return "done"

    world.programs.add("held", held)
    world.programs.add("echo", echo)
    first = await world.send(ada_scope, "one", agent="held")
    second = await world.send(ada_scope, "two", agent="echo", thread_id=first.thread_id)

    async with reading(edges, f"/v1/runs/{first.run_id}/events", ada.access_token) as stream:
        opening = await stream.next()
        gate.set()
        events = await stream.rest()
    async with reading(edges, f"/v1/runs/{second.run_id}/events", ada.access_token) as stream:
        later = await stream.rest()
    async with reading(edges, f"/v1/runs/{first.run_id}/events?after={events[-1].id}", ada.access_token) as stream:
        nothing = await stream.rest()
    async with reading(edges, f"/v1/runs/{first.run_id}/events?after=1", ada.access_token) as stream:
        most = await stream.rest()

    assert (opening.data["run_id"], opening.data["from_seq"]) == (first.run_id, 1)
    assert {event.data["run_id"] for event in events} == {first.run_id}
    assert events[0].data["type"] == "message_created"
    assert events[-1].data["type"] == "agent_completed"
    assert {event.data["run_id"] for event in later[1:]} == {second.run_id}
    assert [event.data["type"] for event in later[1:]][-1] == "agent_completed"
    assert [told.event for told in nothing] == ["stream_opened"]
    assert [event.id for event in most[1:]] == [event.id for event in events[1:]]


async def test_a_history_that_was_lost_meanwhile_begins_anew(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, world: World
):
    thread_id = await make_thread(services.database, ada_scope, services)
    await append(services.log, services, ada_scope, thread_id, "a")

    async def trim(tx: Transaction) -> None:
        await tx.execute("UPDATE threads SET first_seq = 4, head_seq = 3 WHERE id = ?", str(thread_id))
        await tx.execute("DELETE FROM events WHERE thread_id = ?", str(thread_id))

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        await stream.next()
        await stream.next()
        await services.database.write(trim)
        world.hub.wake((ada_scope.tenant_id, thread_id), 3)
        opening = await stream.next()
        await append(services.log, services, ada_scope, thread_id, "b")
        event = await stream.next()

    assert (opening.event, opening.id, opening.data["recovered"]) == ("stream_opened", "3", False)
    assert event.id == "4"


async def test_a_revoked_session_ends_the_stream(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, world: World
):
    thread_id = await make_thread(services.database, ada_scope, services)

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        await stream.next()
        await services.sign_in.logout(ada.principal)
        rest = await stream.rest()

    assert [told.event for told in rest] == ["stream_closed"]
    assert rest[0].data["error"]["code"] == "session_revoked"
    assert world.hub.followers == 0


async def test_a_session_that_ends_before_the_stream_begins_is_an_error(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, monkeypatch: pytest.MonkeyPatch
):
    thread_id = await make_thread(services.database, ada_scope, services)
    subscribe = services.log.subscribe

    async def held(*arguments: Any, **options: Any) -> Any:
        await services.sign_in.logout(ada.principal)
        await asyncio.sleep(0)
        return await subscribe(*arguments, **options)

    monkeypatch.setattr(services.log, "subscribe", held)
    answer = await ask(edges, f"/v1/threads/{thread_id}/events", ada.access_token)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "session_revoked")


async def test_a_client_whose_socket_breaks_is_gone():
    async def broken(_message: Any) -> None:
        raise OSError

    async def leave() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    response = EventResponse(leave, broken, send_timeout_s=1)  # type: ignore[arg-type]

    with pytest.raises(ClientLeftError):
        await response.write(b"x")
    with pytest.raises(ClientLeftError):
        await response.watch()


async def test_a_drain_ends_every_stream_and_says_come_back(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope
):
    thread_id = await make_thread(services.database, ada_scope, services)

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        await stream.next()
        await edges.connections.drain()
        rest = await stream.rest()
        refused = await ask(edges, f"/v1/threads/{thread_id}/events", ada.access_token)

    assert [told.retry for told in rest] == ["1000"]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


async def test_a_log_that_cannot_be_read_ends_the_stream_with_the_reason(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, world: World, monkeypatch: pytest.MonkeyPatch
):
    thread_id = await make_thread(services.database, ada_scope, services)

    async def broken(_work: Work[Any]) -> Any:
        raise StorageUnavailableError

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        await stream.next()
        monkeypatch.setattr(services.database, "read", broken)
        world.hub.wake((ada_scope.tenant_id, thread_id), 5)
        rest = await stream.rest()

    assert [(told.event, told.data["error"]["code"]) for told in rest] == [("stream_closed", "storage_unavailable")]


@pytest.mark.slow
async def test_a_slow_reader_is_cut_off(services: EdgeParts, ada: SignedIn, ada_scope: Scope):
    thread_id = await make_thread(services.database, ada_scope, services)
    await append(services.log, services, ada_scope, thread_id, *["x" * 50_000] * 60)
    figures = services.telemetry.figures

    async with (
        edges_over(replace(services, limits=EdgeLimits(send_timeout_s=0.1))) as edges,
        reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream,
    ):
        await eventually(lambda: figures.slow_consumers)
        assert len(edges.connections) == 0
        with pytest.raises(httpx2.RemoteProtocolError):
            await stream.rest()


async def test_a_client_that_leaves_leaves_nothing_behind(
    edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, world: World
):
    thread_id = await make_thread(services.database, ada_scope, services)

    async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
        await stream.next()
        assert (world.hub.followers, len(edges.connections)) == (1, 1)
    await eventually(lambda: not len(edges.connections))

    assert world.hub.followers == 0


class TestExpiry:
    @pytest.fixture
    def clock(self) -> ManualClock:  # type: ignore[override]
        return ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))

    @pytest.fixture
    async def idle_world(self, database_path: Path, clock: ManualClock) -> AsyncGenerator[World]:
        async with opened_world(database_path, clock) as world:
            yield world

    async def test_a_stream_ends_with_its_token(
        self, edges: Edges, services: EdgeParts, ada: SignedIn, ada_scope: Scope, clock: ManualClock
    ):
        thread_id = await make_thread(services.database, ada_scope, services)
        clock.advance(timedelta(seconds=ada.expires_in - 0.05))

        async with reading(edges, f"/v1/threads/{thread_id}/events", ada.access_token) as stream:
            await stream.next()
            clock.advance(timedelta(seconds=0.05))
            rest = await stream.rest()

        assert [told.data["error"]["code"] for told in rest] == ["token_expired"]
