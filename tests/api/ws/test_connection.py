from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.api.wire.parts import EdgeLimits, EdgeParts
from cloche.auth.opening import SignedIn
from cloche.domain.agents import AgentSpec
from cloche.domain.permissions import ROLE_PERMISSIONS, Role
from cloche.errors import StorageUnavailableError
from cloche.ids import ApprovalId, RunId, ThreadId, WebsocketId
from cloche.storage.database import Work
from cloche.testing.clock import ManualClock
from cloche.tools.tool import tool
from support.edges import Edges, append, closing, edges_over, eventually, make_thread
from support.world import World, opened_world

Enter = Callable[..., Awaitable[SignedIn]]


async def echo(_run: AgentRun) -> str:
    return "hello yourself"


def asgi_scope(token: str) -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/v1/ws",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
        "subprotocols": ["cloche.v1"],
    }


# Coming in


async def test_a_token_in_the_header_opens_a_connection(edges: Edges, enter: Enter):
    ada = await enter("ada")

    async with edges.socket(ada.access_token) as opened:
        ready = json.loads(await opened.recv())

    assert opened.subprotocol == "cloche.v1"
    assert ready["notice"] == "connection_ready"
    assert WebsocketId.parse(ready["websocket_id"])
    assert ready["user_id"] == ada.principal.user_id
    assert ready["heartbeat_s"] == 20
    assert ready["limits"] == {"frame_bytes": 65536, "subscriptions": 64, "ops_per_second": 100}


async def test_a_ticket_opens_one_connection_and_is_never_named_again(edges: Edges, enter: Enter):
    ada = await enter("ada")
    ticket = await edges.services.sign_in.tickets.issue_ticket(ada.principal)
    offers = ("cloche.v1", f"ticket.{ticket}")

    async with edges.socket(offers=offers, origin="http://testserver") as opened:
        await opened.recv()
        status, error = await edges.refusal(offers=offers)

    assert opened.subprotocol == "cloche.v1"
    assert ticket not in str(opened.response)
    assert (status, error["code"]) == (401, "not_authenticated")


async def test_the_first_frame_may_bring_the_token(edges: Edges, enter: Enter):
    ada = await enter("ada")

    async with edges.socket() as opened:
        await opened.send('{"op":"ping","ref":1}')
        early = json.loads(await opened.recv())
        await opened.send(json.dumps({"op": "auth", "token": ada.access_token}))
        answer, ready = json.loads(await opened.recv()), json.loads(await opened.recv())

    assert (early["ref"], early["error"]["code"]) == (1, "not_authenticated")
    assert (answer["ref"], answer["ok"], answer["user_id"]) == (None, True, ada.principal.user_id)
    assert ready["notice"] == "connection_ready"


async def test_who_never_says_who_they_are_is_sent_away(services: EdgeParts):
    async with edges_over(replace(services, limits=EdgeLimits(auth_timeout_s=0.05))) as edges, edges.socket() as opened:
        code, reason, _ = await closing(opened)

    assert (code, reason) == (4501, "not_authenticated")


async def test_who_says_other_things_for_too_long_is_sent_away(edges: Edges):
    async with edges.socket() as opened:
        for _ in range(8):
            await opened.send("{}")
        code, _, frames = await closing(opened)

    assert code == 4501
    assert len(frames) == 8


async def test_a_wrong_token_in_the_first_frame_ends_the_connection(edges: Edges):
    async with edges.socket() as opened:
        await opened.send('{"op":"auth","ref":"a","token":"a.b.c"}')
        code, _, frames = await closing(opened)

    assert code == 4501
    assert [(frame["ref"], frame["error"]["code"]) for frame in frames] == [("a", "not_authenticated")]


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"token": "a.b.c"}, 401, "not_authenticated"),
        ({"offers": ("cloche.v1", "ticket.ct.none.x")}, 401, "not_authenticated"),
        ({"offers": ("cloche.v1", "ticket.a", "ticket.b")}, 400, "protocol_violation"),
        ({"offers": ()}, 400, "protocol_violation"),
        ({"offers": ("cloche.v2", "mqtt")}, 400, "protocol_violation"),
        ({"origin": "https://evil.example"}, 403, "origin_refused"),
        ({"origin": "http://testserver.evil.example"}, 403, "origin_refused"),
        ({"origin": "HTTP://TESTSERVER"}, 403, "origin_refused"),
        ({"origin": "null"}, 403, "origin_refused"),
        ({"query": "?token=hunter2"}, 400, "invalid_input"),
        ({"query": "?a=b&ticket=hunter2"}, 400, "invalid_input"),
    ],
)
async def test_an_upgrade_is_refused_before_it_is_accepted(
    edges: Edges, options: dict[str, Any], status: int, code: str
):
    found, error = await edges.refusal(**options)

    assert (found, error["code"]) == (status, code)
    assert error["request_id"].startswith("request_")
    assert "hunter2" not in json.dumps(error)


