"""pydantic-ai agents as durable programs: on the real worker and database, and a real local model server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext
from pydantic_ai.exceptions import ModelRetry, ToolFailed
from pydantic_ai.messages import BinaryContent, ToolReturn
from pydantic_ai.models import Model
from pydantic_ai.toolsets import DynamicToolset, FunctionToolset

from cloche.agents.pydantic_ai_program import PydanticAIProgram
from cloche.domain.agents import AgentLimits, AgentSpec
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.context import UserExecutionContext
from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import (
    AgentCancelled,
    AgentCompleted,
    AgentFailed,
    AgentThinking,
    ApprovalRequested,
    Envelope,
    EventData,
    MessageCompleted,
    MessageDelta,
    StepRestarted,
    ToolCompleted,
    ToolExecuting,
)
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.domain.tools import MAX_RESULT_BYTES
from cloche.errors import ModelError
from cloche.execution.intake import Accepted, Retrying
from cloche.execution.program import Program
from cloche.ids import ApprovalId, MessageId, RequestId, RunId, ThreadId
from cloche.llm.config import ModelConfig
from cloche.llm.models import open_model
from cloche.llm.scripted import ScriptedModel
from cloche.storage.branches import BranchRepository
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.tools.dispatcher import ToolDispatcher
from cloche.tools.tool import Tool, tool
from support.openai_server import MODEL, OpenAIServer, Reply, openai_server
from support.world import World, opened_world, working

T = TypeVar("T", bound=EventData)

NO_EFFECT = {"cloche": {"effect": "none"}}


@dataclass
class Outcomes:
    """What the probe hears of the requests."""

    successes: int = 0
    failures: list[ModelError] = field(default_factory=list)

    def succeeded(self) -> None:
        self.successes += 1


def add_agent(
    world: World,
    agent: Agent[Any, Any],
    model: Model[Any],
    *,
    tools: Mapping[str, Tool] | None = None,
    limits: AgentLimits | None = None,
) -> Outcomes:
    own, outcomes = dict(tools or {}), Outcomes()

    def make() -> Program:
        dispatcher = ToolDispatcher(
            own, frozenset(own), clock=world.clock, telemetry=world.telemetry, grace=timedelta(milliseconds=200)
        )
        return PydanticAIProgram(
            agent,
            model=model,
            dispatcher=dispatcher,
            on_success=outcomes.succeeded,
            on_failure=outcomes.failures.append,
        )

    spec = AgentSpec(
        name="agent",
        version="1",
        description="",
        model="openai:local",
        tools=tuple(own),
        limits=limits or AgentLimits(),
    )
    world.programs.add_program(spec, make)
    return outcomes


def of_kind(events: list[Envelope], kind: type[T]) -> list[T]:
    return [data for event in events if isinstance(data := decoded(event), kind)]


def text_of(events: list[Envelope]) -> str:
    return "".join(delta.text for delta in of_kind(events, MessageDelta))


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with openai_server() as running:
        yield running


@pytest.fixture
async def model(server: OpenAIServer) -> AsyncIterator[Model[Any]]:
    async with open_model(ModelConfig(name=f"openai:{MODEL}", base_url=server.url)) as opened:
        yield opened


async def double(number: int) -> int:
    """Twice the number."""
    if number < 0:
        raise ValueError("no")
    return 2 * number


def last_told(server: OpenAIServer) -> str:
    """What the model was told last."""
    return server.completions[-1].body["messages"][-1]["content"]


async def ask(world: World, text: str = "hello") -> list[Envelope]:
    scope = await world.person()
    events = await world.until(scope, await world.send(scope, text))
    assert check_run(events) == []
    return events


async def test_a_run_shows_thoughts_words_and_tools_in_order(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    outcomes = add_agent(world, Agent(), model, tools={"double": tool(double)})
    server.plan(
        Reply(thinking="I had better\nask", text="I double.", calls=[("double", '{"number": 21}')]),
        Reply(text="It is forty two"),
    )

    events = await ask(world, "twice 21?")

    kinds = [event.type for event in events if event.type != "message_delta"]
    assert kinds == [
        "message_created",
        "run_queued",
        "agent_started",
        "agent_thinking",
        "agent_thinking",
        "message_completed",
        "tool_executing",
        "tool_completed",
        "message_completed",
        "agent_completed",
    ]
    assert [thought.text for thought in of_kind(events, AgentThinking)] == ["I had better\n", "ask"]
    assert text_of(events) == "I double.It is forty two"
    assert of_kind(events, ToolCompleted)[0].result == 42
    completed = of_kind(events, AgentCompleted)[0]
    assert completed.message_id == of_kind(events, MessageCompleted)[-1].message_id
    assert (completed.usage.model_calls, completed.usage.tool_calls) == (2, 1)
    assert (completed.usage.input_tokens, completed.usage.output_tokens) == (14, 6)
    assert outcomes.successes == 2


async def test_a_long_thought_is_shown_in_pieces(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    add_agent(world, Agent(), model)
    thinking = "long thought " * 60
    server.plan(Reply(thinking=thinking, text="Done"))

    events = await ask(world)

    pieces = [thought.text for thought in of_kind(events, AgentThinking)]
    assert len(pieces) == 4
    assert "".join(pieces) == thinking.rstrip()


async def test_half_a_character_and_nul_are_mended(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    agent: Agent[object, str] = Agent()

    @agent.tool_plain
    def strange() -> dict[str, str]:
        return {"a": "b\ud83d\x00"}

    add_agent(world, agent, model)
    delta = {"index": 0, "delta": {"content": " half \ud83d nul \x00"}, "finish_reason": None}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [delta]}
    server.plan(Reply(calls=[("strange", "{}")]), Reply(text="a b", garbage=json.dumps(chunk).encode()))

    events = await ask(world)

    assert of_kind(events, ToolCompleted)[0].result == {"a": "b\ufffd\ufffd"}
    assert text_of(events) == "a half \ufffd nul \ufffd b"
    assert of_kind(events, MessageCompleted)[0].parts[0].text == text_of(events)
    assert events[-1].type == "agent_completed"


async def test_the_scripted_model_runs_the_same_way(world: World) -> None:
    add_agent(world, Agent(), ScriptedModel(delay_s=0))

    events = await ask(world, "good day")

    assert events[-1].type == "agent_completed"
    assert "scripted demonstration model" in text_of(events)


async def test_the_model_sees_the_thread_and_the_system_prompt_each_time(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(world, Agent(system_prompt="Be brief.", instructions="Be kind."), model)
    server.plan(Reply(text="Good day, Ada"), Reply(text="You are Ada"))
    scope = await world.person()
    first = await world.send(scope, "I am Ada")
    await world.until(scope, first)

    await world.until(scope, await world.send(scope, "Who am I?", thread_id=first.thread_id))

    seen = [(message["role"], message["content"]) for message in server.completions[-1].body["messages"]]
    assert [item for item in seen if item[0] != "system"] == [
        ("user", "I am Ada"),
        ("assistant", "Good day, Ada"),
        ("user", "Who am I?"),
    ]
    assert {"Be brief.", "Be kind."} == {line for role, text in seen if role == "system" for line in text.split("\n\n")}


async def branched(world: World, scope: Scope, accepted: Accepted) -> ThreadId:
    """A branch before the message."""
    branch = ThreadId.new()

    async def work(tx: Transaction) -> None:
        message = await MessageRepository(scope).get(tx, MessageId(accepted.message_id))
        await BranchRepository(scope).create(tx, branch, message, title="", at=world.clock.now())

    await world.database.write(work)
    return branch


async def test_the_model_sees_what_was_said_before_a_branch_and_nothing_after_it(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(world, Agent(system_prompt="Be brief."), model)
    server.plan(Reply(text="Good day, Ada"), Reply(text="You are Ada"), Reply(text="You said so"))
    scope = await world.person()
    first = await world.send(scope, "I am Ada")
    await world.until(scope, first)
    second = await world.send(scope, "Who am I?", thread_id=first.thread_id)
    await world.until(scope, second)
    branch = await branched(world, scope, second)

    await world.until(scope, await world.send(scope, "How do you know?", thread_id=branch))

    seen = [(message["role"], message["content"]) for message in server.completions[-1].body["messages"]]
    assert seen == [
        ("system", "Be brief."),
        ("user", "I am Ada"),
        ("assistant", "Good day, Ada"),
        ("user", "How do you know?"),
    ]


async def test_the_scripted_model_answers_on_a_branch(world: World) -> None:
    add_agent(world, Agent(), ScriptedModel(delay_s=0))
    scope = await world.person()
    first = await world.send(scope, "good day")
    await world.until(scope, first)
    second = await world.send(scope, "once more", thread_id=first.thread_id)
    await world.until(scope, second)
    branch = await branched(world, scope, second)

    events = await world.until(scope, await world.send(scope, "another day", thread_id=branch))

    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def test_a_run_that_is_tried_again_asks_the_model_its_message_once(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(world, Agent(), model)
    server.plan(Reply(text="Good day, Ada"), Reply(status=400), Reply(text="You are Ada"))
    scope = await world.person()
    first = await world.send(scope, "I am Ada")
    await world.until(scope, first)
    failed = await world.send(scope, "Who am I?", thread_id=first.thread_id)
    await world.until(scope, failed)

    again = await world.intake.retry(scope, Retrying(run_id=RunId(failed.run_id)), request_id=RequestId.new())
    events = await world.until(scope, again)

    assert await world.state(scope, failed.run_id) is ExecutionState.FAILED
    assert (check_run(events), events[-1].type) == ([], "agent_completed")
    seen = [(message["role"], message["content"]) for message in server.completions[-1].body["messages"]]
    assert seen == [("user", "I am Ada"), ("assistant", "Good day, Ada"), ("user", "Who am I?")]


class Weather(BaseModel):
    degrees: int


async def test_a_structured_answer_is_its_json_text(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    add_agent(world, Agent(output_type=Weather), model)
    server.plan(Reply(calls=[("final_result", '{"degrees": 7}')]))

    events = await ask(world)

    (message,) = of_kind(events, MessageCompleted)
    assert [part.text for part in message.parts] == ['{"degrees":7}']


async def test_an_output_that_changes_the_text_is_the_answer(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    agent: Agent[object, str] = Agent()

    @agent.output_validator
    def louder(text: str) -> str:
        return text.upper()

    add_agent(world, agent, model)
    server.plan(Reply(text="quiet"))

    events = await ask(world)

    assert [message.parts[0].text for message in of_kind(events, MessageCompleted)] == ["quiet", "QUIET"]


async def test_two_runs_of_one_agent_do_not_meet(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    add_agent(world, Agent(deps_type=UserExecutionContext), model)
    server.plan(Reply(text="a b c d e f"))
    people = [await world.person() for _ in range(5)]

    sent = [(scope, await world.send(scope, f"hello from {scope.user_id}")) for scope in people]
    stories = [await world.until(scope, accepted) for scope, accepted in sent]

    assert [check_run(story) for story in stories] == [[]] * 5
    asked = {request.body["messages"][-1]["content"] for request in server.completions}
    assert asked == {f"hello from {scope.user_id}" for scope in people}
    assert {len(request.body["messages"]) for request in server.completions} == {1}


class Held:
    """An agent that stands still after everything it did is in the journal, the first time."""

    def __init__(self) -> None:
        self.agent: Agent[object, str] = Agent()
        self.reached = asyncio.Event()
        self.hold = True
        self.shouted: list[str] = []
        self.checked = 0
        self.asked = 0

        @self.agent.tool_plain(args_validator=self.check)
        def shout(text: str) -> str:
            self.shouted.append(text)
            return text.upper()

        @self.agent.output_validator
        async def wait(text: str) -> str:
            if self.hold:
                self.reached.set()
                await asyncio.get_running_loop().create_future()
            return text

        @self.agent.instructions
        def changing() -> str:
            self.asked += 1
            return f"This is the call {self.asked}."

        @self.agent.system_prompt
        def also_changing() -> str:
            return f"This is the call {self.asked}."

    def check(self, _context: RunContext[object], text: str) -> None:
        self.checked += len(text) > 0


async def test_what_the_journal_has_is_not_done_again(
    database_path: Path, server: OpenAIServer, model: Model[Any]
) -> None:
    held, doubled = Held(), []

    async def double(number: int) -> int:
        """Twice the number."""
        doubled.append(number)
        return 2 * number

    tools = {"double": tool(double)}
    server.plan(
        Reply(thinking="Both", text="Both", calls=[("shout", '{"text": "hi"}'), ("double", '{"number": 4}')]),
        Reply(text="HI and eight"),
    )
    async with opened_world(database_path) as world:
        add_agent(world, held.agent, model, tools=tools)
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await held.reached.wait()
        before = [event.type for event in await world.events(scope, accepted.run_id)]
    held.hold = False

    async with opened_world(database_path) as world:
        outcomes = add_agent(world, held.agent, model, tools=tools)
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert (len(server.completions), held.shouted, held.checked, doubled) == (2, ["hi"], 1, [4])
    assert outcomes.successes == 0
    assert [event.type for event in events] == [*before, "agent_started", "agent_completed"]
    assert check_run(events) == []
    assert check_gapless([event.seq for event in events], after=0) == []
    completed = of_kind(events, AgentCompleted)[0]
    assert (completed.usage.model_calls, completed.usage.tool_calls) == (2, 2)


async def test_a_message_that_broke_off_begins_anew(
    database_path: Path, server: OpenAIServer, model: Model[Any]
) -> None:
    server.plan(Reply(text="one two three four", stall_after=3))
    async with opened_world(database_path) as world:
        add_agent(world, Agent(), model)
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            (begun,) = of_kind(await world.until(scope, accepted, "message_delta"), MessageDelta)
    server.plan(Reply(text="five six"))

    async with opened_world(database_path) as world:
        add_agent(world, Agent(), model)
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert [restarted.message_id for restarted in of_kind(events, StepRestarted)] == [begun.message_id]
    assert of_kind(events, MessageCompleted)[0].parts[0].text == "five six"


@pytest.mark.parametrize(
    ("metadata", "calls", "told"),
    [
        (None, 1, "not known"),
        ({"cloche": {"on_unknown": "repeat"}}, 2, "paid"),
        (NO_EFFECT, 2, "paid"),
    ],
)
async def test_an_authors_tool_that_was_interrupted(
    database_path: Path,
    server: OpenAIServer,
    model: Model[Any],
    metadata: dict[str, Any] | None,
    calls: int,
    told: str,
) -> None:
    agent: Agent[object, str] = Agent()
    made: list[tuple[object, object]] = []
    called = asyncio.Event()

    @agent.tool(metadata=metadata)
    async def pay(context: RunContext[object], amount: int) -> str:
        made.append((context.run_id, context.tool_call_id))
        if len(made) == 1:
            called.set()
            await asyncio.get_running_loop().create_future()
        return "paid"

    server.plan(Reply(calls=[("pay", '{"amount": 5}')]), Reply(text="Done"))
    async with opened_world(database_path) as world:
        add_agent(world, agent, model)
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await called.wait()

    async with opened_world(database_path) as world:
        add_agent(world, agent, model)
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert len(made) == calls
    assert len(set(made)) == 1  # the key by which the outside recognises the call
    assert made[0][0] == accepted.run_id
    assert told in last_told(server)
    assert events[-1].type == "agent_completed"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(status=401), "model_refused"),
        (Reply(status=429), "model_rate_limited"),
        (Reply(status=503), "model_unavailable"),
        (Reply(drop=True), "model_unavailable"),
        (Reply(text="a b c", garbage=b"[1]"), "model_protocol"),
        (Reply(text="a b c d e", cut_after=3), "model_protocol"),
        (Reply(text="a b c", finish=None), "model_protocol"),
    ],
)
async def test_a_failing_model_fails_the_run_with_its_code(
    world: World, server: OpenAIServer, model: Model[Any], reply: Reply, code: str
) -> None:
    outcomes = add_agent(world, Agent(), model)
    server.plan(reply)

    events = await ask(world)

    (failed,) = of_kind(events, AgentFailed)
    assert failed.code == code
    assert [failure.code for failure in outcomes.failures] == [code]
    assert outcomes.successes == 0
    assert len(server.completions) == 1


@pytest.mark.parametrize("reply", [Reply(text="a b c d e", stall_after=3), Reply(endless=True, pause_s=0.01)])
async def test_a_model_that_does_not_finish_in_time_fails_the_run(
    world: World, server: OpenAIServer, model: Model[Any], reply: Reply
) -> None:
    outcomes = add_agent(world, Agent(), model, limits=AgentLimits(step_timeout=timedelta(milliseconds=150)))
    server.plan(reply)

    events = await ask(world)

    (failed,) = of_kind(events, AgentFailed)
    assert failed.code == "model_timeout"
    assert failed.retryable
    assert [failure.code for failure in outcomes.failures] == ["model_timeout"]


async def test_a_server_that_is_not_there_fails_the_run(world: World) -> None:
    async with openai_server() as gone:
        url = gone.url
    async with open_model(ModelConfig(name=f"openai:{MODEL}", base_url=url)) as model:
        add_agent(world, Agent(), model)

        events = await ask(world)

    assert of_kind(events, AgentFailed)[0].code == "model_unavailable"
    assert of_kind(events, AgentFailed)[0].retryable


async def test_a_model_that_never_gives_what_is_asked_for_fails_the_run(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(world, Agent(output_type=Weather), model)
    server.plan(Reply(calls=[("final_result", '{"degrees": "warm"}')]))

    events = await ask(world)

    assert of_kind(events, AgentFailed)[0].code == "model_protocol"


async def test_a_cancel_in_mid_stream_stops_the_request(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    add_agent(world, Agent(), model)
    server.plan(Reply(endless=True, pause_s=0.005))
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "message_delta")

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)

    await server.disconnected.wait()
    assert check_run(events) == []
    assert "model:request" in of_kind(events, AgentCancelled)[0].receipt.stopped


async def test_a_failed_tool_is_told_to_the_model(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    add_agent(world, Agent(), model, tools={"double": tool(double)})
    server.plan(
        Reply(calls=[("double", '{"number": -1}'), ("double", '{"number": "many"}')]), Reply(text="That failed")
    )

    events = await ask(world)

    assert [completed.ok for completed in of_kind(events, ToolCompleted)] == [False, False]
    told = [message["content"] for message in server.completions[-1].body["messages"] if message["role"] == "tool"]
    assert "double raised ValueError" in told[0]
    assert "number" in told[1]
    assert text_of(events) == "That failed"


async def test_a_tool_that_the_person_may_not_use_is_not_offered(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(
        world, Agent(), model, tools={"double": tool(double), "treble": tool(double, name="treble", permission="x")}
    )
    server.plan(Reply(text="Good day"))

    await ask(world)

    offered = [offer["function"]["name"] for offer in server.completions[-1].body["tools"]]
    assert offered == ["double"]


async def test_an_authors_tool_is_shown_and_gets_the_context(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    agent = Agent(deps_type=UserExecutionContext)
    seen: list[UserExecutionContext] = []

    @agent.tool(metadata={"cloche": {"effect": "internal", "secrets": ["pin"]}})
    def add(context: RunContext[UserExecutionContext], first: int, second: int, pin: str) -> int:
        seen.append(context.deps)
        return first + second

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("add", '{"first": 1, "second": 2, "pin": "1234"}')]), Reply(text="Three"))

    events = await ask(world)

    (executing,) = of_kind(events, ToolExecuting)
    assert (executing.tool, executing.effect) == ("add", "internal")
    assert executing.arguments == {"first": 1, "second": 2, "pin": "***"}
    (completed,) = of_kind(events, ToolCompleted)
    assert (completed.ok, completed.result) == (True, 3)
    assert [str(context.run_id) for context in seen] == [events[-1].run_id]
    assert last_told(server) == "3"


async def raises(kind: str) -> object:
    match kind:
        case "retry":
            raise ModelRetry("say it again")
        case "failed":
            raise ToolFailed("it is closed")
        case "raised":
            raise ValueError("a secret")
        case "strange":
            return object()
        case _:
            return ToolReturn(return_value={"ok": 1}, metadata={"kept": True})


@pytest.mark.parametrize(
    ("kind", "ok", "code", "told"),
    [
        ("retry", False, "tool_failed", "say it again"),
        ("failed", False, "tool_failed", "it is closed"),
        ("raised", False, "tool_failed", "raises raised ValueError"),
        ("strange", False, "tool_failed", "no JSON form"),
        ("return", True, "", '{"ok":1}'),
    ],
)
async def test_what_an_authors_tool_does_is_told_to_the_model(
    world: World, server: OpenAIServer, model: Model[Any], kind: str, ok: bool, code: str, told: str
) -> None:
    agent: Agent[object, str] = Agent()
    agent.tool_plain(raises)
    add_agent(world, agent, model)
    server.plan(Reply(calls=[("raises", f'{{"kind": "{kind}"}}')]), Reply(text="Well"))

    events = await ask(world)

    (completed,) = of_kind(events, ToolCompleted)
    assert completed.ok is ok
    assert (completed.error.code if completed.error else "") == code
    assert told in last_told(server)
    assert "a secret" not in last_told(server)
    assert events[-1].type == "agent_completed"


async def test_a_result_that_is_too_large_is_cut(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    agent: Agent[object, str] = Agent()

    @agent.tool_plain
    def long() -> str:
        return "x" * (MAX_RESULT_BYTES + 1)

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("long", "{}")]), Reply(text="Long"))

    events = await ask(world)

    assert events[-1].type == "agent_completed"
    assert "[cut: the result had" in last_told(server)
    assert "[cut: the result had" in str(of_kind(events, ToolCompleted)[0].result)


async def test_a_picture_that_is_too_large_is_a_failure(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    agent: Agent[object, str] = Agent()

    @agent.tool_plain
    def draw() -> BinaryContent:
        return BinaryContent(b"x" * MAX_RESULT_BYTES, media_type="image/png")

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("draw", "{}")]), Reply(text="No picture"))

    events = await ask(world)

    assert [completed.ok for completed in of_kind(events, ToolCompleted)] == [False]
    assert f"at most {MAX_RESULT_BYTES} are kept" in last_told(server)


async def test_a_toolset_that_is_made_for_each_run_goes_through_the_journal(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    def greet(name: str) -> str:
        return f"Good day, {name}"

    def make(_context: RunContext[object]) -> FunctionToolset[object]:
        return FunctionToolset(tools=[greet], metadata=NO_EFFECT)

    add_agent(world, Agent(toolsets=[DynamicToolset(make, id="greetings")]), model)
    server.plan(Reply(calls=[("greet", '{"name": "Ada"}')]), Reply(text="Greeted"))

    events = await ask(world)

    assert [executing.effect for executing in of_kind(events, ToolExecuting)] == ["none"]
    assert of_kind(events, ToolCompleted)[0].result == "Good day, Ada"
    assert last_told(server) == "Good day, Ada"


async def test_a_cancel_does_not_wait_for_a_tool_that_blocks_its_thread(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    agent: Agent[object, str] = Agent()
    released = threading.Event()

    @agent.tool_plain
    def block() -> None:
        released.wait(10)

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("block", "{}")]))
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "tool_executing")

    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)

    assert not released.is_set()
    released.set()
    assert "tool:block" in of_kind(events, AgentCancelled)[0].receipt.stopped


async def test_an_authors_tool_needs_its_permission(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    agent: Agent[object, str] = Agent()
    called: list[str] = []

    @agent.tool_plain(metadata={"cloche": {"permission": "tools:external"}})
    def send(text: str) -> None:
        called.append(text)

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("send", '{"text": "hi"}')]), Reply(text="No"))

    events = await ask(world)

    assert called == []
    error = of_kind(events, ToolCompleted)[0].error
    assert error is not None
    assert error.code == "tool_denied"
    assert "tools:external is not granted" in last_told(server)


async def test_an_authors_tool_that_does_not_end_is_stopped(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    agent: Agent[object, str] = Agent()

    @agent.tool_plain(timeout=0.05)
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("hang", "{}")]), Reply(text="It hangs"))

    events = await ask(world)

    assert [completed.ok for completed in of_kind(events, ToolCompleted)] == [False]
    assert events[-1].type == "agent_completed"


@pytest.mark.parametrize(
    ("edited", "calls", "told"), [(None, 2, "paid"), ({"amount": 3}, 1, "the arguments that its model gave")]
)
async def test_an_authors_tool_asks_whether_an_interrupted_call_is_made_again(
    database_path: Path,
    server: OpenAIServer,
    model: Model[Any],
    edited: dict[str, object] | None,
    calls: int,
    told: str,
) -> None:
    agent: Agent[object, str] = Agent()
    made: list[int] = []
    called = asyncio.Event()

    @agent.tool_plain(metadata={"cloche": {"on_unknown": "ask"}})
    async def pay(amount: int) -> str:
        made.append(amount)
        if len(made) == 1:
            called.set()
            await asyncio.get_running_loop().create_future()
        return "paid"

    server.plan(Reply(calls=[("pay", '{"amount": 5}')]), Reply(text="Done"))
    async with opened_world(database_path) as world:
        add_agent(world, agent, model)
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope)
            await called.wait()

    async with opened_world(database_path) as world:
        add_agent(world, agent, model)
        await world.recovery.recover_all()
        async with working(world):
            (asked,) = of_kind(await world.until(scope, accepted, "approval_requested"), ApprovalRequested)
            approval_id = ApprovalId(asked.approval_id)
            await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments=edited)
            events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert made == [5] * calls
    assert told in last_told(server)


@pytest.mark.parametrize(("said", "named"), [({"efect": "none"}, "efect"), ({"on_unknown": "verify"}, "needs a check")])
async def test_metadata_that_cannot_be_understood_fails_the_run(
    world: World, server: OpenAIServer, model: Model[Any], said: dict[str, str], named: str
) -> None:
    agent: Agent[object, str] = Agent()

    @agent.tool_plain(metadata={"cloche": said})
    def act() -> None: ...

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("act", "{}")]))

    events = await ask(world)

    (failed,) = of_kind(events, AgentFailed)
    assert failed.code == "agent_failed"
    assert named in failed.message


@pytest.mark.parametrize(
    ("decision", "arguments", "paid", "told"),
    [
        (ApprovalDecision.APPROVE, None, [5], "paid 5"),
        (ApprovalDecision.APPROVE, {"amount": 3}, [3], "paid 3"),
        (ApprovalDecision.DENY, None, [], "the approval was denied"),
    ],
)
@pytest.mark.parametrize("whose", ["author", "cloche"])
async def test_a_call_waits_for_a_person(
    world: World,
    server: OpenAIServer,
    model: Model[Any],
    whose: str,
    decision: ApprovalDecision,
    arguments: dict[str, object] | None,
    paid: list[int],
    told: str,
) -> None:
    agent: Agent[object, str] = Agent()
    made: list[int] = []

    async def pay(amount: int) -> str:
        """Pay."""
        made.append(amount)
        return f"paid {amount}"

    if whose == "author":
        agent.tool_plain(requires_approval=True)(pay)
    add_agent(world, agent, model, tools={} if whose == "author" else {"pay": tool(pay, needs_approval=True)})
    server.plan(Reply(text="I pay", calls=[("pay", '{"amount": 5}')]), Reply(text="Done"))
    scope = await world.person()
    accepted = await world.send(scope)
    (requested,) = of_kind(await world.until(scope, accepted, "approval_requested"), ApprovalRequested)
    assert await _waits(world, scope, accepted.run_id)

    await world.decisions.decide(scope, ApprovalId(requested.approval_id), decision, arguments=arguments)
    events = await world.until(scope, accepted)

    assert requested.arguments == {"amount": 5}
    assert requested.schema["properties"] == {"amount": {"type": "integer"}} or whose == "cloche"
    assert made == paid
    assert told in last_told(server)
    assert len(server.completions) == 2
    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def _waits(world: World, scope: Any, run_id: str) -> bool:
    return await world.state(scope, run_id) is ExecutionState.WAITING


async def test_an_agent_that_takes_no_deps_gets_none(world: World, server: OpenAIServer, model: Model[Any]) -> None:
    agent = Agent(deps_type=type(None))
    seen: list[object] = []

    @agent.tool
    def look(context: RunContext[None]) -> str:
        seen.append(context.deps)
        return "seen"

    add_agent(world, agent, model)
    server.plan(Reply(calls=[("look", "{}")]), Reply(text="Done"))

    await ask(world)

    assert seen == [None]


@pytest.mark.parametrize("wanted", [Weather, dict[str, int]])
async def test_an_agent_with_other_deps_fails_with_the_reason(world: World, model: Model[Any], wanted: type) -> None:
    add_agent(world, Agent(deps_type=wanted), model)

    events = await ask(world)

    (failed,) = of_kind(events, AgentFailed)
    assert failed.code == "agent_failed"
    assert "deps_type" in failed.message


async def test_an_agent_with_a_model_of_its_own_runs_on_the_configured_one(
    world: World, server: OpenAIServer, model: Model[Any]
) -> None:
    add_agent(world, Agent(ScriptedModel(delay_s=0)), model)
    server.plan(Reply(text="from the server"))

    assert text_of(await ask(world)) == "from the server"
