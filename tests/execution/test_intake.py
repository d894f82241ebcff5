"""Taking messages: each once, whoever sends how often, or refused with the reason."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import apsw
import pytest

from cloche.agents.function import AgentRun
from cloche.domain.agents import AgentSpec
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import MessageCreated, RunQueued
from cloche.domain.messages import MAX_CLIENT_MESSAGE_ID
from cloche.domain.runs import ExecutionState, OnBusy, OnPendingApproval, Run
from cloche.domain.scope import Scope
from cloche.errors import (
    ClocheError,
    DrainingError,
    IdempotencyMismatchError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    RetryRefusedError,
    ThreadBusyError,
)
from cloche.execution import intake as intake_module
from cloche.execution.intake import Accepted, Retrying
from cloche.ids import RequestId, RunId, ThreadId, UserId
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.pages import PageRequest
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository
from support.world import World, opened_world


async def answers(run: AgentRun) -> str:
    return run.text


async def hangs(run: AgentRun) -> None:
    await asyncio.get_running_loop().create_future()


@pytest.fixture
def taking(idle_world: World) -> World:
    """A world that takes messages and whose runs stay pending."""
    idle_world.programs.add("agent", answers)
    idle_world.programs.add("other", answers)
    return idle_world


async def runs_of(world: World, scope: Scope) -> list[str]:
    page = await world.database.read(lambda tx: RunRepository(scope).list(tx, PageRequest(limit=100)))
    return [str(run.id) for run in page.items]


async def at_once(world: World, scope: Scope, texts: list[str], **options: object) -> list[Accepted | ClocheError]:
    """Everything sent at the same time; what each sender was told."""

    async def send(text: str) -> Accepted | ClocheError:
        try:
            return await world.send(scope, text, **options)  # type: ignore[arg-type]
        except ClocheError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(text)) for text in texts]
    return [task.result() for task in tasks]


def without_replay(accepted: Accepted | ClocheError) -> tuple[str, str, str, int]:
    assert isinstance(accepted, Accepted)
    return accepted.thread_id, accepted.message_id, accepted.run_id, accepted.seq


@pytest.mark.parametrize("with_thread", [False, True])
async def test_the_same_message_again_gets_the_same_answer_and_no_second_run(taking: World, with_thread: bool):
    scope = await taking.person()
    thread_id = (await taking.send(scope, "before")).thread_id if with_thread else None
    before = len(await runs_of(taking, scope))

    first = await taking.send(scope, "hi", thread_id=thread_id, client_message_id="c1")
    second = await taking.send(scope, "hi", thread_id=thread_id, client_message_id="c1")

    assert without_replay(first) == without_replay(second)
    assert (first.replayed, second.replayed) == (False, True)
    assert len(await runs_of(taking, scope)) == before + 1
    assert taking.telemetry.figures.runs_accepted == before + 1


@pytest.mark.parametrize("with_thread", [False, True])
async def test_fifty_senders_of_the_same_message_at_once_get_one_answer(taking: World, with_thread: bool):
    scope = await taking.person()
    thread_id = (await taking.send(scope, "before")).thread_id if with_thread else None
    before = len(await runs_of(taking, scope))

    answers_ = await at_once(taking, scope, ["hi"] * 50, thread_id=thread_id, client_message_id="c1")

    assert len({without_replay(answer) for answer in answers_}) == 1
    assert sum(not answer.replayed for answer in answers_ if isinstance(answer, Accepted)) == 1
    assert len(await runs_of(taking, scope)) == before + 1


@pytest.mark.parametrize("with_thread", [False, True])
async def test_another_body_under_the_same_id_is_refused(taking: World, with_thread: bool):
    scope = await taking.person()
    thread_id = (await taking.send(scope, "before")).thread_id if with_thread else None
    await taking.send(scope, "hi", thread_id=thread_id, client_message_id="c1")

    for text, agent in (("other", None), ("hi", "other")):
        with pytest.raises(IdempotencyMismatchError):
            await taking.send(scope, text, agent=agent, thread_id=thread_id, client_message_id="c1")


async def test_of_two_bodies_at_once_under_one_id_one_is_taken(taking: World):
    scope = await taking.person()

    told = await at_once(taking, scope, ["a", "b"] * 10, client_message_id="c1")

    taken = {without_replay(one) for one in told if isinstance(one, Accepted)}
    assert len(taken) == 1
    assert Counter(type(one) for one in told) == {Accepted: 10, IdempotencyMismatchError: 10}


async def test_a_client_id_counts_per_user_and_per_thread(taking: World):
    scope = await taking.person()
    colleague = Scope(tenant_id=scope.tenant_id, user_id=UserId.new(), permissions=scope.permissions)
    stranger = await taking.person()

    first = await taking.send(scope, "hi", client_message_id="c1")
    on_thread = await taking.send(scope, "else", thread_id=first.thread_id, client_message_id="c2")
    fresh = await taking.send(scope, "hi", client_message_id="c2")
    others = [await taking.send(one, "hi", client_message_id="c1") for one in (colleague, stranger)]

    assert len({first.run_id, on_thread.run_id, fresh.run_id, *(one.run_id for one in others)}) == 5
    assert not any(one.replayed for one in (first, on_thread, fresh, *others))


async def test_a_repeated_message_gets_its_answer_even_when_the_thread_is_busy_or_the_quota_used_up(
    taking: World, monkeypatch: pytest.MonkeyPatch
):
    scope = await taking.person()
    thread_id = (await taking.send(scope, "before")).thread_id
    first = await taking.send(scope, "hi", thread_id=thread_id, client_message_id="c1")
    monkeypatch.setattr(intake_module, "MAX_LIVE_RUNS", 2)

    again = await taking.send(scope, "hi", thread_id=thread_id, client_message_id="c1", on_busy=OnBusy.REJECT)

    assert without_replay(again) == without_replay(first)


@pytest.mark.parametrize(
    "wrong",
    ["", "x" * (MAX_CLIENT_MESSAGE_ID + 1), "a\nb", "a\x00", "\u202e"],
    ids=["none", "long", "line", "nul", "bidi"],
)
async def test_a_client_id_that_is_none_is_refused_with_its_place(taking: World, wrong: str):
    scope = await taking.person()

    with pytest.raises(InvalidInputError) as refused:
        await taking.intake.accept(
            scope,
            intake_module.Sending(parts=(), client_message_id=wrong),
            request_id=None,  # type: ignore[arg-type]
        )

    assert refused.value.details["place"] == "$.client_message_id"
    assert await runs_of(taking, scope) == []


async def test_an_unknown_agent_is_not_found_and_nothing_is_kept(taking: World):
    scope = await taking.person()

    with pytest.raises(NotFoundError):
        await taking.send(scope, agent="nobody")

    assert await runs_of(taking, scope) == []
    page = await taking.database.read(lambda tx: ThreadRepository(scope).list(tx, PageRequest()))
    assert list(page.items) == []


async def test_another_s_thread_is_not_found_like_one_that_is_not_there(taking: World):
    scope, stranger = await taking.person(), await taking.person()
    accepted = await taking.send(scope)

    told = []
    for thread_id in (ThreadId(accepted.thread_id), ThreadId.new()):
        with pytest.raises(NotFoundError) as refused:
            await taking.send(stranger, thread_id=thread_id)
        told.append((refused.value.code, refused.value.message, refused.value.details))

    assert told[0] == told[1]
    assert len(await taking.events(scope, accepted.run_id)) == 2


async def test_a_user_has_so_many_runs_that_have_not_ended_and_no_more(taking: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake_module, "MAX_LIVE_RUNS", 3)
    scope, other = await taking.person(), await taking.person()
    accepted = [await taking.send(scope) for _ in range(3)]

    with pytest.raises(QuotaExceededError) as refused:
        await taking.send(scope)
    await taking.send(other)
    await taking.cancellation.cancel(scope, RunId(accepted[0].run_id))
    await taking.send(scope)

    assert refused.value.details == {"limit": 3}
    assert refused.value.retry_after_s is not None


async def test_many_at_once_do_not_get_beyond_the_quota(taking: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake_module, "MAX_LIVE_RUNS", 5)
    scope = await taking.person()

    told = await at_once(taking, scope, [str(number) for number in range(20)])

    assert Counter(type(one) for one in told) == {Accepted: 5, QuotaExceededError: 15}
    assert len(await runs_of(taking, scope)) == 5


async def test_nothing_is_taken_while_the_process_goes_away(taking: World):
    scope = await taking.person()
    first = await taking.send(scope, client_message_id="c1")

    taking.intake.close()

    for client_id in ("c1", "c2"):
        with pytest.raises(DrainingError) as refused:
            await taking.send(scope, client_message_id=client_id)
        assert refused.value.retry_after_s is not None
    assert await runs_of(taking, scope) == [first.run_id]


async def test_the_first_events_of_a_run_say_what_was_sent_and_how_it_waits(taking: World):
    scope = await taking.person()
    first = await taking.send(scope, "one", client_message_id="c1")
    second = await taking.send(scope, "two", thread_id=first.thread_id)
    third = await taking.send(scope, "three", thread_id=first.thread_id)

    told = [[decoded(event) for event in await taking.events(scope, one.run_id)] for one in (first, second, third)]

    created = told[0][0]
    assert isinstance(created, MessageCreated)
    assert (created.message_id, created.role, created.by) == (first.message_id, "user", str(scope.user_id))
    assert (created.parts[0].text, created.client_message_id) == ("one", "c1")
    queued = [events[1] for events in told]
    assert queued == [
        RunQueued(position=0, reason="accepted"),
        RunQueued(position=1, reason="thread_busy"),
        RunQueued(position=2, reason="thread_busy"),
    ]
    assert [one.seq for one in (first, second, third)] == [1, 3, 5]


async def test_one_thread_s_runs_are_offered_one_after_the_other(taking: World):
    scope = await taking.person()
    first = await taking.send(scope)
    await taking.send(scope, thread_id=first.thread_id)
    elsewhere = await taking.send(scope)

    offered = [(await taking.bus.take()).run_id for _ in range(taking.bus.depth)]

    assert offered == [first.run_id, elsewhere.run_id]


async def test_an_interruption_cancels_what_waits_and_what_works(world: World):
    world.programs.add("agent", hangs)
    world.programs.add("quick", answers)
    scope = await world.person()
    working = await world.send(scope, "one", agent="agent")
    await world.until(scope, working, "agent_started")
    waiting = await world.send(scope, "two", thread_id=working.thread_id, agent="quick")

    newest = await world.send(scope, "three", thread_id=working.thread_id, agent="quick", on_busy=OnBusy.INTERRUPT)
    events = await world.until(scope, newest)

    assert events[-1].type == "agent_completed"
    assert decoded(events[1]) == RunQueued(position=1, reason="interrupting")
    assert await world.state(scope, working.run_id) is ExecutionState.CANCELLED
    assert await world.state(scope, waiting.run_id) is ExecutionState.CANCELLED
    waited = await world.events(scope, waiting.run_id)
    assert "agent_started" not in [event.type for event in waited]


async def test_an_interruption_of_what_only_waits_starts_at_once(taking: World):
    scope = await taking.person()
    first = await taking.send(scope, "one")
    await taking.send(scope, "two", thread_id=first.thread_id)

    newest = await taking.send(scope, "three", thread_id=first.thread_id, on_busy=OnBusy.INTERRUPT)

    events = await taking.events(scope, newest.run_id)
    assert decoded(events[1]) == RunQueued(position=0, reason="accepted")
    offered = [(await taking.bus.take()).run_id for _ in range(taking.bus.depth)]
    assert offered[-1] == newest.run_id


async def test_a_refused_message_leaves_nothing_behind(taking: World):
    scope = await taking.person()
    first = await taking.send(scope)

    with pytest.raises(ThreadBusyError) as refused:
        await taking.send(scope, "two", thread_id=first.thread_id, on_busy=OnBusy.REJECT, client_message_id="c2")
    taken = await taking.send(scope, "other", thread_id=first.thread_id, client_message_id="c2")

    assert refused.value.details == {"run_id": first.run_id}
    assert not taken.replayed
    assert taken.seq == 3


async def test_a_new_thread_is_called_by_its_first_message(taking: World):
    scope = await taking.person()
    accepted = await taking.send(scope, "What is\nthe time in Oslo?")

    thread = await taking.database.read(lambda tx: ThreadRepository(scope).get(tx, ThreadId(accepted.thread_id)))

    assert thread.title == "What is the time in Oslo?"


# Trying a run again


async def retry(world: World, scope: Scope, run_id: str, client_message_id: str | None = None, **options: object):
    wish = Retrying(run_id=RunId(run_id), client_message_id=client_message_id, **options)  # type: ignore[arg-type]
    return await world.intake.retry(scope, wish, request_id=RequestId.new())


async def cancelled_run(world: World, scope: Scope, text: str = "one", **options: object) -> Accepted:
    accepted = await world.send(scope, text, **options)  # type: ignore[arg-type]
    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    return accepted


async def put_into(world: World, scope: Scope, run_id: str, state: ExecutionState) -> None:
    """The run is in the state, whatever brought it there."""

    async def work(tx: Transaction) -> None:
        await tx.execute("UPDATE runs SET state = ?, ended_at = 1 WHERE id = ?", str(state), run_id)

    assert await world.run(scope, run_id)
    await world.database.write(work)


async def test_a_run_that_failed_is_tried_again_on_the_same_message(world: World):
    said: list[tuple[str, list[str]]] = []

    async def agent(run: AgentRun) -> str:
        said.append((run.text, [message.text for message in await run.history()]))
        if run.text == "two" and len(said) == 2:
            await run.say("half of it")
            raise RuntimeError
        return f"so: {run.text}"

    world.programs.add("agent", agent)
    scope = await world.person()
    first = await world.send(scope, "one")
    await world.until(scope, first)
    failed = await world.send(scope, "two", thread_id=first.thread_id)
    await world.until(scope, failed)

    accepted = await retry(world, scope, failed.run_id)
    events = await world.until(scope, accepted)

    run = await world.run(scope, accepted.run_id)
    assert (run.state, run.retry_of, str(run.message_id)) == (
        ExecutionState.COMPLETED,
        RunId(failed.run_id),
        failed.message_id,
    )
    assert said[1] == ("two", ["one", "so: one"])
    assert said[2] == ("two", ["one", "so: one", "half of it"])
    assert check_run(events) == []
    assert decoded(events[0]) == RunQueued(position=0, reason="accepted", retry_of=failed.run_id)
    assert (events[0].seq, run.first_seq) == (accepted.seq, accepted.seq)
    roles = await world.database.read(
        lambda tx: MessageRepository(scope).list(tx, ThreadId(first.thread_id), PageRequest(limit=10))
    )
    assert [str(message.role) for message in roles.items].count("user") == 2


@pytest.mark.parametrize("state", [state for state in ExecutionState if state is not ExecutionState.COMPLETED])
async def test_what_ended_otherwise_than_well_can_be_tried_again_and_nothing_else(taking: World, state: ExecutionState):
    scope = await taking.person()
    accepted = await cancelled_run(taking, scope)
    await put_into(taking, scope, accepted.run_id, state)

    if state.is_terminal:
        again = await retry(taking, scope, accepted.run_id)
        assert (await taking.run(scope, again.run_id)).retry_of == RunId(accepted.run_id)
        return
    with pytest.raises(RetryRefusedError) as refused:
        await retry(taking, scope, accepted.run_id)
    assert refused.value.details == {"state": str(state)}


async def test_a_run_that_completed_is_not_tried_again(taking: World):
    scope = await taking.person()
    accepted = await cancelled_run(taking, scope)
    await put_into(taking, scope, accepted.run_id, ExecutionState.COMPLETED)

    with pytest.raises(RetryRefusedError):
        await retry(taking, scope, accepted.run_id)

    assert await runs_of(taking, scope) == [accepted.run_id]


async def test_a_retry_under_the_same_id_is_one_and_another_run_under_it_is_refused(taking: World):
    scope = await taking.person()
    one, other = [await cancelled_run(taking, scope) for _ in range(2)]

    first = await retry(taking, scope, one.run_id, "c1")
    again = await retry(taking, scope, one.run_id, "c1")
    with pytest.raises(IdempotencyMismatchError):
        await retry(taking, scope, other.run_id, "c1")
    sent = await taking.send(scope, "else", client_message_id="c1")

    assert without_replay(first) == without_replay(again)
    assert (first.replayed, again.replayed, sent.replayed) == (False, True, False)
    assert len(await runs_of(taking, scope)) == 4


async def test_a_retry_waits_its_turn_like_a_message(taking: World):
    scope = await taking.person()
    stopped = await cancelled_run(taking, scope)
    ahead = await taking.send(scope, "ahead", thread_id=stopped.thread_id)

    with pytest.raises(ThreadBusyError) as refused:
        await retry(taking, scope, stopped.run_id, on_busy=OnBusy.REJECT)
    behind = await retry(taking, scope, stopped.run_id)

    assert refused.value.details == {"run_id": ahead.run_id}
    [queued] = [decoded(event) for event in await taking.events(scope, behind.run_id)]
    assert queued == RunQueued(position=1, reason="thread_busy", retry_of=stopped.run_id)
    offered = [(await taking.bus.take()).run_id for _ in range(taking.bus.depth)]
    assert behind.run_id not in offered


async def test_a_retry_can_interrupt_and_is_itself_tried_again(taking: World):
    scope = await taking.person()
    stopped = await cancelled_run(taking, scope)
    first = await retry(taking, scope, stopped.run_id)

    second = await retry(
        taking, scope, stopped.run_id, on_busy=OnBusy.INTERRUPT, on_pending_approval=OnPendingApproval.ENQUEUE
    )
    third = await retry(taking, scope, first.run_id, on_busy=OnBusy.INTERRUPT)

    runs: list[Run] = [await taking.run(scope, one.run_id) for one in (first, second, third)]
    assert [run.state for run in runs] == [
        ExecutionState.CANCELLED,
        ExecutionState.CANCELLED,
        ExecutionState.PENDING,
    ]
    assert [run.retry_of for run in runs] == [stopped.run_id, stopped.run_id, first.run_id]
    assert {str(run.message_id) for run in runs} == {stopped.message_id}


async def test_a_retry_takes_the_agent_as_it_is_now(taking: World):
    scope = await taking.person()
    stopped = await cancelled_run(taking, scope, agent="other")
    taking.programs.add("other", answers, version="2")

    again = await retry(taking, scope, stopped.run_id)

    run = await taking.run(scope, again.run_id)
    spec: AgentSpec = taking.programs.spec("other")
    assert (run.agent, run.agent_version) == (spec.name, "2")


async def test_a_run_of_another_one_or_of_a_deleted_thread_is_not_tried_again(taking: World):
    scope, stranger = await taking.person(), await taking.person()
    stopped = await cancelled_run(taking, scope)

    with pytest.raises(NotFoundError):
        await retry(taking, stranger, stopped.run_id)
    await taking.database.write(
        lambda tx: ThreadRepository(scope).delete(tx, ThreadId(stopped.thread_id), at=taking.clock.now())
    )
    with pytest.raises(NotFoundError):
        await retry(taking, scope, stopped.run_id)

    assert len(await runs_of(taking, scope)) == 1


async def test_a_retry_is_refused_like_a_message_when_it_cannot_be_taken(
    taking: World, monkeypatch: pytest.MonkeyPatch
):
    scope = await taking.person()
    stopped = await cancelled_run(taking, scope)
    await taking.send(scope)
    monkeypatch.setattr(intake_module, "MAX_LIVE_RUNS", 1)

    with pytest.raises(QuotaExceededError):
        await retry(taking, scope, stopped.run_id)
    with pytest.raises(InvalidInputError):
        await retry(taking, scope, stopped.run_id, "a\nb")
    taking.intake.close()
    with pytest.raises(DrainingError):
        await retry(taking, scope, stopped.run_id)


async def test_a_retry_that_was_never_begun_is_recovered(taking: World):
    scope = await taking.person()
    stopped = await cancelled_run(taking, scope)
    again = await retry(taking, scope, stopped.run_id)
    while taking.bus.depth:
        await taking.bus.take()

    await taking.recovery.recover_all()

    assert (await taking.bus.take()).run_id == again.run_id


async def test_a_message_on_a_thread_costs_so_many_statements_and_no_more(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
):
    statements: list[str] = []

    def listen(connection: apsw.Connection) -> None:
        def note(_cursor: object, sql: str, _bindings: object) -> bool:
            statements.append(" ".join(sql.split()[:3]))
            return True

        connection.exec_trace = note

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, listen])
    async with opened_world(database_path) as world:
        world.programs.add("agent", answers)
        scope = await world.person()
        stopped = await cancelled_run(world, scope)
        statements.clear()

        await world.send(scope, thread_id=stopped.thread_id)

    rows = [text for text in statements if text.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}]
    assert [text.split()[0] for text in rows] == ["SELECT"] * 3 + ["UPDATE"] + ["INSERT"] * 3
    assert rows[3:] == ["UPDATE threads SET", "INSERT INTO events", "INSERT INTO runs", "INSERT INTO messages"]