async def test_the_end_of_a_session_is_told_apart_at_the_door(edges: Edges, enter: Enter):
    ada = await enter("ada")
    await edges.services.sign_in.logout(ada.principal)

    status, error = await edges.refusal(ada.access_token)

    assert (status, error["code"]) == (401, "session_revoked")


# Operations


async def test_a_message_is_answered_live_and_in_order(edges: Edges, enter: Enter, world: World):
    world.programs.add("echo", echo)
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        sent = await live.ask("send", text="hello", client_message_id="m1")
        followed = await live.ask("subscribe", thread_id=sent["thread_id"])
        events = await live.until(sent["run_id"])
        again = await live.ask("send", text="hello", client_message_id="m1")

    assert {key: sent[key] for key in ("ok", "seq", "replayed")} == {"ok": True, "seq": 1, "replayed": False}
    assert followed["thread_id"] == sent["thread_id"]
    assert live.openings[0]["recovered"] is True
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events][:3] == ["message_created", "run_queued", "agent_started"]
    assert events[-1]["type"] == "agent_completed"
    assert (again["run_id"], again["replayed"]) == (sent["run_id"], True)


async def test_a_working_run_keeps_nobody_waiting(edges: Edges, enter: Enter, world: World):
    started, gate = asyncio.Event(), asyncio.Event()

    async def held(_run: AgentRun) -> str:
        started.set()
        await gate.wait()
        return "late"

    world.programs.add("held", held)
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        sent = await live.ask("send", text="one", client_message_id="1")
        await started.wait()
        ping = await live.ask("ping")
        second = await live.ask("send", text="two", client_message_id="2", thread_id=sent["thread_id"])
        busy = await live.ask("send", text="3", client_message_id="3", thread_id=sent["thread_id"], on_busy="reject")
        cancelled = await live.ask("cancel", run_id=sent["run_id"])
        await live.ask("subscribe", thread_id=sent["thread_id"])
        events = await live.until(sent["run_id"])
        gate.set()
        await live.until(second["run_id"])

    assert ping["at"].endswith("Z")
    assert (busy["ok"], busy["error"]["code"]) == (False, "thread_busy")
    assert (cancelled["ok"], cancelled["state"]) == (True, "cancelling")
    assert events[-1]["type"] == "agent_cancelled"


async def test_operations_are_answered_in_their_order(edges: Edges, enter: Enter, world: World):
    world.programs.add("echo", echo)
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        for ref in range(0, 30, 2):
            await live.socket.send(json.dumps({"op": "send", "ref": ref, "text": "x", "client_message_id": str(ref)}))
            await live.socket.send(json.dumps({"op": "ping", "ref": ref + 1}))
        answers = [await live.frame() for _ in range(30)]

    assert [answer["ref"] for answer in answers] == list(range(30))


async def test_another_one_s_things_are_answered_as_if_they_were_not_there(edges: Edges, enter: Enter, world: World):
    world.programs.add("echo", echo)
    ada, bob = await enter("ada"), await enter("bob")
    async with edges.live(bob.access_token) as live:
        his = await live.ask("send", text="mine", client_message_id="1")

    async with edges.live(ada.access_token) as live:
        for op, his_own, nobody_s in (
            ("subscribe", {"thread_id": his["thread_id"]}, {"thread_id": ThreadId.new()}),
            ("cancel", {"run_id": his["run_id"]}, {"run_id": RunId.new()}),
        ):
            answers = [await live.ask(op, **fields) for fields in (his_own, nobody_s)]
            for answer in answers:
                del answer["ref"], answer["error"]["request_id"]
            assert answers[0] == answers[1]
            assert answers[0]["error"]["code"] == "not_found"
        told = await live.ask("unsubscribe", thread_id=his["thread_id"])

    assert told["ok"] is True
    assert live.events == []


