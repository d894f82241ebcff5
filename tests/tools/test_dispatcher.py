"""The gate through which agents run tools: who may, with what, for how long, and what is told and kept of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import (
    AgentCancelled,
    AgentCompleted,
    ApprovalRequested,
    ApprovalResolved,
    Envelope,
    StepRestarted,
    ToolCompleted,
    ToolExecuting,
    ToolProgress,
)
from cloche.domain.permissions import Permission, Role
from cloche.domain.scope import Scope
from cloche.domain.steps import StepState
from cloche.domain.tools import MAX_RESULT_BYTES, Effect, OnUnknown, ToolFailure, ToolResult, ToolSpec
from cloche.errors import InvalidInputError, LeaseLostError, ToolDeniedError, ToolFailedError
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, RunId, ToolId
from cloche.storage.steps import StepRepository
from cloche.telemetry import LogEvent
from cloche.tools import process as process_module
from cloche.tools.dispatcher import ForeignResult, ToolDispatcher
from cloche.tools.tool import Tool, ToolContext, Verification, tool
from support import process_tools
from support.faults import eventually
from support.processes import alive
from support.world import World, opened_world, working

QUICK = timedelta(milliseconds=60)


@dataclass
class Told:
    """What an agent got from its calls, and everything that was shown of the run."""

    results: list[ToolResult]
    events: list[Envelope]

    @property
    def result(self) -> ToolResult:
        [only] = self.results
        return only

    @property
    def failure(self) -> ToolFailure:
        assert not self.result.ok
        assert self.result.failure is not None
        return self.result.failure

    def of(self, kind: type) -> list[Any]:
        return [data for data in map(decoded, self.events) if isinstance(data, kind)]


async def told(
    world: World, made: Tool | Mapping[str, Tool], *calls: tuple[str, dict[str, object]], role: Role = Role.MEMBER
) -> Told:
    """The story of a run whose agent makes these calls of its tools, or the one call of its one tool."""
    tools = {made.spec.name: made} if isinstance(made, Tool) else made
    results: list[ToolResult] = []

    async def agent(run: AgentRun) -> str:
        for name, arguments in calls or [(next(iter(tools)), {})]:
            results.append(await run.call_tool(name, **arguments))
        return "done"

    world.programs.add("agent", agent, tools=tools)
    scope = await world.person(role=role)
    events = await world.until(scope, await world.send(scope))
    assert check_run(events) == []
    assert events[-1].type == "agent_completed"
    return Told(results, events)


def giving(value: object) -> Tool:
    """A tool that gives the value."""

    async def give() -> object:
        """Give it."""
        return value

    return tool(give)


def raising(error: BaseException, name: str = "fail") -> Tool:
    """A tool that raises the error."""

    async def fail() -> None:
        """Fail."""
        raise error

    return tool(fail, name=name)


async def hang() -> None:
    """Hang."""
    await asyncio.get_running_loop().create_future()


async def double(number: Annotated[int, Field(ge=0)]) -> int:
    """Twice the number."""
    return 2 * number


# A call


async def test_a_call_is_shown_before_it_runs_and_its_result_after(world: World):
    ran: list[list[str]] = []
    seen: list[Envelope] = []
    journaled: list[tuple[StepState, str]] = []

    async def look(context: ToolContext, number: int) -> int:
        """Look at what is durable by now."""
        scope, run_id = context.context.scope, context.context.run_id
        seen.extend(await world.events(scope, run_id))
        steps = await world.database.read(lambda tx: StepRepository(scope).list(tx, run_id))
        journaled.extend((step.state, step.reference) for step in steps)
        ran.append([event.type for event in seen])
        return 2 * number

    story = await told(world, tool(look, effect=Effect.INTERNAL), ("look", {"number": 21}))

    [executing], [completed] = story.of(ToolExecuting), story.of(ToolCompleted)
    assert ran[0][-1] == "tool_executing"
    assert journaled == [(StepState.STARTED, story.result.tool_call_id)]
    assert (story.result.ok, story.result.value, story.result.replayed) == (True, 42, False)
    assert executing == ToolExecuting(
        tool_call_id=story.result.tool_call_id, tool="look", arguments={"number": 21}, effect="internal"
    )
    assert completed == ToolCompleted(
        tool_call_id=story.result.tool_call_id,
        tool="look",
        ok=True,
        duration_ms=story.result.duration_ms,
        result=42,
    )


async def test_a_call_without_an_effect_does_not_wait_for_the_disk_and_is_shown_all_the_same(world: World):
    kinds: list[list[str]] = []
    shown = asyncio.Event()

    async def look(context: ToolContext) -> int:
        """Look at what is durable by now, and once more when the call is shown."""
        scope, run_id = context.context.scope, context.context.run_id
        kinds.append([event.type for event in await world.events(scope, run_id)])
        await shown.wait()
        return 42

    async def agent(run: AgentRun) -> str:
        return str((await run.call_tool("look")).value)

    world.programs.add("agent", agent, tools={"look": tool(look)})
    scope = await world.person()
    accepted = await world.send(scope)
    await eventually(lambda: len(kinds) == 1)
    await world.until(scope, accepted, "tool_executing")
    shown.set()
    events = await world.until(scope, accepted)

    assert "tool_executing" not in kinds[0]
    assert check_run(events) == []
    assert events[-1].type == "agent_completed"


async def test_each_call_has_an_id_of_its_own_which_the_tool_knows(world: World):
    known: list[str] = []

    async def note(context: ToolContext) -> None:
        """Note the id."""
        known.append(context.tool_call_id)

    story = await told(world, tool(note), ("note", {}), ("note", {}))

    assert [result.tool_call_id for result in story.results] == known
    assert len(set(known)) == 2
    assert [str(ToolId.parse(found)) for found in known] == known


async def test_a_tool_knows_for_whom_and_in_which_run_it_works(world: World):
    contexts: list[ToolContext] = []

    async def note(context: ToolContext) -> None:
        """Note the context."""
        contexts.append(context)

    story = await told(world, tool(note))

    [known] = contexts
    [created] = [event for event in story.events if event.type == "message_created"]
    assert str(known.context.scope.user_id) == decoded(created).by  # type: ignore[union-attr]
    assert known.context.run_id == created.run_id
    assert known.context.thread_id == created.thread_id


async def test_two_people_s_calls_at_once_each_see_their_own_scope(world: World):
    together = asyncio.Barrier(2)

    async def whose(context: ToolContext) -> str:
        """Say whose call it is, while the other one's runs."""
        await together.wait()
        return str(context.context.scope.user_id)

    async def agent(run: AgentRun) -> str:
        return str((await run.call_tool("whose")).value)

    world.programs.add("agent", agent, tools={"whose": tool(whose)})
    people = [await world.person() for _ in range(2)]
    sent = [await world.send(person) for person in people]
    ends = [await world.until(person, accepted) for person, accepted in zip(people, sent, strict=True)]

    for person, events in zip(people, ends, strict=True):
        [said] = [decoded(event) for event in events if event.type == "message_completed"]
        assert said.parts[0].text == str(person.user_id)  # type: ignore[union-attr]


