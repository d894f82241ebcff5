"""A watched list of threads: what changed of it is told, what did not is not, and nothing is missed."""

from __future__ import annotations

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import decoded
from cloche.domain.events import ApprovalRequested, ThreadUpdated
from cloche.domain.scope import Scope
from cloche.domain.threads import ThreadStatus
from cloche.events import feed as feed_module
from cloche.events.codec import draft
from cloche.events.feed import Feed, FeedChanges, ThreadState
from cloche.events.log import EventLog
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, RunId, ThreadId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Transaction
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.population import newcomer
from support.logs import HeldDatabase, append, make_thread
from support.world import World


class Bell:
    """How often there may have been something to tell."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


def watched(world: World, scope: Scope) -> Feed:
    return world.log.watch(scope, Bell())


async def threads_told(feed: Feed) -> list[ThreadState]:
    return list((await feed.take()).threads)


async def titled(world: World, scope: Scope, thread_id: ThreadId, title: str) -> None:
    async def work(tx: Transaction) -> None:
        await ThreadRepository(scope).update(tx, thread_id, at=world.clock.now(), title=title)
        world.log.note_thread(tx, scope, thread_id)

    await world.database.write(work)


async def read_up_to(world: World, scope: Scope, thread_id: ThreadId, seq: int) -> None:
    async def work(tx: Transaction) -> None:
        await ThreadRepository(scope).mark_read(tx, thread_id, seq)
        world.log.note_thread(tx, scope, thread_id)

    await world.database.write(work)


@pytest.fixture
async def thread_id(idle_world: World, scope: Scope) -> ThreadId:
    return await make_thread(idle_world.database, idle_world.clock, scope)


async def think(world: World, scope: Scope, thread_id: ThreadId, *texts: str) -> None:
    await append(world.database, world.log, scope, thread_id, list(texts), at=world.clock.now())


async def test_a_watcher_is_told_at_first_how_many_approvals_wait(idle_world: World, scope: Scope):
    feed = watched(idle_world, scope)

    assert feed.has_moved
    assert await feed.take() == FeedChanges(threads=[], pending=0)
    assert not feed.has_moved


async def test_a_message_is_told_as_the_thread_it_is_on(idle_world: World):
    idle_world.programs.add("agent", answers)
    scope = await idle_world.person()
    bell = Bell()
    feed = idle_world.log.watch(scope, bell)
    sent = await idle_world.send(scope, "hello")

    [told] = await threads_told(feed)

    assert bell.rung == 1
    assert (told.thread_id, told.title, told.status) == (sent.thread_id, "hello", "queued")
    assert (told.head_seq, told.read_seq, told.unread, told.archived, told.deleted) == (2, 2, False, False, False)
    assert told.updated_at.endswith("Z")
    assert not feed.has_moved


async def answers(run: AgentRun) -> str:
    return run.text


async def test_the_end_of_a_run_is_told_with_its_head(world: World):
    world.programs.add("agent", answers)
    scope = await world.person()
    feed = watched(world, scope)
    sent = await world.send(scope, "hello")
    events = await world.until(scope, sent)

    [told] = await threads_told(feed)

    assert (told.status, told.head_seq, told.unread) == (ThreadStatus.IDLE, events[-1].seq, True)


async def test_the_words_of_an_agent_are_told_once_until_the_thread_is_read(
    idle_world: World, scope: Scope, thread_id: ThreadId
):
    feed = watched(idle_world, scope)
    await think(idle_world, scope, thread_id, "one")
    first = await threads_told(feed)

    for _ in range(5):
        await think(idle_world, scope, thread_id, "more")
    is_quiet = not feed.has_moved
    await read_up_to(idle_world, scope, thread_id, 6)
    read = await threads_told(feed)
    await think(idle_world, scope, thread_id, "and more")
    again = await threads_told(feed)

    assert is_quiet
    assert [(told.head_seq, told.unread) for told in (*first, *read, *again)] == [(1, True), (6, False), (7, True)]


async def test_what_looks_the_same_is_not_told(idle_world: World, scope: Scope, thread_id: ThreadId):
    feed = watched(idle_world, scope)
    await read_up_to(idle_world, scope, thread_id, 0)
    first = await threads_told(feed)

    await read_up_to(idle_world, scope, thread_id, 0)
    again = await feed.take()

    assert len(first) == 1
    assert again == FeedChanges(threads=[], pending=None)


@pytest.mark.parametrize("when", ["before_read", "after_read"])
async def test_what_moves_while_a_change_is_read_is_told_with_the_next(
    idle_world: World, scope: Scope, thread_id: ThreadId, when: str
):
    database = HeldDatabase(idle_world.database)
    feed = EventLog(database, idle_world.hub).watch(scope, Bell())
    await think(idle_world, scope, thread_id, "one")
    await feed.take()
    await read_up_to(idle_world, scope, thread_id, 1)

    async def meanwhile() -> None:
        await think(idle_world, scope, thread_id, "two")

    setattr(database, when, meanwhile)
    first = await threads_told(feed)
    setattr(database, when, None)
    second = await threads_told(feed) if feed.has_moved else []

    assert [*first, *second][-1].unread
    assert [*first, *second][-1].head_seq == 2


async def test_many_changes_are_told_in_pieces(idle_world: World, scope: Scope, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feed_module, "MAX_TOLD", 2)
    feed = watched(idle_world, scope)
    made = [await make_thread(idle_world.database, idle_world.clock, scope) for _ in range(5)]
    for thread_id in made:
        await titled(idle_world, scope, thread_id, "new")

    pieces: list[list[str]] = []
    while feed.has_moved:
        pieces.append([told.thread_id for told in await threads_told(feed)])

    assert [len(piece) for piece in pieces] == [2, 2, 1]
    assert {one for piece in pieces for one in piece} == set(made)


async def test_a_watcher_remembers_so_many_threads_and_tells_the_others_again(
    idle_world: World, scope: Scope, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "MAX_REMEMBERED", 1)
    feed = watched(idle_world, scope)
    one, two = [await make_thread(idle_world.database, idle_world.clock, scope) for _ in range(2)]
    for thread_id in (one, two):
        await read_up_to(idle_world, scope, thread_id, 0)
        await feed.take()

    await read_up_to(idle_world, scope, two, 0)
    kept = await threads_told(feed)
    await read_up_to(idle_world, scope, one, 0)
    forgotten = await threads_told(feed)

    assert (kept, [told.thread_id for told in forgotten]) == ([], [one])


async def test_a_deleted_thread_is_told_as_such_and_one_that_is_gone_is_not(
    idle_world: World, scope: Scope, thread_id: ThreadId
):
    feed = watched(idle_world, scope)

    async def delete(tx: Transaction) -> None:
        await ThreadRepository(scope).delete(tx, thread_id, at=idle_world.clock.now())
        idle_world.log.note_thread(tx, scope, thread_id)

    await idle_world.database.write(delete)
    [told] = await threads_told(feed)
    await idle_world.database.write(lambda tx: tx.execute("DELETE FROM threads WHERE id = ?", str(thread_id)))
    idle_world.hub.move_thread((scope.tenant_id, scope.user_id), thread_id)
    gone = await threads_told(feed)

    assert (told.thread_id, told.deleted, gone) == (thread_id, True, [])


async def test_nobody_else_hears_and_who_left_neither(idle_world: World, scope: Scope, thread_id: ThreadId):
    colleague = await newcomer(idle_world.database, tenant_id=scope.tenant_id)
    bells = [Bell() for _ in range(3)]
    own, other, closed = [
        idle_world.log.watch(who, bell) for who, bell in zip((scope, colleague, scope), bells, strict=True)
    ]
    closed.close()
    closed.close()

    await think(idle_world, scope, thread_id, "one")
    idle_world.hub.move_thread((colleague.tenant_id, colleague.user_id), thread_id)

    assert [bell.rung for bell in bells] == [1, 1, 0]
    assert len(await threads_told(own)) == 1
    assert await threads_told(other) == []
    own.close()
    other.close()
    assert not idle_world.hub.is_watched((scope.tenant_id, scope.user_id))


async def test_what_was_not_committed_is_not_told(idle_world: World, scope: Scope, thread_id: ThreadId):
    bell = Bell()
    idle_world.log.watch(scope, bell)

    async def work(tx: Transaction) -> None:
        now = idle_world.clock.now()
        drafted = draft(ThreadUpdated(title="a", status="idle"), thread_id=thread_id, run_id=None, at=now)
        await idle_world.log.append(tx, scope, thread_id, [drafted], at=now)
        idle_world.log.note_thread(tx, scope, thread_id)
        idle_world.log.note_approvals(tx, scope.tenant_id, scope.user_id)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await idle_world.database.write(work)

    assert bell.rung == 0


# Approvals


async def asks(run: AgentRun) -> str:
    return str((await run.ask("may I?")).state)


async def asked(world: World, scope: Scope) -> tuple[Accepted, ApprovalId]:
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    return accepted, ApprovalId(requested.approval_id)


async def test_approvals_are_counted_for_whom_they_wait(world: World):
    world.programs.add("agent", asks)
    scope = await world.person()
    colleague = await newcomer(world.database, tenant_id=scope.tenant_id)
    mine, theirs = watched(world, scope), watched(world, colleague)
    counts = [((await mine.take()).pending, (await theirs.take()).pending)]

    async def count() -> None:
        counts.append(((await mine.take()).pending, (await theirs.take()).pending))

    _, first = await asked(world, scope)
    await count()
    await world.decisions.delegate(scope, first, user_id=colleague.user_id)
    await count()
    await world.decisions.take_back(scope, first)
    await count()
    await world.decisions.delegate(scope, first, user_id=colleague.user_id)
    await count()
    await world.decisions.decide(colleague, first, ApprovalDecision.APPROVE)
    await count()

    assert counts == [(0, 0), (1, None), (None, 1), (None, 0), (None, 1), (0, 0)]


@pytest.mark.parametrize("how", ["expired", "cancelled"])
async def test_a_delegate_hears_that_there_is_nothing_left_to_decide(world: World, how: str):
    world.programs.add("agent", asks)
    scope = await world.person()
    colleague = await newcomer(world.database, tenant_id=scope.tenant_id)
    accepted, approval_id = await asked(world, scope)
    await world.decisions.delegate(scope, approval_id, user_id=colleague.user_id)
    mine, theirs = watched(world, scope), watched(world, colleague)
    before = ((await mine.take()).pending, (await theirs.take()).pending)

    if how == "expired":
        await world.database.write(lambda tx: tx.execute("UPDATE approvals SET expires_at = 1"))
        await world.recovery.sweep()
    else:
        await world.cancellation.cancel(scope, RunId(accepted.run_id))

    assert before == (1, 1)
    assert ((await mine.take()).pending, (await theirs.take()).pending) == (0, 0)


async def test_who_may_not_decide_is_told_of_none(world: World):
    world.programs.add("agent", asks)
    scope = await world.person()
    await asked(world, scope)
    reader = Scope(tenant_id=scope.tenant_id, user_id=scope.user_id, permissions=frozenset({"threads:read"}))

    assert (await watched(world, reader).take()).pending == 0
    assert await world.database.read(lambda tx: ApprovalRepository(scope).count_pending(tx)) == 1