async def test_a_person_decides_once_and_the_run_goes_on(edges: Edges, enter: Enter, world: World):
    async def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    async def paying(run: AgentRun) -> str:
        return str((await run.call_tool("pay", amount=10)).value)

    world.programs.add("paying", paying, tools={"pay": tool(pay, needs_approval=True)})
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        sent = await live.ask("send", text="pay", client_message_id="1")
        await live.ask("subscribe", thread_id=sent["thread_id"])
        asked = (await live.until(sent["run_id"], "approval_requested"))[-1]["data"]["approval_id"]
        contrary = await live.ask("decide", approval_id=asked, decision="deny", arguments={})
        decided = await live.ask("decide", approval_id=asked, decision="approve", arguments={"amount": 3})
        again = await live.ask("decide", approval_id=asked, decision="deny")
        nobody_s = await live.ask("decide", approval_id=ApprovalId.new(), decision="approve")
        events = await live.until(sent["run_id"])

    assert contrary["error"]["details"]["place"] == "$.arguments"
    assert {key: decided[key] for key in ("ok", "approval_id", "run_id", "state")} == {
        "ok": True,
        "approval_id": asked,
        "run_id": sent["run_id"],
        "state": "approved",
    }
    assert again["error"]["code"] == "already_decided"
    assert nobody_s["error"]["code"] == "not_found"
    assert events[-1]["type"] == "agent_completed"


async def test_what_is_not_granted_is_denied(edges: Edges, enter: Enter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ROLE_PERMISSIONS, Role.MEMBER, frozenset())  # type: ignore[arg-type]
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        answers = [
            await live.ask("subscribe", thread_id=ThreadId.new()),
            await live.ask("unsubscribe", thread_id=ThreadId.new()),
            await live.ask("send", text="x", client_message_id="1"),
            await live.ask("cancel", run_id=RunId.new()),
            await live.ask("decide", approval_id=ApprovalId.new(), decision="approve"),
        ]
        ping = await live.ask("ping")

    assert {answer["error"]["code"] for answer in answers} == {"permission_denied"}
    assert [answer["error"]["details"]["permission"] for answer in answers] == [
        *("threads:read", "threads:read", "runs:write", "runs:write", "approvals:decide")
    ]
    assert ping["ok"] is True


async def test_nothing_that_is_sent_ends_the_connection(edges: Edges, enter: Enter):
    ada = await enter("ada")
    nasty = ["", "[]", "nonsense", '{"op":"none"}', '{"op":"ping","x":1e999}', b"\x00\xff", "[" * 60_000, "x" * 70_000]

    async with edges.live(ada.access_token) as live:
        for frame in nasty:
            await live.socket.send(frame)
        answers = [await live.frame() for _ in nasty]
        ping = await live.ask("ping")

    assert all(answer["ref"] is None and answer["ok"] is False for answer in answers)
    assert ping["ok"] is True