@pytest.mark.slow
async def test_a_plain_function_runs_in_a_process_with_json_arguments(world: World):
    story = await told(world, tool(process_tools.describe), ("describe", {"number": "3", "day": "2031-01-02"}))

    assert story.result.value == "3 '2031-01-02' 'none'"


# Refusals


async def test_a_tool_that_there_is_not_is_refused_and_the_others_are_named(world: World):
    story = await told(world, {"double": tool(double), "hang": tool(hang)}, ("treble", {"number": 1}))

    assert story.failure == ToolFailure(
        code="tool_unknown", message="there is no tool 'treble' here; there are: double, hang"
    )
    [executing], [completed] = story.of(ToolExecuting), story.of(ToolCompleted)
    assert (executing.tool, executing.effect, executing.arguments) == ("treble", "none", {"number": 1})
    assert completed.error.code == "tool_unknown"


async def test_an_agent_without_tools_is_told_so(world: World):
    story = await told(world, {}, ("treble", {}))

    assert story.failure.message.endswith("there are: none")


def test_a_tool_that_the_agent_does_not_list_is_not_there(world: World):
    dispatcher = ToolDispatcher(
        {"double": tool(double), "hang": tool(hang)},
        frozenset({"double", "gone"}),
        clock=world.clock,
        telemetry=world.telemetry,
    )

    assert list(dispatcher.tools) == ["double"]


async def test_a_tool_that_the_user_is_not_granted_does_not_run(world: World):
    ran: list[int] = []

    async def effect() -> None:
        """Change the world."""
        ran.append(1)

    made = tool(effect, permission=Permission.TOOLS_EXTERNAL)
    denied = await told(world, made)
    allowed = await told(world, made, role=Role.ADMIN)

    assert denied.failure == ToolFailure(code="tool_denied", message="the permission tools:external is not granted")
    assert allowed.result.ok
    assert ran == [1]


async def test_what_is_denied_is_denied_before_its_arguments_are_looked_at(world: World):
    made = tool(double, permission=Permission.TOOLS_EXTERNAL)

    story = await told(world, made, ("double", {"number": "x"}))

    assert story.failure.code == "tool_denied"


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({}, "number: "),
        ({"number": "x"}, "number: "),
        ({"number": -1}, "number: "),
        ({"number": 1, "more": 2}, "more: "),
        ({"number": [1]}, "number: "),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_the_place(
    world: World, arguments: dict[str, object], place: str
):
    story = await told(world, tool(double), ("double", arguments))

    assert story.failure.code == "tool_invalid_arguments"
    assert story.failure.message.startswith(place)
    assert story.result.duration_ms == 0


async def test_a_refusal_is_counted_and_the_run_goes_on(world: World):
    story = await told(world, tool(double), ("double", {}), ("treble", {}), ("double", {"number": 2}))

    assert [result.ok for result in story.results] == [False, False, True]
    assert world.telemetry.figures.tool_calls == {"tool_invalid_arguments": 1, "tool_unknown": 1, "ok": 1}
    [completed] = story.of(AgentCompleted)
    assert completed.usage.tool_calls == 3


# Failures


class OwnError(Exception):
    """An error of the tool's own."""


@pytest.mark.parametrize(
    "error", [OwnError("a secret text"), SystemExit("a secret text"), MemoryError("a secret text")]
)
async def test_an_error_of_the_tool_s_own_is_told_without_its_text_and_logged_with_it(
    world: World, error: BaseException
):
    story = await told(world, raising(error))

    assert story.failure == ToolFailure(code="tool_failed", message=f"fail raised {type(error).__name__}")
    [(level, _, fields)] = [line for line in world.log_book.lines if line[1] == LogEvent.TOOL_CALLED]
    assert (level, fields["tool"], fields["run"]) == ("error", "fail", story.events[0].run_id)
    assert fields["exc_info"] is error


@pytest.mark.parametrize("error", [ToolFailedError("no such city"), ToolDeniedError("not on Sundays")])
async def test_an_error_of_ours_is_told_with_its_code_and_text_and_not_logged(world: World, error: Any):
    story = await told(world, raising(error))

    assert story.failure == ToolFailure(code=error.code, message=error.message)
    assert not [line for line in world.log_book.lines if line[1] == LogEvent.TOOL_CALLED]


async def test_an_endless_error_text_is_cut(world: World):
    story = await told(world, raising(ToolFailedError("x" * 1_000_000)))

    assert len(story.failure.message) < 5000
    assert "1000000" in story.failure.message


async def test_a_tool_that_cancels_itself_has_failed(world: World):
    story = await told(world, raising(asyncio.CancelledError()))

    assert story.failure == ToolFailure(code="tool_failed", message="fail cancelled itself")


