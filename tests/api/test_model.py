"""People do anything in any order over REST and the live protocol: a small model knows what each answer is.

More of it: ``python -m pytest tests/api/test_model.py --hypothesis-profile thorough --timeout 900``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from cloche.agents.function import AgentRun
from cloche.api.wire.parts import EdgeParts
from cloche.domain.event_order import check_gapless, check_run
from cloche.domain.events import Envelope
from support.client import Live
from support.edges import Edges, edges_over
from support.world import World

T = TypeVar("T")

FEW = settings(
    max_examples=8,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
ANSWERS = {"echo": "echo", "hold": "let go", "ask": "it is"}


class Agent:
    """Says the text; holds until it is let go; or asks first."""

    def __init__(self) -> None:
        self.held: dict[str, asyncio.Event] = {}

    async def __call__(self, run: AgentRun) -> str:
        kind = run.text.split()[0]
        if kind == "hold":
            await self.held.setdefault(str(run.context.run_id), asyncio.Event()).wait()
        if kind == "ask":
            approval = await run.ask("Shall I?")
            return f"{ANSWERS[kind]} {approval.state}"
        return ANSWERS[kind]

    def let_go(self, run_id: str) -> None:
        self.held.setdefault(run_id, asyncio.Event()).set()


@dataclass
class Run:
    id: str
    thread: Thread
    kind: str
    state: str
    approval: str | None = None
    decided: str | None = None


@dataclass
class Thread:
    id: str
    owner: int
    title: str = ""
    is_archived: bool = False
    is_deleted: bool = False
    runs: list[Run] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    sent: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def live(self) -> list[Run]:
        return [run for run in self.runs if run.state in {"pending", "running", "waiting"}]

    @property
    def status(self) -> str:
        states = [run.state for run in self.live]
        return next((name for name in ("waiting", "running") if name in states), "idle")


class Someone:
    """A person at both edges."""

    def __init__(self, http: httpx2.AsyncClient, live: Live) -> None:
        self.http = http
        self.live = live
        self.followed: set[str] = set()

    async def ask(self, edge: str, verb: str, where: str, op: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        """``ok`` or the error's code, and the answer, over REST (verb, path) or the live protocol (op, fields)."""
        body = {name: value for name, value in fields.items() if value is not None}
        if edge == "ws":
            answer = await self.live.ask(op, **body)
            return ("ok" if answer["ok"] else answer["error"]["code"]), answer
        sent = {
            name: value for name, value in body.items() if not name.endswith(("thread_id", "run_id", "approval_id"))
        }
        found = await self.http.request(verb, where, json=sent)
        answer = found.json() if found.content else {}
        return ("ok" if found.is_success else answer["error"]["code"]), answer


class Place:
    """A served world, and the loop that it lives on; a machine in another thread calls it."""

    def __init__(self, edges: Edges, enter: Any, agent: Agent) -> None:
        self.edges = edges
        self.enter = enter
        self.agent = agent
        self.loop = asyncio.get_running_loop()
        self._people = 0

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(15)

    async def someone(self, stack: AsyncExitStack) -> Someone:
        self._people += 1
        number = self._people
        address = f"198.51.100.{number % 256}"
        signed_in = await self.enter(f"person{number}", tenant=f"tenant{number // 2}", address=address)
        transport = httpx2.ASGITransport(app=self.edges.app, client=("192.0.2.7", 4711))
        http = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://testserver"))
        http.headers["Authorization"] = f"Bearer {signed_in.access_token}"
        return Someone(http, await stack.enter_async_context(self.edges.live(signed_in.access_token)))


PEOPLE = st.integers(0, 1)
PICK = st.integers(0, 5)
EDGE = st.sampled_from(["rest", "ws"])