async def test_an_unexpected_error_ends_one_operation_and_not_the_connection(edges: Edges, enter: Enter, world: World):
    def spec(_agent: str | None) -> AgentSpec:
        raise RuntimeError("a secret")

    world.programs.spec = spec  # type: ignore[method-assign]
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        answer = await live.ask("send", text="x", client_message_id="1")
        ping = await live.ask("ping")

    assert answer["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(answer)
    logged = [fields for level, event, fields in world.log_book.lines if (level, event) == ("error", "request.failed")]
    assert [str(fields["request"]) for fields in logged] == [answer["error"]["request_id"]]
    assert ping["ok"] is True


async def test_too_many_operations_are_refused_one_by_one(database_path: Path, services: EdgeParts, enter: Enter):
    ada = await enter("ada")
    clock = ManualClock(services.clock.now())

    async with edges_over(replace(services, clock=clock)) as edges, edges.live(ada.access_token) as live:
        answers = [await live.ask("ping") for _ in range(101)]
        clock.advance(timedelta(seconds=0.01))
        later = await live.ask("ping")

    assert all(answer["ok"] for answer in answers[:100])
    assert answers[100]["error"]["code"] == "rate_limited"
    assert answers[100]["error"]["details"]["retry_after_s"] == pytest.approx(0.01)
    assert later["ok"] is True


# Following


async def test_a_subscriber_is_answered_first_then_told_where_it_stands(edges: Edges, enter: Enter):
    ada = await enter("ada")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    await append(services.log, services, scope, thread_id, "a", "b", "c")

    async with edges.live(ada.access_token) as live:
        await live.socket.send(json.dumps({"op": "subscribe", "ref": 1, "thread_id": thread_id, "after": 1}))
        answer, opening, events = await live.frame(), await live.frame(), await live.frame()
        await append(services.log, services, scope, thread_id, "d")
        later = await live.frame()

    assert answer == {"ref": 1, "ok": True, "thread_id": thread_id, "head_seq": 3}
    assert (opening["recovered"], opening["from_seq"], opening["head_seq"]) == (True, 2, 3)
    assert [event["seq"] for event in events["events"]] == [2, 3]
    assert [event["data"]["title"] for event in later["events"]] == ["d"]


async def test_a_position_of_another_log_gets_a_snapshot(edges: Edges, enter: Enter):
    ada = await enter("ada")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    await append(services.log, services, scope, thread_id, "a", "b")

    async with edges.live(ada.access_token) as live:
        await live.ask("subscribe", thread_id=thread_id, after=1, epoch=99)
        await live.frame()
        await live.ask("subscribe", thread_id=thread_id, after=77)
        await live.frame()

    assert [opening["recovered"] for opening in live.openings] == [False, False]
    assert live.openings[0]["snapshot"]["seq"] == 2
    assert live.openings[0]["from_seq"] == 3
    assert live.events == []


async def test_a_second_subscription_replaces_the_first(edges: Edges, enter: Enter):
    ada = await enter("ada")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    await append(services.log, services, scope, thread_id, "a")

    async with edges.live(ada.access_token) as live:
        await live.ask("subscribe", thread_id=thread_id)
        await live.ask("subscribe", thread_id=thread_id, after=1)
        await append(services.log, services, scope, thread_id, "b")
        while not any(event["seq"] == 2 for event in live.events):
            await live.frame()
        await live.ask("ping")
        await live.ask("unsubscribe", thread_id=thread_id)
        await append(services.log, services, scope, thread_id, "c")
        await live.ask("ping")

    assert [event["seq"] for event in live.events].count(2) == 1
    assert max(event["seq"] for event in live.events) == 2


async def test_a_connection_follows_so_many_threads_and_no_more(services: EdgeParts, enter: Enter):
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    threads = [await make_thread(services.database, scope, services) for _ in range(3)]

    async with (
        edges_over(replace(services, limits=EdgeLimits(subscriptions=2))) as edges,
        edges.live(ada.access_token) as live,
    ):
        answers = [await live.ask("subscribe", thread_id=thread_id) for thread_id in threads]
        again = await live.ask("subscribe", thread_id=threads[0])
        await live.ask("unsubscribe", thread_id=threads[1])
        freed = await live.ask("subscribe", thread_id=threads[2])

    assert [answer["ok"] for answer in answers] == [True, True, False]
    assert answers[2]["error"]["code"] == "limit_exceeded"
    assert again["ok"]
    assert freed["ok"]


# How a connection ends


@pytest.mark.slow
async def test_a_slow_reader_is_sent_away_with_its_position(services: EdgeParts, enter: Enter):
    ada = await enter("ada")
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    await append(services.log, services, scope, thread_id, *["x" * 50_000] * 60)
    figures = services.telemetry.figures

    async with (
        edges_over(replace(services, limits=EdgeLimits(send_timeout_s=0.1))) as edges,
        edges.live(ada.access_token, max_queue=1) as live,
    ):
        await live.ask("subscribe", thread_id=thread_id)
        await eventually(lambda: figures.slow_consumers)
        code, reason, frames = await closing(live.socket)

    seen = [event["seq"] for frame in frames for event in frame.get("events", ())]
    assert code == 4408
    assert json.loads(reason) == {thread_id: seen[-1]}
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 60


async def test_a_drain_tells_everybody_where_they_stand(edges: Edges, enter: Enter):
    ada, bob = await enter("ada"), await enter("bob")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)
    await append(services.log, services, scope, thread_id, "a", "b")

    async with edges.live(ada.access_token) as live, edges.live(bob.access_token) as idle, edges.socket() as nobody:
        await live.ask("subscribe", thread_id=thread_id)
        while len(live.events) < 2:
            await live.frame()
        await edges.connections.drain()
        ends = [await closing(one) for one in (live.socket, idle.socket, nobody)]
        status, error = await edges.refusal(ada.access_token)

    assert [(code, reason) for code, reason, _ in ends] == [(1012, "draining")] * 3
    assert ends[0][2] == [{"notice": "draining", "positions": {thread_id: 2}}]
    assert ends[1][2] == [{"notice": "draining", "positions": {}}]
    assert ends[2][2] == []
    assert (status, error["code"]) == (503, "draining")
    assert len(edges.connections) == 0