async def test_a_tool_that_finds_the_lease_lost_ends_the_execution(world: World):
    results: list[ToolResult] = []

    async def agent(run: AgentRun) -> str:
        results.append(await run.call_tool("fail"))
        return "never"

    world.programs.add("agent", agent, tools={"fail": raising(LeaseLostError())})
    scope = await world.person()
    accepted = await world.send(scope)
    await eventually(lambda: [line for line in world.log_book.lines if line[1] == LogEvent.RUN_LEASE_LOST])

    assert results == []
    assert not (await world.state(scope, accepted.run_id)).is_terminal


@pytest.mark.slow
async def test_an_error_in_a_process_is_told_as_one_on_the_loop_is(world: World):
    tools = {"reports": tool(process_tools.reports), "raises": tool(process_tools.raises)}

    story = await told(world, tools, ("reports", {"message": "no such city"}), ("raises", {"message": "a secret text"}))

    assert [result.failure for result in story.results] == [
        ToolFailure(code="tool_failed", message="no such city"),
        ToolFailure(code="tool_failed", message="the tool raised ValueError"),
    ]


# Time


async def test_a_tool_that_takes_too_long_is_stopped_and_the_agent_goes_on(world: World):
    story = await told(world, tool(hang, timeout=QUICK))

    assert story.failure == ToolFailure(
        code="tool_timeout", message="hang did not finish within 0.06 s and was stopped"
    )
    assert story.result.duration_ms >= 50
    assert world.telemetry.figures.tool_calls == {"tool_timeout": 1}


@pytest.mark.slow
async def test_a_tool_that_ignores_being_stopped_is_put_down_at_the_grace_limit(world: World):
    async def stubborn() -> None:
        """Go on."""
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                continue

    story = await told(world, tool(stubborn, timeout=QUICK))

    assert story.failure.code == "tool_timeout"


async def test_a_tool_whose_answer_comes_while_it_is_stopped_has_answered(world: World):
    async def late() -> str:
        """Answer at the last moment."""
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "after all"
        return "never"

    story = await told(world, tool(late, timeout=QUICK))

    assert story.result.value == "after all"


async def test_a_tool_that_waits_for_a_thread_is_left_at_its_limit(world: World):
    going_on, ended = threading.Event(), threading.Event()

    def blocking() -> None:
        going_on.wait(10)
        ended.set()

    async def threaded() -> None:
        """Wait for a thread."""
        await asyncio.to_thread(blocking)

    story = await told(world, tool(threaded, timeout=QUICK))
    going_on.set()

    assert story.failure.code == "tool_timeout"
    await eventually(ended.is_set)


@pytest.mark.slow
async def test_a_process_that_takes_too_long_is_gone_with_its_children(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process_module, "GRACE_S", 0.05)
    file = tmp_path / "pids"
    made = tool(process_tools.will_not_go, timeout=timedelta(seconds=1))

    story = await told(world, made, ("will_not_go", {"file": str(file)}))

    assert story.failure.code == "tool_timeout"
    assert len(file.read_text().split()) == 3
    await eventually(lambda: not any(alive(int(pid)) for pid in file.read_text().split()))


# Cancelling the run


async def cancelled_in(world: World, made: Tool, started: Callable[[], object], **arguments: object) -> list[Envelope]:
    """The story of a run that is cancelled once its tool has started."""

    async def agent(run: AgentRun) -> str:
        await run.call_tool(made.spec.name, **arguments)
        return "never"

    world.programs.add("agent", agent, tools={made.spec.name: made})
    scope = await world.person()
    accepted = await world.send(scope)
    await eventually(started)
    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)
    assert check_run(events) == []
    return events


def stopped_tool(events: list[Envelope]) -> None:
    [completed] = [decoded(event) for event in events if event.type == "tool_completed"]
    cancelled = decoded(events[-1])
    assert isinstance(completed, ToolCompleted)
    assert completed.error is not None
    assert completed.error.code == "tool_stopped"
    assert isinstance(cancelled, AgentCancelled)
    assert f"tool:{completed.tool}" in cancelled.receipt.stopped


async def test_a_cancel_stops_the_tool_which_cleans_up(world: World):
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def careful() -> None:
        """Hang, and tidy up."""
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.set()

    stopped_tool(await cancelled_in(world, tool(careful), started.is_set))

    assert cleaned.is_set()


async def test_a_cancel_does_not_wait_for_a_thread(world: World):
    started, going_on = threading.Event(), threading.Event()

    def blocking() -> None:
        started.set()
        going_on.wait(10)

    async def threaded() -> None:
        """Wait for a thread."""
        await asyncio.to_thread(blocking)

    stopped_tool(await cancelled_in(world, tool(threaded), started.is_set))

    going_on.set()


@pytest.mark.slow
async def test_a_cancel_kills_the_process_and_everything_that_it_started(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process_module, "GRACE_S", 0.05)
    file = tmp_path / "pids"

    stopped_tool(await cancelled_in(world, tool(process_tools.will_not_go), file.exists, file=str(file)))

    pids = [int(pid) for pid in file.read_text().split()]
    assert len(pids) == 3
    await eventually(lambda: not any(alive(pid) for pid in pids))


# Results


class Opaque:
    """A value of which only its text can be kept."""

    def __str__(self) -> str:
        return "opaque"

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        (False, False),
        ("", ""),
        ([1, {"a": (2, 3)}], [1, {"a": [2, 3]}]),
        ({1: "a"}, {"1": "a"}),
        ({3}, [3]),
        (Decimal("0.10"), "0.10"),
        (timedelta(hours=1), "PT1H"),
        (b"bytes", "bytes"),
        (Opaque(), "opaque"),
        ({"inside": [Opaque()]}, {"inside": ["opaque"]}),
        (float("nan"), None),
        ([float("inf")], [None]),
        (2**200, 2**200),
        ("a\0b", "a\ufffdb"),
        (["\ud83d"], ["\ufffd"]),
        ({"\ud83d": 1}, {"\ufffd": 1}),
    ],
    ids=str,
)
async def test_a_result_is_kept_as_a_json_value(world: World, value: object, kept: object):
    story = await told(world, giving(value))

    assert story.result.ok
    assert story.result.value == kept
    [completed] = story.of(ToolCompleted)
    assert completed.result == kept