class Machine(RuleBasedStateMachine):
    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[Thread] = []
        self.runs: list[Run] = []
        self.messages = 0
        self.stack = AsyncExitStack()
        self.people = [self.wait_for(self.place.someone(self.stack)) for _ in range(2)]

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.place.wait_for(coroutine)

    def ask(
        self, who: int, edge: str, verb: str, where: str, op: str = "", **fields: Any
    ) -> tuple[str, dict[str, Any]]:
        return self.wait_for(self.people[who].ask(edge, verb, where, op, **fields))

    def may(self, who: int, thread: Thread) -> bool:
        return thread.owner == who and not thread.is_deleted

    # Threads.

    @rule(who=PEOPLE, title=st.sampled_from(["", "Roses", "  Moss "]))
    def make_thread(self, who: int, title: str) -> None:
        told, answer = self.ask(who, "rest", "POST", "/v1/threads", title=title)

        assert (told, answer["title"], answer["status"], answer["head_seq"]) == ("ok", title.strip(), "idle", 0)
        self.threads.append(Thread(answer["id"], who, title.strip()))

    @precondition(lambda self: self.threads)
    @rule(who=PEOPLE, pick=PICK, title=st.sampled_from(["Roses", "Ferns"]))
    def rename(self, who: int, pick: int, title: str) -> None:
        thread = self.threads[pick % len(self.threads)]

        told, answer = self.ask(who, "rest", "PATCH", f"/v1/threads/{thread.id}", title=title)

        assert told == ("ok" if self.may(who, thread) else "not_found")
        if told == "ok":
            thread.title = title
            assert (answer["title"], answer["status"]) == (title, thread.status)

    @precondition(lambda self: self.threads)
    @rule(who=PEOPLE, pick=PICK, is_wanted=st.booleans())
    def archive(self, who: int, pick: int, is_wanted: bool) -> None:
        thread = self.threads[pick % len(self.threads)]
        verb = "archive" if is_wanted else "unarchive"

        told, answer = self.ask(who, "rest", "POST", f"/v1/threads/{thread.id}/{verb}")

        assert told == ("ok" if self.may(who, thread) else "not_found")
        if told == "ok":
            thread.is_archived = is_wanted
            assert (answer["archived_at"] is not None) is is_wanted

    @precondition(lambda self: len(self.threads) > 1)
    @rule(who=PEOPLE, pick=PICK, is_sure=st.integers(0, 2))
    def delete(self, who: int, pick: int, is_sure: int) -> None:
        if is_sure:
            return
        thread = self.threads[pick % len(self.threads)]

        told, _ = self.ask(who, "rest", "DELETE", f"/v1/threads/{thread.id}")

        assert told == ("ok" if self.may(who, thread) else "not_found")
        if told == "ok":
            thread.is_deleted = True
            for run in reversed(thread.live):
                self.end(run, "cancelled")
            self.settle(thread)

    # Messages.

    @precondition(lambda self: self.threads)
    @rule(
        who=PEOPLE,
        pick=PICK,
        edge=EDGE,
        kind=st.sampled_from(["echo", "hold", "ask"]),
        on_busy=st.sampled_from([None, "enqueue", "reject", "interrupt"]),
        on_pending=st.sampled_from([None, "reject", "enqueue", "cancel_approval"]),
    )
    def send(self, who: int, pick: int, edge: str, kind: str, on_busy: str | None, on_pending: str | None) -> None:
        thread = self.threads[pick % len(self.threads)]
        self.messages += 1
        name, text = f"message-{self.messages}", f"{kind} {self.messages}"

        told, answer = self.ask(
            who,
            edge,
            "POST",
            f"/v1/threads/{thread.id}/messages",
            "send",
            thread_id=thread.id,
            text=text,
            client_message_id=name,
            on_busy=on_busy,
            on_pending_approval=on_pending,
        )

        expected, interrupts = self.way_in(who, thread, on_busy or "enqueue", on_pending or "reject")
        assert told == expected
        if told != "ok":
            return
        assert (answer["thread_id"], answer["replayed"]) == (thread.id, False)
        if interrupts:
            for run in reversed(thread.live):
                self.end(run, "cancelled")
        run = Run(answer["run_id"], thread, kind, "pending")
        thread.runs.append(run)
        self.runs.append(run)
        thread.said.append(("user", text))
        thread.sent[name] = (text, run.id)
        self.settle(thread)

    def way_in(self, who: int, thread: Thread, on_busy: str, on_pending: str) -> tuple[str, bool]:
        if not self.may(who, thread):
            return "not_found", False
        if not thread.live:
            return "ok", False
        if thread.status == "waiting":
            return ("approval_pending" if on_pending == "reject" else "ok"), on_pending == "cancel_approval"
        return ("thread_busy" if on_busy == "reject" else "ok"), on_busy == "interrupt"

    @precondition(lambda self: any(thread.sent for thread in self.threads))
    @rule(who=PEOPLE, pick=PICK, which=PICK, edge=EDGE, is_same=st.booleans())
    def send_again(self, who: int, pick: int, which: int, edge: str, is_same: bool) -> None:
        known = [thread for thread in self.threads if thread.sent]
        thread = known[pick % len(known)]
        name = list(thread.sent)[which % len(thread.sent)]
        text, run_id = thread.sent[name]

        told, answer = self.ask(
            who,
            edge,
            "POST",
            f"/v1/threads/{thread.id}/messages",
            "send",
            thread_id=thread.id,
            text=text if is_same else "another",
            client_message_id=name,
            on_busy="reject",
        )

        assert told == ("not_found" if not self.may(who, thread) else "ok" if is_same else "idempotency_mismatch")
        if told == "ok":
            assert (answer["run_id"], answer["replayed"]) == (run_id, True)

    # Runs.

    @precondition(lambda self: self.runs)
    @rule(who=PEOPLE, pick=st.integers(0, 30), edge=EDGE)
    def cancel(self, who: int, pick: int, edge: str) -> None:
        run = self.runs[-1 - pick % len(self.runs)]
        before = run.state

        told, answer = self.ask(who, edge, "POST", f"/v1/runs/{run.id}/cancel", "cancel", run_id=run.id)

        assert told == ("ok" if run.thread.owner == who else "not_found")
        if told == "ok":
            expected = {"running": "cancelling", "pending": "cancelled", "waiting": "cancelled"}.get(before, before)
            assert answer["state"] == expected
            if before in {"pending", "running", "waiting"}:
                self.end(run, "cancelled")
                self.settle(run.thread)

    @precondition(lambda self: any(run.state == "running" for run in self.runs))
    @rule(pick=PICK)
    def let_go(self, pick: int) -> None:
        held = [run for run in self.runs if run.state == "running"]
        run = held[pick % len(held)]

        self.place.loop.call_soon_threadsafe(self.place.agent.let_go, run.id)

        self.complete(run)
        self.settle(run.thread)

    @precondition(lambda self: any(run.approval for run in self.runs))
    @rule(who=PEOPLE, pick=st.integers(0, 9), edge=EDGE, decision=st.sampled_from(["approve", "deny"]))
    def decide(self, who: int, pick: int, edge: str, decision: str) -> None:
        asked = [run for run in self.runs if run.approval]
        run = asked[-1 - pick % len(asked)]

        told, _ = self.ask(
            who,
            edge,
            "POST",
            f"/v1/approvals/{run.approval}/decide",
            "decide",
            approval_id=run.approval,
            decision=decision,
        )

        mine = run.thread.owner == who
        assert told == ("not_found" if not mine else "already_decided" if run.decided else "ok")
        if told == "ok":
            run.decided = {"approve": "approved", "deny": "denied"}[decision]
            self.complete(run)
            self.settle(run.thread)

    # What is seen.

    @rule(who=PEOPLE)
    def look_at_threads(self, who: int) -> None:
        for archived in (False, True):
            _, page = self.ask(who, "rest", "GET", f"/v1/threads?limit=100&archived={str(archived).lower()}")
            mine = [thread for thread in self.threads if self.may(who, thread) and thread.is_archived is archived]
            assert {item["id"]: (item["title"], item["status"]) for item in page["items"]} == {
                thread.id: (thread.title, thread.status) for thread in mine
            }

    @rule(who=PEOPLE)
    def look_at_approvals(self, who: int) -> None:
        _, page = self.ask(who, "rest", "GET", "/v1/approvals?limit=100&state=all")

        asked = [run for run in self.runs if run.approval and run.thread.owner == who]
        assert {item["id"]: (item["run_id"], item["state"]) for item in page["items"]} == {
            str(run.approval): (run.id, run.decided or "pending") for run in asked
        }

    @precondition(lambda self: self.threads)
    @rule(who=PEOPLE, pick=PICK)
    def look_at_messages(self, who: int, pick: int) -> None:
        thread = self.threads[pick % len(self.threads)]

        told, page = self.ask(who, "rest", "GET", f"/v1/threads/{thread.id}/messages?limit=100")

        assert told == ("ok" if self.may(who, thread) else "not_found")
        if told == "ok":
            found = [(item["role"], item["parts"][0]["text"]) for item in page["items"]]
            assert sorted(found) == sorted(thread.said)

    @precondition(lambda self: self.threads)
    @rule(who=PEOPLE, pick=PICK)
    def follow(self, who: int, pick: int) -> None:
        thread, person = self.threads[pick % len(self.threads)], self.people[who]
        if thread.id in person.followed and not thread.is_deleted:
            return

        told, _ = self.ask(who, "ws", "", "", "subscribe", thread_id=thread.id, after=0)

        assert told == ("ok" if self.may(who, thread) else "not_found")
        if told == "ok":
            person.followed.add(thread.id)

    # How the model goes on.

    def end(self, run: Run, state: str) -> None:
        run.state = state
        if run.approval and not run.decided:
            run.decided = "cancelled"

    def complete(self, run: Run) -> None:
        run.state = "completed"
        answer = ANSWERS[run.kind] + (f" {run.decided}" if run.kind == "ask" else "")
        run.thread.said.append(("assistant", answer))

    def settle(self, thread: Thread) -> None:
        """The thread's runs go as far as they can by themselves, in the model and in the server."""
        while thread.live and thread.live[0].state == "pending":
            run = thread.live[0]
            if run.kind == "echo":
                self.complete(run)
            elif run.kind == "hold":
                run.state = "running"
            else:
                run.state = "waiting"
                run.approval = self.wait_for(self.approval_of(run))
        for run in thread.runs:
            self.wait_for(self.stands(run))

    async def stands(self, run: Run) -> None:
        found = ""
        for _ in range(2000):
            answer = await self.people[run.thread.owner].http.get(f"/v1/runs/{run.id}")
            found = answer.json()["state"]
            if found == run.state:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{run.id} is {found}, and the model says {run.state}")

    async def approval_of(self, run: Run) -> str:
        for _ in range(2000):
            answer = await self.people[run.thread.owner].http.get("/v1/approvals?limit=100")
            for item in answer.json()["items"]:
                if item["run_id"] == run.id:
                    return item["id"]
            await asyncio.sleep(0)
        raise AssertionError(f"{run.id} did not ask")

    def teardown(self) -> None:
        try:
            self.wait_for(self.check_streams())
        finally:
            self.wait_for(self.stack.aclose())

    async def check_streams(self) -> None:
        """What was followed is the whole log, each run a right story, and nothing of anybody else's."""
        for number, person in enumerate(self.people):
            for thread in self.threads:
                if thread.id not in person.followed or thread.is_deleted:
                    continue
                answer = await person.http.get(f"/v1/threads/{thread.id}")
                head = answer.json()["head_seq"]
                while not any(one["thread_id"] == thread.id and one["seq"] >= head for one in person.live.events):
                    if not head:
                        break
                    await person.live.frame()
                of_thread = [one for one in person.live.events if one["thread_id"] == thread.id]
                assert check_gapless([one["seq"] for one in of_thread], after=0) == []
                for run in thread.runs:
                    if run not in thread.live:
                        story = [msgspec.convert(one, _Loose) for one in of_thread if one["run_id"] == run.id]
                        assert check_run([one.envelope() for one in story]) == []
            mine = {thread.id for thread in self.threads if thread.owner == number}
            assert {one["thread_id"] for one in person.live.events} <= mine


class _Loose(msgspec.Struct):
    """An event as a client has it."""

    seq: int
    type: str
    thread_id: str
    run_id: str | None
    at: str
    data: dict[str, Any]

    def envelope(self) -> Envelope:
        return msgspec.json.decode(msgspec.json.encode(self), type=Envelope)


@pytest.fixture
async def place(services: EdgeParts, world: World, enter: Any) -> AsyncGenerator[Place]:
    agent = Agent()
    world.programs.add("agent", agent)
    async with edges_over(services) as edges:
        yield Place(edges, enter, agent)


@pytest.mark.slow
async def test_every_answer_is_the_one_that_the_model_gives(place: Place):
    machine = cast("type[Machine]", type("Model", (Machine,), {"place": place}))
    chosen = settings.default if settings.get_current_profile_name() == "thorough" else FEW

    await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