async def test_a_revoked_session_ends_its_connections_and_no_others(edges: Edges, enter: Enter):
    ada, bob = await enter("ada"), await enter("bob")

    async with edges.live(ada.access_token) as live, edges.live(bob.access_token) as other:
        await edges.services.sign_in.logout(ada.principal)
        code, reason, _ = await closing(live.socket)
        ping = await other.ask("ping")

    assert (code, reason) == (4502, "session_revoked")
    assert ping["ok"] is True


async def test_a_disabled_user_is_gone_at_once(edges: Edges, enter: Enter):
    ada = await enter("ada")

    async with edges.live(ada.access_token) as live:
        await edges.services.sign_in.users.disable_user(ada.principal.email, "acme")
        code, _, _ = await closing(live.socket)

    assert code == 4502


async def test_a_session_that_another_process_ended_is_noticed_at_the_next_operation(edges: Edges, enter: Enter):
    ada = await enter("ada")

    async def work(tx: Any) -> None:
        await tx.execute("UPDATE sessions SET revoked_at = 1 WHERE id = ?", str(ada.principal.session_id))

    async with edges.live(ada.access_token) as live:
        await edges.services.database.write(work)
        edges.services.sign_in._parts.standings.forget_session(ada.principal.session_id)
        await live.socket.send(json.dumps({"op": "cancel", "ref": 1, "run_id": RunId.new()}))
        code, _, frames = await closing(live.socket)

    assert code == 4502
    assert [frame["error"]["code"] for frame in frames] == ["session_revoked"]


class TestExpiry:
    """On a clock that only the test moves: a token's last twentieth of a second."""

    @pytest.fixture
    def clock(self) -> ManualClock:  # type: ignore[override]
        return ManualClock(datetime(2026, 3, 1, 12, 0, tzinfo=UTC))

    @pytest.fixture
    async def idle_world(self, database_path: Path, clock: ManualClock):
        async with opened_world(database_path, clock) as world:
            yield world

    async def test_a_connection_ends_with_its_token(self, edges: Edges, enter: Enter, clock: ManualClock):
        ada = await enter("ada")
        clock.advance(timedelta(seconds=ada.expires_in - 0.05))

        async with edges.live(ada.access_token) as live:
            clock.advance(timedelta(seconds=0.05))
            code, reason, _ = await closing(live.socket)

        assert (code, reason) == (4401, "token_expired")

    async def test_a_token_that_is_over_opens_nothing(self, edges: Edges, enter: Enter, clock: ManualClock):
        ada = await enter("ada")
        clock.advance(timedelta(seconds=ada.expires_in))

        status, error = await edges.refusal(ada.access_token)

        assert (status, error["code"], error["retryable"]) == (401, "token_expired", True)

    async def test_who_authenticates_again_may_stay(self, edges: Edges, enter: Enter, clock: ManualClock):
        ada, bob = await enter("ada"), await enter("bob")
        clock.advance(timedelta(seconds=ada.expires_in - 0.05))
        renewed = await edges.services.sign_in.refresh(ada.refresh_token)
        his = await edges.services.sign_in.refresh(bob.refresh_token)

        async with edges.live(ada.access_token) as live:
            refused = await live.ask("auth", token=his.access_token)
            wrong = await live.ask("auth", token="a.b.c")
            answer = await live.ask("auth", token=renewed.access_token)
            clock.advance(timedelta(seconds=0.05))
            ping = await live.ask("ping")
            clock.advance(timedelta(seconds=renewed.expires_in))
            late = await live.ask("ping")

        assert refused["error"]["code"] == "permission_denied"
        assert wrong["error"]["code"] == "not_authenticated"
        assert (answer["ok"], answer["expires_at"]) == (True, "2026-03-01T12:29:59.000Z")
        assert ping["ok"] is True
        assert late["ok"] is True  # the timer looks at the clock when it was told to; nothing is read meanwhile


