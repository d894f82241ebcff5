"""However the inside of an execution fails, its run ends, with the reason, and what it says can be stored and sent."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from cloche.agents.function import AgentRun, Write
from cloche.clock import SystemClock
from cloche.domain.agents import AgentLimits
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import (
    AgentCancelled,
    AgentFailed,
    ApprovalRequested,
    Envelope,
    MessageCompleted,
    MessageDelta,
    ToolCompleted,
)
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.errors import AgentFailedError, LeaseLostError, StorageUnavailableError, ToolFailedError
from cloche.execution.control import StopReason
from cloche.execution.program import Program
from cloche.ids import ApprovalId, RunId, ThreadId
from cloche.storage.messages import MessageRepository
from cloche.storage.pages import PageRequest
from cloche.storage.sqlite import SqliteDatabase
from cloche.telemetry import LogEvent
from cloche.tools.tool import tool
from support.faults import FaultyDatabase, eventually
from support.world import World, working

HALF = "\ud83d"
MARK = "\ufffd"


@pytest.fixture
def faulty(database: SqliteDatabase) -> FaultyDatabase:
    return FaultyDatabase(database)


@pytest.fixture
async def shaky(faulty: FaultyDatabase, clock: SystemClock):
    """A world at work over a database that the test can make fail."""
    async with working(World(faulty, clock)) as world:  # type: ignore[arg-type]
        yield world


async def finished(world: World, agent, **options: object) -> tuple[Scope, list[Envelope]]:
    world.programs.add("agent", agent, **options)  # type: ignore[arg-type]
    scope = await world.person()
    events = await world.until(scope, await world.send(scope))
    assert check_run(events) == []
    return scope, events


def failure(events: list[Envelope]) -> AgentFailed:
    failed = decoded(events[-1])
    assert isinstance(failed, AgentFailed)
    return failed


async def test_a_fault_of_ours_while_a_run_writes_ends_the_run(shaky: World, faulty: FaultyDatabase):
    async def agent(run: AgentRun) -> str:
        faulty.fail_next.append(RuntimeError("a fault of ours"))
        await run.think("hm")
        return "never"

    _, events = await finished(shaky, agent)

    assert failure(events).code == "agent_failed"
    assert "fault of ours" not in failure(events).message


async def test_a_fault_of_ours_while_a_run_ends_still_ends_it(shaky: World, faulty: FaultyDatabase):
    async def agent(run: AgentRun) -> str:
        await run.think("hm")
        if run.text == "hello":
            faulty.fail_next.append(RuntimeError("a fault of ours"))
        return "nearly"

    scope, events = await finished(shaky, agent)
    following = await shaky.send(scope, "once more", thread_id=events[0].thread_id)

    assert failure(events).code == "agent_failed"
    assert (await shaky.until(scope, following))[-1].type == "agent_completed"


async def test_a_database_that_is_away_for_a_while_delays_the_end_and_loses_nothing(
    shaky: World, faulty: FaultyDatabase
):
    async def agent(run: AgentRun) -> str:
        await run.think("hm")
        faulty.fail_next += [StorageUnavailableError("away")] * 2
        return "answer"

    scope, events = await finished(shaky, agent)

    assert [event.type for event in events][2:] == [
        "agent_started",
        "agent_thinking",
        "message_completed",
        "agent_completed",
    ]
    assert faulty.refused == 2
    assert scope


async def test_an_agent_that_cannot_be_made_fails_its_run(world: World):
    def make() -> Program:
        raise OSError("no such file")

    async def unused(run: AgentRun) -> None: ...

    world.programs.add("agent", unused)
    world.programs.add_program(world.programs.spec("agent"), make)
    scope = await world.person()

    events = await world.until(scope, await world.send(scope))

    assert failure(events).code == "agent_failed"
    assert "no such file" not in failure(events).message
    assert check_run(events) == []


async def test_an_agent_that_is_gone_meanwhile_fails_its_run_with_that_reason(idle_world: World):
    async def unused(run: AgentRun) -> None: ...

    idle_world.programs.add("agent", unused)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)
    idle_world.programs._specs.clear()

    async with working(idle_world):
        events = await idle_world.until(scope, accepted)

    assert failure(events).code == "agent_unavailable"


async def test_the_first_error_of_ours_in_a_group_is_the_run_s_reason(world: World):
    async def agent(run: AgentRun) -> str:
        raise ExceptionGroup("two", [ValueError("x"), ExceptionGroup("one", [ToolFailedError("the real reason")])])

    _, events = await finished(world, agent)

    assert (failure(events).code, failure(events).message) == ("tool_failed", "the real reason")


# Text that is none


async def messages(world: World, scope: Scope, thread_id: str) -> list[str]:
    page = await world.database.read(
        lambda tx: MessageRepository(scope).list(tx, ThreadId(thread_id), PageRequest(limit=10))
    )
    return [message.text for message in reversed(page.items)]


@pytest.mark.parametrize("bad", [HALF, "\udfff", "\x00"], ids=["first half", "second half", "nul"])
async def test_an_agent_s_unsound_text_is_mended_everywhere_and_the_run_completes(world: World, bad: str):
    async def agent(run: AgentRun) -> str:
        await run.think(f"thought{bad}")

        async def writing(write: Write) -> None:
            for piece in ("a", bad, "b", f"{bad}\ude00"):
                await write(piece)

        await run.stream(writing, name=f"stream{bad}")
        return f"answer{bad}"

    scope, events = await finished(world, agent)

    deltas = [data.text for data in map(decoded, events) if isinstance(data, MessageDelta)]
    wholes = [data.parts[0].text for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert "".join(deltas) == wholes[0] == f"a{MARK}b{MARK}{MARK}"
    assert wholes[1] == f"answer{MARK}"
    assert (await messages(world, scope, events[0].thread_id))[1:] == wholes
    assert events[-1].type == "agent_completed"


async def test_an_unsound_message_of_an_error_is_mended(world: World):
    async def agent(run: AgentRun) -> str:
        raise AgentFailedError(f"because {HALF}\x00")

    scope, events = await finished(world, agent)

    assert failure(events).message == f"because {MARK}{MARK}"
    run = await world.run(scope, events[0].run_id or "")
    assert run.failure is not None
    assert run.failure.message == failure(events).message


async def test_unsound_arguments_results_and_names_of_tools_are_mended(world: World):
    async def echo(text: str) -> dict[str, object]:
        """Say it again."""
        return {f"key{HALF}": [text, HALF]}

    async def plain(text: str) -> str:
        """Say it again."""
        return text + HALF

    async def fails(text: str) -> str:
        """Fail."""
        raise ToolFailedError(f"failed {HALF}")

    results: list[object] = []

    async def agent(run: AgentRun) -> str:
        for name in ("echo", "plain", "fails", f"none{HALF}"):
            result = await run.call_tool(name, text=f"x{HALF}")
            results.append(result.value if result.ok else result.failure and result.failure.message)
        return "done"

    tools = {"echo": tool(echo), "plain": tool(plain), "fails": tool(fails)}
    _, events = await finished(world, agent, tools=tools)

    assert results[:3] == [{f"key{MARK}": [f"x{MARK}", MARK]}, f"x{MARK}{MARK}", f"failed {MARK}"]
    completed = [data for data in map(decoded, events) if isinstance(data, ToolCompleted)]
    assert [data.tool for data in completed] == ["echo", "plain", "fails", f"none{MARK}"]
    assert events[-1].type == "agent_completed"


async def test_an_unsound_question_is_mended_and_can_be_answered(world: World):
    async def agent(run: AgentRun) -> str:
        approval = await run.ask(f"may I{HALF}?", arguments={"a": HALF}, schema={"b": [HALF, "\x00"]})
        return f"{approval.question} {json.dumps(dict(approval.arguments), ensure_ascii=False)}"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted)

    assert requested.question == f"may I{MARK}?"
    assert requested.schema == {"b": [MARK, MARK]}
    [answer] = [data.parts[0].text for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert answer == f'may I{MARK}? {{"a": "{MARK}"}}'


async def test_adversarial_but_sound_text_goes_through_unchanged(world: World):
    text = 'quotes " \\ 😀 \u2028\u2029 </script> \r\n\t \ufeff ' + "x" * 10_000

    async def agent(run: AgentRun) -> str:
        await run.say(text)
        return text

    scope, events = await finished(world, agent)

    assert (await messages(world, scope, events[0].thread_id))[1:] == [text, text]
    assert await world.state(scope, events[0].run_id or "") is ExecutionState.COMPLETED


# The lease, and a cancel that was recorded first


async def take_away(run: AgentRun, world: World) -> None:
    """What was done so far is durable, and another execution owns the run from now on."""
    await run._handle.writer.flush()
    run_id = str(run.context.run_id)
    await world.database.write(lambda tx: tx.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = ?", run_id))


async def lost(world: World, agent) -> tuple[Scope, str]:
    """A run whose execution finds that it owns it no more."""
    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await eventually(lambda: any(event == LogEvent.RUN_LEASE_LOST for _, event, _ in world.log_book.lines))
    await eventually(lambda: not world.worker.working)
    assert not (await world.state(scope, accepted.run_id)).is_terminal
    assert not [event for _, event, _ in world.log_book.lines if event == LogEvent.RUN_ENDED]
    return scope, accepted.run_id


async def test_an_execution_that_loses_the_run_in_its_midst_writes_nothing_more(world: World):
    async def agent(run: AgentRun) -> str:
        await run.think("mine")
        await take_away(run, world)
        await run.think("not mine any more")
        await run.now()
        return "never"

    scope, run_id = await lost(world, agent)

    thoughts = [event for event in await world.events(scope, run_id) if event.type == "agent_thinking"]
    assert len(thoughts) == 1


async def test_an_execution_that_swallows_the_loss_writes_nothing_more_either(world: World):
    async def agent(run: AgentRun) -> str:
        await take_away(run, world)
        for _ in range(2):
            with pytest.raises(LeaseLostError):
                await run.now()
        return "all is well"

    scope, run_id = await lost(world, agent)

    assert (await world.events(scope, run_id))[-1].type == "agent_started"


async def test_an_execution_that_loses_the_run_at_its_end_does_not_end_it(world: World):
    async def agent(run: AgentRun) -> str:
        await run.think("mine")
        await take_away(run, world)
        return "not mine any more"

    scope, run_id = await lost(world, agent)

    assert (await world.events(scope, run_id))[-1].type == "agent_thinking"


async def test_an_execution_that_is_told_of_the_loss_stops_and_does_not_end_the_run(world: World):
    async def agent(run: AgentRun) -> str:
        await run.think("mine")
        await asyncio.get_running_loop().create_future()
        return "never"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    await world.until(scope, accepted, "agent_thinking")
    stopped = world.worker.active.stop(RunId(accepted.run_id), StopReason.LEASE_LOST)
    await eventually(lambda: not world.worker.working)

    assert stopped
    assert await world.state(scope, accepted.run_id) is ExecutionState.RUNNING
    assert (await world.events(scope, accepted.run_id))[-1].type == "agent_thinking"
    assert [event for _, event, _ in world.log_book.lines if event == LogEvent.RUN_LEASE_LOST]


async def wish_to_cancel(run: AgentRun, world: World) -> None:
    """A cancel is recorded, of which the worker has not heard yet."""
    scope = run.context.scope
    assert run.context.run_id is not None
    found = await world.run(scope, run.context.run_id)
    await world.database.write(lambda tx: world.cancellation.cancel_in(tx, scope, found, reason="enough"))


@pytest.mark.parametrize("how", ["answers", "fails", "hangs", "asks", "is drained"])
async def test_a_run_whose_cancel_was_recorded_before_it_ended_ends_as_cancelled(world: World, how: str):
    async def agent(run: AgentRun) -> str:
        await run.think("hm")
        await wish_to_cancel(run, world)
        if how == "is drained":
            assert run.context.run_id is not None
            world.worker.active.stop(run.context.run_id, StopReason.DRAINED)
        if how in {"hangs", "is drained"}:
            await asyncio.get_running_loop().create_future()
        if how == "fails":
            raise AgentFailedError("no luck")
        if how == "asks":
            await run.ask("may I?")
        return "answer"

    _, events = await finished(world, agent, limits=AgentLimits(run_timeout=timedelta(milliseconds=150)))

    cancelled = decoded(events[-1])
    assert isinstance(cancelled, AgentCancelled)
    by_itself = how in {"answers", "fails"}
    asking = ("approval:ask",) if how == "asks" else ()
    assert cancelled.receipt.stopped == (() if by_itself else (*asking, "agent"))
    assert cancelled.receipt.already_done == (("thought:think", "agent") if by_itself else ("thought:think",))
    assert not [event for event in events if event.type in {"message_completed", "approval_requested"}]


async def test_a_database_that_is_away_for_a_while_delays_a_question(shaky: World, faulty: FaultyDatabase):
    async def agent(run: AgentRun) -> str:
        faulty.fail_next += [StorageUnavailableError("away")] * 2
        return str((await run.ask("may I?")).state)

    shaky.programs.add("agent", agent)
    scope = await shaky.person()
    accepted = await shaky.send(scope)
    events = await shaky.until(scope, accepted, "approval_requested")

    assert events[-1].type == "approval_requested"
    assert faulty.refused == 2
