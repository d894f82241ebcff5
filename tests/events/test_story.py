"""A thread's story: everything in order, however it is cut into pieces."""

from __future__ import annotations

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.scope import Scope
from cloche.events import story as story_module
from cloche.events.story import CallEntry, EndEntry, SaidEntry, StoryEntry, read_story
from cloche.execution.intake import Retrying
from cloche.ids import RequestId, RunId, ThreadId
from cloche.tools.tool import tool
from support.world import World


async def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


async def agent(run: AgentRun) -> str:
    for number in range(3):
        await run.call_tool("double", number=number if run.text != "bad" else "x")
    await run.say("so far")
    if run.text == "fail":
        raise RuntimeError
    return f"answer to {run.text}"


async def talk(world: World, *texts: str) -> tuple[Scope, ThreadId]:
    world.programs.add("agent", agent, tools={"double": tool(double)})
    scope, thread_id = await world.person(), None
    for text in texts:
        sent = await world.send(scope, text, thread_id=thread_id)
        thread_id = sent.thread_id
        await world.until(scope, sent)
    assert thread_id is not None
    return scope, ThreadId(thread_id)


async def told(world: World, scope: Scope, thread_id: ThreadId) -> list[StoryEntry]:
    return [entry async for piece in read_story(world.database, scope, thread_id) for entry in piece]


def shown(entry: StoryEntry) -> object:
    match entry:
        case SaidEntry():
            return entry.agent, entry.parts[0].text
        case CallEntry():
            return entry.tool, entry.ok
        case EndEntry():
            return entry.state, entry.failure and entry.failure.code


ANSWERED = [("double", True)] * 3


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 50])
async def test_everything_is_told_in_order_whatever_the_pieces(
    world: World, monkeypatch: pytest.MonkeyPatch, piece: int
):
    monkeypatch.setattr(story_module, "PIECE", piece)
    scope, thread_id = await talk(world, "one", "fail")

    entries = await told(world, scope, thread_id)

    assert [shown(entry) for entry in entries] == [
        (None, "one"),
        *ANSWERED,
        ("agent", "so far"),
        ("agent", "answer to one"),
        ("completed", None),
        (None, "fail"),
        *ANSWERED,
        ("agent", "so far"),
        ("failed", "agent_failed"),
    ]
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


async def test_a_call_that_failed_and_a_run_that_was_tried_again_are_told(world: World):
    scope, thread_id = await talk(world, "bad", "fail")
    first = await told(world, scope, thread_id)
    failed = first[-1]
    assert isinstance(failed, EndEntry)
    again = await world.intake.retry(scope, Retrying(run_id=RunId(failed.run_id)), request_id=RequestId.new())
    await world.until(scope, again)

    entries = (await told(world, scope, thread_id))[len(first) :]

    assert [entry.ok for entry in first if isinstance(entry, CallEntry)] == [False] * 3 + [True] * 3
    assert [shown(entry) for entry in entries] == [*ANSWERED, ("agent", "so far"), ("failed", "agent_failed")]
    end = entries[-1]
    assert isinstance(end, EndEntry)
    assert (end.run_id, end.retry_of, end.message_id) == (again.run_id, failed.run_id, failed.message_id)


async def test_calls_are_told_as_far_as_the_log_goes_back(world: World):
    scope, thread_id = await talk(world, "one")
    await world.database.write(lambda tx: tx.execute("DELETE FROM events WHERE thread_id = ?", str(thread_id)))

    entries = await told(world, scope, thread_id)

    assert [shown(entry) for entry in entries] == [
        (None, "one"),
        ("agent", "so far"),
        ("agent", "answer to one"),
        ("completed", None),
    ]


async def test_another_s_thread_has_no_story(world: World):
    _, thread_id = await talk(world, "one")

    assert await told(world, await world.person(), thread_id) == []
