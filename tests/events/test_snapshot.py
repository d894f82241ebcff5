"""A snapshot: the thread as it stood, up to where its live runs begin."""

from __future__ import annotations

import asyncio

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import to_text
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.events import snapshot as snapshot_module
from cloche.events.snapshot import Snapshot, read_snapshot
from cloche.execution.intake import Retrying
from cloche.ids import RequestId, RunId, ThreadId
from cloche.storage.threads import ThreadRepository
from support.logs import make_thread
from support.world import World


async def echo(run: AgentRun) -> str:
    if run.text == "hang":
        await asyncio.get_running_loop().create_future()
    return f"echo of {run.text}"


async def snapshot_of(world: World, scope: Scope, thread_id: ThreadId) -> Snapshot:
    return await world.database.read(lambda tx: read_snapshot(tx, scope, thread_id))


async def test_an_empty_thread_has_an_empty_snapshot(idle_world: World):
    scope = await idle_world.person()
    thread_id = await make_thread(idle_world.database, idle_world.clock, scope)

    found = await snapshot_of(idle_world, scope, thread_id)

    assert found == Snapshot(seq=0, title="a", status="idle", messages=(), messages_cut=False, runs=())


async def test_a_thread_at_rest_is_told_up_to_its_head(world: World):
    world.programs.add("agent", echo)
    scope = await world.person()
    accepted = await world.send(scope, "hello")
    events = await world.until(scope, accepted)

    found = await snapshot_of(world, scope, ThreadId(accepted.thread_id))

    assert (found.seq, found.title, found.status, found.runs) == (events[-1].seq, "hello", "idle", ())
    assert [(message.role, message.parts[0].text) for message in found.messages] == [
        ("user", "hello"),
        ("assistant", "echo of hello"),
    ]
    sent = found.messages[0]
    assert (sent.message_id, sent.run_id, sent.seq) == (accepted.message_id, accepted.run_id, accepted.seq)
    run = await world.run(scope, RunId(accepted.run_id))
    assert sent.at == to_text(run.created_at)


async def test_everything_of_a_live_run_is_left_to_the_stream(world: World):
    world.programs.add("agent", echo)
    scope = await world.person()
    first = await world.send(scope, "hello")
    before = await world.until(scope, first)
    second = await world.send(scope, "hang", thread_id=first.thread_id)
    third = await world.send(scope, "more", thread_id=first.thread_id)
    await world.until(scope, second, "agent_started")

    found = await snapshot_of(world, scope, ThreadId(first.thread_id))

    assert (found.seq, found.status) == (before[-1].seq, "running")
    assert [message.run_id for message in found.messages] == [first.run_id] * 2
    assert [(run.run_id, run.agent, run.first_seq) for run in found.runs] == [
        (second.run_id, "agent", second.seq),
        (third.run_id, "agent", third.seq),
    ]
    assert found.runs[1].state == "pending"


@pytest.mark.parametrize(("kept", "is_cut"), [(1, True), (2, False), (3, False)])
async def test_only_the_newest_messages_are_told_and_that_others_are_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch, kept: int, is_cut: bool
):
    monkeypatch.setattr(snapshot_module, "SNAPSHOT_MESSAGES", kept)
    world.programs.add("agent", echo)
    scope = await world.person()
    accepted = await world.send(scope, "hello")
    await world.until(scope, accepted)

    found = await snapshot_of(world, scope, ThreadId(accepted.thread_id))

    assert found.messages_cut is is_cut
    assert [message.role for message in found.messages] == ["user", "assistant"][-kept:]


async def test_a_stranger_s_and_a_deleted_thread_have_none(idle_world: World):
    owner, stranger = await idle_world.person(), await idle_world.person()
    thread_id = await make_thread(idle_world.database, idle_world.clock, owner)

    with pytest.raises(NotFoundError):
        await snapshot_of(idle_world, stranger, thread_id)
    await idle_world.database.write(lambda tx: ThreadRepository(owner).delete(tx, thread_id, at=idle_world.clock.now()))
    with pytest.raises(NotFoundError):
        await snapshot_of(idle_world, owner, thread_id)


async def test_the_message_of_a_run_that_is_tried_again_is_told_before_its_stream(idle_world: World):
    idle_world.programs.add("agent", echo)
    scope = await idle_world.person()
    sent = await idle_world.send(scope, "hello")
    await idle_world.cancellation.cancel(scope, RunId(sent.run_id))
    again = await idle_world.intake.retry(scope, Retrying(run_id=RunId(sent.run_id)), request_id=RequestId.new())

    found = await snapshot_of(idle_world, scope, ThreadId(sent.thread_id))

    assert found.seq == again.seq - 1
    assert [message.message_id for message in found.messages] == [sent.message_id]
    assert [(run.run_id, run.first_seq) for run in found.runs] == [(again.run_id, again.seq)]