async def test_a_log_that_cannot_be_read_sends_its_followers_away_to_come_back(
    edges: Edges, enter: Enter, monkeypatch: pytest.MonkeyPatch
):
    ada = await enter("ada")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)

    async def broken(_work: Work[Any]) -> Any:
        raise StorageUnavailableError

    async with edges.live(ada.access_token) as live:
        await live.ask("subscribe", thread_id=thread_id)
        await live.frame()
        monkeypatch.setattr(services.database, "read", broken)
        services.log._hub.wake((scope.tenant_id, thread_id), 5)
        code, reason, _ = await closing(live.socket)

    assert (code, reason) == (4453, "storage_unavailable")


async def test_an_unexpected_error_of_the_sender_is_logged_and_told(
    edges: Edges, enter: Enter, world: World, monkeypatch: pytest.MonkeyPatch
):
    ada = await enter("ada")
    services = edges.services
    scope = await services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(services.database, scope, services)

    async def broken(_work: Work[Any]) -> Any:
        raise RuntimeError("a secret")

    async with edges.live(ada.access_token) as live:
        await live.ask("subscribe", thread_id=thread_id)
        await live.frame()
        monkeypatch.setattr(services.database, "read", broken)
        services.log._hub.wake((scope.tenant_id, thread_id), 5)
        code, reason, _ = await closing(live.socket)

    assert (code, reason) == (1011, "internal_error")
    assert ("error", "request.failed") in [line[:2] for line in world.log_book.lines]


async def test_a_client_that_leaves_leaves_nothing_behind(edges: Edges, enter: Enter, world: World):
    ada = await enter("ada")
    scope = await edges.services.sign_in.scope_of(ada.principal)
    thread_id = await make_thread(edges.services.database, scope, edges.services)
    figures = world.telemetry.figures

    async with edges.live(ada.access_token) as live:
        await live.ask("subscribe", thread_id=thread_id)
        assert (figures.connections_open, world.hub.followers) == (1, 1)
        live.socket.transport.abort()
        await live.socket.wait_closed()
    await eventually(lambda: not figures.connections_open)

    assert (world.hub.followers, len(edges.connections)) == (0, 0)
    lines = [event for _, event, _ in world.log_book.lines if event.startswith("connection.")]
    assert lines == ["connection.opened", "connection.closed"]


async def test_an_unexpected_error_of_the_upgrade_is_logged_and_told(
    edges: Edges, world: World, monkeypatch: pytest.MonkeyPatch
):
    async def broken(_token: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(edges.services.sign_in, "authenticate", broken)
    status, error = await edges.refusal("a.b.c")
    async with edges.socket() as opened:
        await opened.send('{"op":"auth","token":"a.b.c"}')
        code, reason, _ = await closing(opened)

    assert (status, error["code"]) == (500, "internal_error")
    assert (code, reason) == (1011, "internal_error")
    assert "secret" not in json.dumps(error)
    assert [line[:2] for line in world.log_book.lines].count(("error", "request.failed")) == 2


async def test_who_leaves_before_saying_who_they_are_is_nobody(edges: Edges, world: World):
    async with edges.socket():
        await eventually(lambda: len(edges.connections) == 1)
    await eventually(lambda: len(edges.connections) == 0)

    assert world.telemetry.figures.connections_opened == 0


async def test_a_socket_that_breaks_while_something_is_sent_ends_quietly(
    services: EdgeParts, enter: Enter, world: World
):
    ada = await enter("ada")
    edges = Edges(services)
    broken = asyncio.Event()
    received = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await broken.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            broken.set()
            raise OSError

    await edges.app(asgi_scope(ada.access_token), receive, send)  # type: ignore[arg-type]

    assert broken.is_set()
    closed = [fields for _, event, fields in world.log_book.lines if event == "connection.closed"]
    assert [fields["code"] for fields in closed] == [1006]
    assert not [line for line in world.log_book.lines if line[0] == "error"]


async def test_a_server_without_denial_responses_is_refused_with_a_close(services: EdgeParts):
    edges = Edges(services)
    sent: list[dict[str, Any]] = []
    received = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, Any]:
        return received.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await edges.app(asgi_scope("a.b.c"), receive, send)  # type: ignore[arg-type]

    assert sent == [{"type": "websocket.close", "code": 4501}]