class Broken:
    """A value that cannot even be told as text."""

    def __str__(self) -> str:
        raise ValueError("a secret text")

    __repr__ = __str__


def circle() -> list[object]:
    found: list[object] = []
    found.append(found)
    return found


def deep() -> list[object]:
    found: list[object] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize("made", [circle, deep, Broken, lambda: [Broken()]], ids=["circle", "deep", "broken", "inside"])
async def test_a_result_that_has_no_json_form_is_a_failure_that_says_so(world: World, made: Callable[[], object]):
    story = await told(world, giving(made()))

    assert story.failure == ToolFailure(code="tool_failed", message="give returned something that has no JSON form")
    [(_, _, fields)] = [line for line in world.log_book.lines if line[1] == LogEvent.TOOL_CALLED]
    assert isinstance(fields["exc_info"], Exception)


@pytest.mark.parametrize("sign", ["x", "é", "\U0001f33f"])
async def test_fifty_megabytes_of_text_are_cut_and_their_size_is_told(world: World, sign: str):
    text = sign * (50_000_000 // len(sign.encode()))

    story = await told(world, giving(text))

    value = story.result.value
    assert isinstance(value, str)
    beginning, marker = value.rsplit("\n… [cut", 1)
    assert text.startswith(beginning)
    assert MAX_RESULT_BYTES - 4 < len(beginning.encode()) <= MAX_RESULT_BYTES
    assert str(len(text.encode())) in marker
    [completed] = story.of(ToolCompleted)
    assert completed.result == value


@pytest.mark.parametrize("length", [MAX_RESULT_BYTES - 1, MAX_RESULT_BYTES])
async def test_a_text_at_the_limit_is_whole(world: World, length: int):
    story = await told(world, giving("x" * length))

    assert story.result.value == "x" * length


@pytest.mark.parametrize("text", ["x" * (MAX_RESULT_BYTES + 1), "é" * (MAX_RESULT_BYTES // 2 + 1)], ids=["x", "é"])
async def test_a_text_just_above_the_limit_is_cut(world: World, text: str):
    story = await told(world, giving(text))

    assert isinstance(story.result.value, str)
    assert "[cut: the result had" in story.result.value


async def test_a_large_list_is_kept_as_the_beginning_of_its_text(world: World):
    story = await told(world, giving(["x" * 1000] * 1000))

    value = story.result.value
    assert isinstance(value, str)
    assert value.startswith('["xxx')
    assert f"{MAX_RESULT_BYTES} are kept" in value


@pytest.mark.slow
async def test_fifty_megabytes_from_a_process_are_cut_and_their_size_is_told(world: World):
    story = await told(world, tool(process_tools.huge), ("huge", {"size": 25_000_000}))

    value = story.result.value
    assert isinstance(value, str)
    assert value.startswith("ééé")
    assert "the result had 50000000 bytes" in value
    assert len(value.encode()) < MAX_RESULT_BYTES + 100


# What is shown


async def test_secrets_are_masked_in_everything_that_is_shown_or_logged_and_not_for_the_tool(world: World):
    got: list[dict[str, object]] = []

    async def sign_in(password: str, pin: str, where: dict[str, str]) -> None:
        """Sign in."""
        got.append({"password": password, "pin": pin, "where": where})
        raise OwnError

    given_: dict[str, object] = {
        "password": "hunter2",
        "pin": "hunter2",
        "where": {"api_key": "hunter2", "city": "Oslo"},
    }
    made = tool(sign_in, secrets=frozenset({"pin"}))
    story = await told(world, made, ("sign_in", given_), ("sign_in", {**given_, "pin": ["hunter2"]}))

    shown = {"password": "***", "pin": "***", "where": {"api_key": "***", "city": "Oslo"}}
    assert got == [given_]
    assert [event.arguments for event in story.of(ToolExecuting)] == [shown, shown]
    assert not [event for event in story.events if b"hunter2" in bytes(event.data)]
    assert "hunter2" not in repr(world.log_book.lines)


@pytest.mark.parametrize("effect", list(Effect))
async def test_what_a_tool_may_change_is_shown(world: World, effect: Effect):
    story = await told(world, tool(double, effect=effect), ("double", {"number": 1}))

    [executing] = story.of(ToolExecuting)
    assert executing.effect == effect


async def test_progress_is_shown_while_the_tool_runs(world: World):
    async def work(context: ToolContext) -> None:
        """Tell how far it is."""
        context.progress("begun", None)
        context.progress("half", 0.5)
        context.progress("whole\0", 1)

    story = await told(world, tool(work))

    call = story.result.tool_call_id
    assert story.of(ToolProgress) == [
        ToolProgress(tool_call_id=call, text="begun"),
        ToolProgress(tool_call_id=call, text="half", fraction=0.5),
        ToolProgress(tool_call_id=call, text="whole\ufffd", fraction=1.0),
    ]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf")])
async def test_a_fraction_that_is_none_is_not_shown(world: World, fraction: float):
    async def work(context: ToolContext) -> None:
        """Tell nonsense."""
        context.progress("going", fraction)

    [progress] = (await told(world, tool(work))).of(ToolProgress)

    assert (progress.text, progress.fraction) == ("going", None)


async def test_an_endless_progress_text_is_cut(world: World):
    async def work(context: ToolContext) -> None:
        """Tell too much."""
        context.progress("x" * 1_000_000, None)

    [progress] = (await told(world, tool(work))).of(ToolProgress)

    assert len(progress.text) < 5000
    assert "1000000" in progress.text


async def test_what_a_tool_left_running_tells_after_its_end_is_not_shown(world: World):
    contexts: list[ToolContext] = []

    async def work(context: ToolContext) -> None:
        """Keep the context."""
        contexts.append(context)

    async def follow() -> None:
        """Tell of the call that is over."""
        contexts[0].progress("late", 1.0)

    story = await told(world, {"work": tool(work), "follow": tool(follow)}, ("work", {}), ("follow", {}))

    assert [result.ok for result in story.results] == [True, True]
    assert story.of(ToolProgress) == []


async def test_a_call_is_a_span_and_a_refusal_is_none(world: World):
    spans: list[tuple[str, Mapping[str, str]]] = []

    @contextmanager
    def span(name: str, attributes: Mapping[str, str]) -> Generator[None]:
        spans.append((name, attributes))
        yield
        spans.append((f"end of {name}", attributes))

    world.telemetry._span_maker = span
    story = await told(world, tool(double), ("double", {"number": 1}), ("double", {}))

    about = {"tool": "double", "run_id": str(story.events[0].run_id)}
    assert [found for found in spans if "tool" in found[0]] == [("tool", about), ("end of tool", about)]


# The journal


@dataclass
class Crashing:
    """An agent that calls a tool and can be held in the tool, or after it, until its process has crashed."""

    path: Path
    held: asyncio.Event = field(default_factory=asyncio.Event)
    crashed: bool = False
    calls: list[str] = field(default_factory=list[str])
    results: list[ToolResult] = field(default_factory=list[ToolResult])

    async def hold(self) -> None:
        if not self.crashed:
            self.held.set()
            await asyncio.get_running_loop().create_future()

    def tool(self, *, held: bool, **options: object) -> Tool:
        async def effect(context: ToolContext, number: int = 1) -> int:
            """Count."""
            self.calls.append(context.tool_call_id)
            if held:
                await self.hold()
            return number * len(self.calls)

        return tool(effect, **options)  # type: ignore[arg-type]

    async def agent(self, run: AgentRun) -> str:
        self.results.append(await run.call_tool("effect"))
        await self.hold()
        return "done"

    async def story(self, before: Tool, *later: Tool | None) -> list[Envelope]:
        """What is told when the tool is ``before``, and after the crash the same, another one or none."""
        after = later[0] if later else before
        async with opened_world(self.path) as world:
            world.programs.add("agent", self.agent, tools={"effect": before})
            scope = await world.person()
            async with working(world):
                accepted = await world.send(scope)
                await self.held.wait()
                # What nobody waits for is written soon; the crash comes after that.
                await world.until(scope, accepted, "tool_completed" if self.results else "tool_executing")
        self.crashed = True
        async with opened_world(self.path) as world:
            world.programs.add("agent", self.agent, tools={} if after is None else {"effect": after})
            await world.recovery.recover_all()
            async with working(world):
                events = await world.until(scope, accepted)
            self.figures = world.telemetry.figures
        assert check_run(events) == []
        assert events[-1].type == "agent_completed"
        return events


@pytest.fixture
def crashing(database_path: Path) -> Crashing:
    return Crashing(database_path)


def of(events: list[Envelope], kind: type) -> list[Any]:
    return [data for data in map(decoded, events) if isinstance(data, kind)]


@pytest.mark.parametrize("effect", list(Effect))
async def test_a_finished_call_is_not_run_again_and_gives_what_it_gave(crashing: Crashing, effect: Effect):
    events = await crashing.story(crashing.tool(held=False, effect=effect))

    first, again = crashing.results
    assert len(crashing.calls) == 1
    assert (again.ok, again.value, again.replayed) == (True, 1, True)
    assert replace(first, tool_call_id=again.tool_call_id) == again
    assert len(of(events, ToolExecuting)) == len(of(events, ToolCompleted)) == 1
    assert crashing.figures.tool_calls == {}
    [completed] = of(events, AgentCompleted)
    assert completed.usage.tool_calls == 1


async def test_a_failed_call_is_not_run_again_and_fails_as_it_did(crashing: Crashing):
    async def effect() -> None:
        """Fail."""
        crashing.calls.append("called")
        raise ToolFailedError("no such city")

    await crashing.story(tool(effect))

    assert crashing.calls == ["called"]
    assert [result.failure for result in crashing.results] == [
        ToolFailure(code="tool_failed", message="no such city")
    ] * 2


async def test_a_refusal_stands_although_the_call_would_be_allowed_by_now(crashing: Crashing):
    before = crashing.tool(held=False, permission=Permission.TOOLS_EXTERNAL)

    await crashing.story(before, crashing.tool(held=False))

    assert crashing.calls == []
    assert [result.failure and result.failure.code for result in crashing.results] == ["tool_denied"] * 2


@pytest.mark.parametrize(
    ("effect", "on_unknown"),
    [
        (Effect.NONE, OnUnknown.REPORT),
        (Effect.INTERNAL, OnUnknown.REPORT),
        (Effect.NONE, OnUnknown.REPEAT),
        (Effect.EXTERNAL, OnUnknown.REPEAT),
    ],
)
async def test_a_call_that_may_be_repeated_runs_again_under_the_same_id_and_says_so(
    crashing: Crashing, effect: Effect, on_unknown: OnUnknown
):
    events = await crashing.story(crashing.tool(held=True, effect=effect, on_unknown=on_unknown))

    [result] = crashing.results
    first, again = crashing.calls
    assert first == again == result.tool_call_id
    assert (result.ok, result.value, result.replayed) == (True, 2, False)
    assert of(events, StepRestarted) == [StepRestarted(step=0, tool_call_id=first)]
    assert [shown.tool_call_id for shown in of(events, ToolExecuting)] == [first, first]
    assert len(of(events, ToolCompleted)) == 1


async def test_an_external_call_of_unknown_outcome_is_reported_and_not_repeated(crashing: Crashing):
    events = await crashing.story(crashing.tool(held=True, effect=Effect.EXTERNAL))

    [result] = crashing.results
    assert len(crashing.calls) == 1
    assert result.failure is not None
    assert result.failure.code == "tool_outcome_unknown"
    assert "was not run again" in result.failure.message
    assert of(events, StepRestarted) == []
    [completed] = of(events, ToolCompleted)
    assert completed.tool_call_id == crashing.calls[0]
    assert completed.error.code == "tool_outcome_unknown"


async def test_the_policy_is_the_one_that_the_tool_declares_when_the_run_goes_on(crashing: Crashing):
    before = crashing.tool(held=True, effect=Effect.EXTERNAL, on_unknown=OnUnknown.REPEAT)

    await crashing.story(before, crashing.tool(held=True, effect=Effect.EXTERNAL))

    assert len(crashing.calls) == 1


async def test_an_interrupted_call_of_a_tool_that_is_gone_meanwhile_is_reported(crashing: Crashing):
    await crashing.story(crashing.tool(held=True, effect=Effect.EXTERNAL), None)

    [result] = crashing.results
    assert len(crashing.calls) == 1
    assert result.failure is not None
    assert result.failure.code == "tool_outcome_unknown"


async def test_an_interrupted_call_that_the_user_is_not_granted_any_more_is_reported(crashing: Crashing):
    before = crashing.tool(held=True, effect=Effect.EXTERNAL)
    after = crashing.tool(held=True, effect=Effect.EXTERNAL, permission=Permission.TOOLS_EXTERNAL)

    await crashing.story(before, after)

    [result] = crashing.results
    assert len(crashing.calls) == 1
    assert result.failure is not None
    assert result.failure.code == "tool_outcome_unknown"


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


def verifying(verdict: Verification | Exception | None) -> Callable[..., Any]:
    """A check that finds this; without a verdict it does not end."""

    async def verify(context: ToolContext, arguments: Mapping[str, object]) -> Verification:
        assert context.tool_call_id.startswith("tool_")
        assert arguments == {"number": 1}
        if isinstance(verdict, Exception):
            raise verdict
        if verdict is None:
            await asyncio.get_running_loop().create_future()
        return verdict  # type: ignore[return-value]

    return verify


@pytest.mark.parametrize(
    ("verdict", "calls", "outcome"),
    [
        (Verification(happened=True, value="paid 3"), 1, "paid 3"),
        (Verification(happened=True, value=CIRCLE), 1, "tool_failed"),
        (Verification(happened=False), 2, 2),
        (Verification(happened=None), 1, "tool_outcome_unknown"),
        (ValueError("no connection"), 1, "tool_outcome_unknown"),
        (None, 1, "tool_outcome_unknown"),
    ],
    ids=["happened", "odd value", "did not", "cannot tell", "raises", "hangs"],
)
async def test_a_tool_s_own_check_says_whether_an_interrupted_call_happened(
    crashing: Crashing, verdict: Verification | Exception | None, calls: int, outcome: object
):
    checked = crashing.tool(
        held=True,
        effect=Effect.EXTERNAL,
        on_unknown=OnUnknown.VERIFY,
        verify=verifying(verdict),
        timeout=QUICK,
    )
    events = await crashing.story(replace(checked, spec=replace(checked.spec, timeout=timedelta(seconds=30))), checked)

    [result] = crashing.results
    assert len(crashing.calls) == calls
    assert (result.failure.code if result.failure else result.value) == outcome
    assert len(of(events, ToolCompleted)) == 1
    assert len(of(events, StepRestarted)) == calls - 1


class Interrupted:
    """Worlds over one database, in which a call of ``effect`` is interrupted by as many crashes as a test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[str] = []
        self.arguments: list[int] = []
        self.results: list[ToolResult] = []
        self.hold = True
        self.reached = asyncio.Event()
        self.sent: tuple[Scope, Accepted] | None = None

    @property
    def scope(self) -> Scope:
        assert self.sent is not None
        return self.sent[0]

    @property
    def accepted(self) -> Accepted:
        assert self.sent is not None
        return self.sent[1]

    async def effect(self, context: ToolContext, amount: int) -> str:
        """Change something outside."""
        self.calls.append(context.tool_call_id)
        self.arguments.append(amount)
        if self.hold:
            self.reached.set()
            await asyncio.get_running_loop().create_future()
        return f"paid {amount}"

    async def agent(self, run: AgentRun) -> str:
        self.results.append(await run.call_tool("effect", amount=3))
        return "done"

    def arm(self, world: World) -> None:
        asking = tool(self.effect, name="effect", effect=Effect.EXTERNAL, on_unknown=OnUnknown.ASK)
        world.programs.add("agent", self.agent, tools={"effect": asking})

    async def crash(self) -> None:
        """A process begins the call, or goes on with it, and dies while it runs."""
        self.hold = True
        self.reached.clear()
        async with opened_world(self.path) as world:
            self.arm(world)
            await world.recovery.recover_all()
            async with working(world):
                if self.sent is None:
                    scope = await world.person()
                    self.sent = scope, await world.send(scope)
                async with asyncio.timeout(10):
                    await self.reached.wait()
        self.hold = False

    @asynccontextmanager
    async def again(self) -> AsyncGenerator[World]:
        """The next process, at work."""
        async with opened_world(self.path) as world:
            self.arm(world)
            await world.recovery.recover_all()
            async with working(world):
                yield world

    async def question(self, world: World, number: int = 1) -> ApprovalRequested:
        events = await world.until(self.scope, self.accepted, "approval_requested", count=number)
        return of(events, ApprovalRequested)[-1]


@pytest.fixture
def interrupted(database_path: Path) -> Interrupted:
    return Interrupted(database_path)


@pytest.mark.parametrize(
    ("edited", "paid"), [(None, [3, 3]), ({"amount": 5}, [3, 5])], ids=["as it was", "with other arguments"]
)
async def test_a_person_may_have_an_interrupted_call_made_again(
    interrupted: Interrupted, edited: dict[str, object] | None, paid: list[int]
):
    await interrupted.crash()
    async with interrupted.again() as world:
        asked = await interrupted.question(world)
        before = list(interrupted.calls)
        await world.decisions.decide(
            interrupted.scope, ApprovalId(asked.approval_id), ApprovalDecision.APPROVE, arguments=edited
        )
        events = await world.until(interrupted.scope, interrupted.accepted)

    assert len(before) == 1
    assert asked.tool_call_id == before[0]
    assert "not known whether it took effect" in asked.question
    assert interrupted.arguments == paid
    assert interrupted.calls == before * 2
    assert [result.value for result in interrupted.results] == [f"paid {paid[-1]}"]
    assert check_run(events) == []
    assert len(of(events, StepRestarted)) == 1


async def test_a_person_may_leave_an_interrupted_call_as_it_is(interrupted: Interrupted):
    await interrupted.crash()
    async with interrupted.again() as world:
        asked = await interrupted.question(world)
        await world.decisions.decide(interrupted.scope, ApprovalId(asked.approval_id), ApprovalDecision.DENY)
        events = await world.until(interrupted.scope, interrupted.accepted)

    assert len(interrupted.calls) == 1
    assert [result.failure and result.failure.code for result in interrupted.results] == ["tool_outcome_unknown"]
    assert check_run(events) == []


async def test_each_interruption_is_asked_about_anew(interrupted: Interrupted):
    await interrupted.crash()
    async with interrupted.again() as world:
        interrupted.hold = True
        first = await interrupted.question(world)
        await world.decisions.decide(interrupted.scope, ApprovalId(first.approval_id), ApprovalDecision.APPROVE)
        await eventually(lambda: len(interrupted.calls) == 2)
    interrupted.hold = False
    async with interrupted.again() as world:
        second = await interrupted.question(world, 2)
        calls = len(interrupted.calls)
        await world.decisions.decide(interrupted.scope, ApprovalId(second.approval_id), ApprovalDecision.APPROVE)
        events = await world.until(interrupted.scope, interrupted.accepted)

    assert first.approval_id != second.approval_id
    assert calls == 2
    assert len(interrupted.calls) == 3
    assert [result.value for result in interrupted.results] == ["paid 3"]
    assert check_run(events) == []


async def test_a_question_about_an_interrupted_call_survives_a_restart_and_is_not_asked_twice(interrupted: Interrupted):
    await interrupted.crash()
    async with interrupted.again() as world:
        asked = await interrupted.question(world)
    async with interrupted.again() as world:
        await world.decisions.decide(interrupted.scope, ApprovalId(asked.approval_id), ApprovalDecision.APPROVE)
        events = await world.until(interrupted.scope, interrupted.accepted)

    assert len(of(events, ApprovalRequested)) == 1
    assert len(interrupted.calls) == 2


async def test_a_cancel_while_a_person_is_asked_says_what_is_not_known(interrupted: Interrupted):
    await interrupted.crash()
    async with interrupted.again() as world:
        asked = await interrupted.question(world)
        await world.cancellation.cancel(interrupted.scope, RunId(interrupted.accepted.run_id))
        events = await world.until(interrupted.scope, interrupted.accepted)

    [cancelled] = of(events, AgentCancelled)
    [completed] = of(events, ToolCompleted)
    [resolved] = of(events, ApprovalResolved)
    assert cancelled.receipt.unknown == ("tool:effect",)
    assert completed.error.code == "tool_outcome_unknown"
    assert (resolved.approval_id, resolved.decision) == (asked.approval_id, "cancelled")
    assert check_run(events) == []
    assert len(interrupted.calls) == 1


# Approval


async def pay(amount: Annotated[int, Field(le=100)]) -> str:
    """Pay."""
    return f"paid {amount}"


def even(amount: int) -> int:
    if amount % 2:
        raise ValueError("not even")
    return amount


async def give(amount: Annotated[int, AfterValidator(even)]) -> str:
    """Give."""
    return f"gave {amount}"


async def asked(
    world: World, made: Tool, *, role: Role = Role.MEMBER, **arguments: object
) -> tuple[Scope, Accepted, ApprovalRequested, list[Any]]:
    """A run that waits for a person's word on its call."""
    results: list[Any] = []

    async def agent(run: AgentRun) -> str:
        results.append(await run.call_tool("pay", **arguments))
        return "done"

    world.programs.add("agent", agent, tools={"pay": made})
    scope = await world.person(role=role)
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    return scope, accepted, requested, results


async def test_a_person_is_asked_with_the_arguments_and_their_schema(world: World):
    made = tool(pay, needs_approval=True)
    scope, accepted, requested, results = await asked(world, made, amount=10)

    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    await world.until(scope, accepted)

    assert (requested.tool, requested.arguments) == ("pay", {"amount": 10})
    assert requested.schema == made.spec.schema
    assert [result.value for result in results] == ["paid 10"]


async def test_edited_arguments_stand_in_place_of_the_agent_s(world: World):
    scope, accepted, requested, results = await asked(world, tool(pay, needs_approval=True), amount=10)
    approval_id, approve = ApprovalId(requested.approval_id), ApprovalDecision.APPROVE

    for wrong in ({"amount": 101}, {"amount": 3, "sum": 3}, {}):
        with pytest.raises(InvalidInputError, match=r"\$\.arguments\."):
            await world.decisions.decide(scope, approval_id, approve, arguments=wrong)
    await world.decisions.decide(scope, approval_id, approve, arguments={"amount": 3})
    events = await world.until(scope, accepted)

    assert [result.value for result in results] == ["paid 3"]
    assert [(shown.arguments, shown.approval_id) for shown in of(events, ToolExecuting)] == [
        ({"amount": 3}, requested.approval_id)
    ]


async def test_what_no_schema_can_say_is_checked_before_the_call(world: World):
    scope, accepted, requested, results = await asked(world, tool(give, needs_approval=True), amount=10)

    await world.decisions.decide(
        scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE, arguments={"amount": 3}
    )
    await world.until(scope, accepted)

    [result] = results
    assert result.failure is not None
    assert result.failure.code == "tool_invalid_arguments"


async def test_a_denied_call_does_not_run(world: World):
    scope, accepted, requested, results = await asked(world, tool(pay, needs_approval=True), amount=10)

    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.DENY)
    await world.until(scope, accepted)

    assert [result.failure for result in results] == [
        ToolFailure(code="tool_denied", message="the approval was denied")
    ]


async def test_who_lost_the_permission_while_the_call_waited_does_not_get_it_by_an_approval(world: World):
    made = tool(pay, needs_approval=True, permission=Permission.ADMIN_USERS)
    scope, accepted, requested, results = await asked(world, made, role=Role.ADMIN, amount=10)

    await world.database.write(
        lambda tx: tx.execute("UPDATE users SET role = 'member' WHERE id = ?", str(scope.user_id))
    )
    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted)

    assert [result.failure.code for result in results] == ["tool_denied"]
    assert events[-1].type == "agent_completed"


@pytest.mark.parametrize(
    ("now", "expected"), [({"pay": tool(pay)}, "paid 10"), ({}, "tool_unknown")], ids=["unasked", "gone"]
)
async def test_a_tool_that_changed_while_its_call_waited_follows_the_approval(
    world: World, now: dict[str, Tool], expected: str
):
    scope, accepted, requested, _ = await asked(world, tool(pay, needs_approval=True), amount=10)
    results: list[Any] = []

    async def agent(run: AgentRun) -> str:
        results.append(await run.call_tool("pay", amount=10))
        return "done"

    world.programs.add("agent", agent, tools=now)
    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted)

    assert [result.value if result.ok else result.failure.code for result in results] == [expected]
    assert events[-1].type == "agent_completed"


async def test_a_call_that_was_not_asked_about_is_not_asked_about_after_a_crash(database_path: Path):
    begun, calls = asyncio.Event(), []

    async def agent(run: AgentRun) -> str:
        calls.append(await run.call_tool("pay", amount=10))
        begun.set()
        if len(calls) == 1:
            await asyncio.get_running_loop().create_future()
        return "done"

    async with opened_world(database_path) as world, working(world):
        world.programs.add("agent", agent, tools={"pay": tool(pay)})
        scope = await world.person()
        accepted = await world.send(scope)
        await begun.wait()
        await world.until(scope, accepted, "tool_completed")
    async with opened_world(database_path) as world:
        world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert [call.value for call in calls] == ["paid 10", "paid 10"]
    assert events[-1].type == "agent_completed"
    assert of(events, ApprovalRequested) == []


async def test_nobody_is_asked_about_a_call_that_is_refused_anyway(world: World):
    story = await told(world, tool(pay, needs_approval=True), ("pay", {"amount": 101}))

    assert story.failure.code == "tool_invalid_arguments"
    assert story.of(ApprovalRequested) == []


# Tools of an agent's own framework


FOREIGN = ToolSpec(name="theirs", description="", schema={}, permission="tools:basic", secrets=frozenset({"pin"}))


async def foreign(world: World, spec: ToolSpec, work: Callable[[], Any]) -> tuple[ForeignResult, list[Envelope]]:
    """What came of one call of a foreign tool, and the story of its run."""
    found: list[ForeignResult] = []

    async def agent(run: AgentRun) -> str:
        found.append(await run._dispatcher.call_foreign(run._handle, spec, {"pin": "1234", "day": "now"}, work))
        return "done"

    world.programs.add("agent", agent)
    scope = await world.person()
    events = await world.until(scope, await world.send(scope))
    assert check_run(events) == []
    [result] = found
    return result, events


async def test_a_foreign_tool_goes_through_the_same_gate(world: World):
    async def work() -> ForeignResult:
        return ForeignResult(payload=b"their own form", value={"a": 1})

    result, events = await foreign(world, FOREIGN, work)

    assert result == ForeignResult(payload=b"their own form", value={"a": 1})
    [executing], [completed] = of(events, ToolExecuting), of(events, ToolCompleted)
    assert executing.arguments == {"pin": "***", "day": "now"}
    assert (completed.tool, completed.ok, completed.result) == ("theirs", True, {"a": 1})


async def test_a_foreign_tool_s_own_failure_is_told(world: World):
    failure = ToolFailure(code="tool_failed", message="x" * 10_000)

    async def work() -> ForeignResult:
        return ForeignResult(payload=b"their own form", failure=failure)

    result, events = await foreign(world, FOREIGN, work)

    assert result.payload == b"their own form"
    assert result.failure is not None
    assert result.failure.code == "tool_failed"
    assert len(result.failure.message) < 5000
    [completed] = of(events, ToolCompleted)
    assert completed.error.message == result.failure.message


async def test_a_foreign_tool_that_raises_has_failed_and_has_no_form(world: World):
    async def work() -> ForeignResult:
        raise OwnError("a secret text")

    result, _ = await foreign(world, FOREIGN, work)

    assert result == ForeignResult(
        payload=b"", failure=ToolFailure(code="tool_failed", message="theirs raised OwnError")
    )


async def test_a_foreign_tool_that_the_user_is_not_granted_does_not_run(world: World):
    async def work() -> ForeignResult:
        raise AssertionError("it ran")

    result, _ = await foreign(world, replace(FOREIGN, permission="tools:external"), work)

    assert result.failure == ToolFailure(code="tool_denied", message="the permission tools:external is not granted")


async def test_a_foreign_tool_has_a_limit_of_ours_too(world: World):
    result, _ = await foreign(world, replace(FOREIGN, timeout=QUICK), hang)

    assert result.failure is not None
    assert result.failure.code == "tool_timeout"
