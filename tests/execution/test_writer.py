"""A run's way into the database: deltas at once and joined, in order, fenced, patient and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import SystemClock
from cloche.domain.event_order import decoded
from cloche.domain.events import AgentThinking, Envelope, EventData, MessageDelta
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope, SystemScope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.usage import Usage
from cloche.errors import LeaseLostError, StorageFullError, StorageUnavailableError
from cloche.execution import patience
from cloche.execution import writer as writer_module
from cloche.execution.writer import BACKLOG_BYTES, DELTA_BYTES, Entry, MessageDraft, RunWriter, UsageDraft
from cloche.ids import ExecutionId, MessageId
from cloche.storage.claims import ClaimRepository
from cloche.storage.database import Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.sqlite import SqliteDatabase
from cloche.storage.steps import StepRepository
from cloche.storage.usage import UsageRepository
from support.faults import FaultyDatabase, eventually
from support.world import World


async def unused(run: AgentRun) -> str:
    return "unused"


class Execution:
    """A claimed run with its writer, whose flush loop runs inside ``flushing``."""

    def __init__(self, world: World, faulty: FaultyDatabase, scope: Scope, run: Run) -> None:
        self.world = world
        self.faulty = faulty
        self.scope = scope
        self.run = run
        self.message = MessageId.new()
        self.writer = RunWriter(
            database=faulty,
            log=world.log,
            clock=world.clock,
            telemetry=world.telemetry,
            scope=scope,
            run=run,
            execution_id=ExecutionId.new(),
        )

    @asynccontextmanager
    async def flushing(self) -> AsyncGenerator[RunWriter]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.writer.flush_loop())
            yield self.writer
            self.writer.close()
            await asyncio.wait({task})
            await self.write_rest()

    async def write_rest(self) -> None:
        """What is left is written, as with the end of the run."""
        rest = self.writer.take_rest()

        async def work(tx: Transaction) -> None:
            await RunRepository(self.scope).fence(tx, self.run.id, self.run.epoch)
            await self.writer.append(tx, await self.writer.prepare(tx, rest))

        if rest:
            await self.world.database.write(work)

    async def told(self) -> list[EventData]:
        """What the log has of the run, after its message and its queueing."""
        return [decoded(event) for event in (await self.envelopes())[2:]]

    async def envelopes(self) -> list[Envelope]:
        return await self.world.events(self.scope, self.run.id)

    async def texts(self) -> list[str]:
        return [event.text for event in await self.told() if isinstance(event, MessageDelta | AgentThinking)]

    async def lose_lease(self) -> None:
        await self.world.database.write(
            lambda tx: tx.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = ?", str(self.run.id))
        )


@pytest.fixture
async def execution(database: SqliteDatabase, clock: SystemClock) -> Execution:
    faulty = FaultyDatabase(database)
    world = World(faulty, clock)  # type: ignore[arg-type]
    world.programs.add("agent", unused)
    scope = await world.person()
    accepted = await world.send(scope)
    ref = (await world.run(scope, accepted.run_id)).ref
    claims = ClaimRepository(SystemScope(purpose="a test of the writer"))
    run = await database.write(
        lambda tx: claims.claim(tx, ref, worker="worker", execution_id=ExecutionId.new(), at=clock.now())
    )
    assert run is not None
    faulty.written = 0
    return Execution(world, faulty, scope, run)


def thought(text: str) -> Entry:
    return Entry(events=[AgentThinking(text=text, step=0)])


# Deltas


async def test_the_first_piece_of_a_message_is_written_at_once(execution: Execution, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer_module, "DELTA_WINDOW_S", 3600)

    async with execution.flushing() as writer:
        await writer.delta(execution.message, "first")
        await eventually(lambda: execution.faulty.written)

        assert await execution.texts() == ["first"]


async def test_pieces_within_the_window_are_joined_and_come_when_it_ends(execution: Execution):
    async with execution.flushing() as writer:
        subscription, _, _ = await execution.world.log.subscribe(
            execution.scope, execution.run.thread_id, after=execution.run.first_seq + 1
        )
        with subscription:
            await writer.delta(execution.message, "first")
            await subscription.next()
            for piece in ("a", "b", "c"):
                await writer.delta(execution.message, piece)
            before = execution.world.clock.monotonic()
            await subscription.next()
            waited = execution.world.clock.monotonic() - before

        assert await execution.texts() == ["first", "abc"]
        assert waited >= 0.02


async def test_two_kilobytes_do_not_wait_for_the_window(execution: Execution, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer_module, "DELTA_WINDOW_S", 3600)

    async with execution.flushing() as writer:
        await writer.delta(execution.message, "first")
        await eventually(lambda: execution.faulty.written)
        await writer.delta(execution.message, "x" * (DELTA_BYTES - 1))
        assert execution.writer._timer is not None
        await writer.delta(execution.message, "yz")
        await eventually(lambda: execution.faulty.written == 2)

        assert await execution.texts() == ["first", "x" * (DELTA_BYTES - 1) + "yz"]


async def test_every_message_s_first_piece_is_written_soon(execution: Execution, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer_module, "DELTA_WINDOW_S", 3600)
    other = MessageId.new()

    async with execution.flushing() as writer:
        await writer.delta(execution.message, "one")
        await writer.delta(execution.message, "two")
        await writer.delta(other, "three")
        await eventually(lambda: writer._timer is None and not writer._buffer)
        await writer.flush()

        told = [(event.message_id, event.text) for event in await execution.told() if isinstance(event, MessageDelta)]
        assert told[-1] == (str(other), "three")
        assert "".join(text for message, text in told if message == str(execution.message)) == "onetwo"


async def test_everything_comes_in_the_order_in_which_it_was_put(execution: Execution):
    async with execution.flushing() as writer:
        await writer.delta(execution.message, "1")
        await writer.delta(execution.message, "2")
        writer.put(thought("3"))
        await writer.delta(execution.message, "4")
        await writer.write(thought("5"))
        await writer.delta(execution.message, "6")
        writer.put(thought("7"))

    assert "".join(await execution.texts()) == "1234567"
    numbers = [event.seq for event in await execution.envelopes()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_delta_carries_no_more_than_it_must(execution: Execution):
    async with execution.flushing() as writer:
        await writer.delta(execution.message, "x")
        writer.put(thought("y"))

    delta, thinking = (await execution.envelopes())[2:]
    assert (delta.execution_id, delta.agent, delta.trace_id) == (None, None, None)
    assert (thinking.agent, thinking.trace_id) == (execution.run.agent, str(execution.run.trace_id))
    assert thinking.execution_id is not None


async def test_a_full_backlog_makes_the_agent_wait_until_it_is_durable(execution: Execution):
    async with execution.flushing() as writer:
        execution.faulty.hold()
        await writer.delta(execution.message, "first")
        await execution.faulty.reached.wait()
        for _ in range(BACKLOG_BYTES // 1024):
            await writer.delta(execution.message, "x" * 1024)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(writer.delta(execution.message, "y" * 1024))
            await eventually(lambda: writer._waiters)
            waited = not waiting.done()
            execution.faulty.release()

    assert waited
    assert len("".join(await execution.texts())) == len("first") + BACKLOG_BYTES + 1024


# Entries


async def test_what_is_written_together_is_there_together(execution: Execution):
    now = execution.world.clock.now()
    step = Step(
        index=0,
        kind=StepKind.MODEL,
        name="ask",
        input_digest=b"d",
        state=StepState.DONE,
        result=b"r",
        reference=str(execution.message),
        epoch=execution.run.epoch,
        started_at=now,
        ended_at=now,
    )

    async with execution.flushing() as writer:
        await writer.write(
            Entry(
                events=[AgentThinking(text="a", step=0), AgentThinking(text="b", step=0)],
                steps=[step],
                messages=[MessageDraft(id=execution.message, parts=(), index=1)],
                usage=[UsageDraft(model="m", step=0, usage=Usage(input_tokens=3))],
            )
        )

        database, scope = execution.world.database, execution.scope
        assert await database.read(lambda tx: StepRepository(scope).list(tx, execution.run.id)) == [step]
        [cost] = await database.read(lambda tx: UsageRepository(scope).summary(tx, since=now))
        assert cost.input_tokens == 3
    assert await execution.texts() == ["a", "b"]


async def test_an_entry_without_an_event_is_written_too(execution: Execution):
    async with execution.flushing() as writer:
        await writer.write(Entry(usage=[UsageDraft(model="m", step=0, usage=Usage(input_tokens=3))]))

    [cost] = await execution.world.database.read(
        lambda tx: UsageRepository(execution.scope).summary(tx, since=execution.run.created_at)
    )
    assert cost.input_tokens == 3


async def test_a_run_that_is_being_cancelled_is_still_written_for(execution: Execution):
    await execution.world.database.write(
        lambda tx: RunRepository(execution.scope).move(
            tx, execution.run.id, ExecutionState.CANCELLING, at=execution.world.clock.now(), epoch=None
        )
    )

    async with execution.flushing() as writer:
        await writer.write(thought("still said"))

    assert await execution.world.state(execution.scope, execution.run.id) is ExecutionState.CANCELLING
    assert await execution.texts() == ["still said"]


async def test_flushing_nothing_returns_and_writes_nothing(execution: Execution):
    async with execution.flushing() as writer:
        await writer.flush()

    assert execution.faulty.written == 0


# The fence


async def test_nothing_is_written_once_another_execution_owns_the_run(execution: Execution):
    async with execution.flushing() as writer:
        await writer.write(thought("mine"))
        await execution.lose_lease()
        writer.put(thought("not mine"))
        with pytest.raises(LeaseLostError):
            await writer.write(thought("not mine either"))
        assert isinstance(writer.failure, LeaseLostError)
        with pytest.raises(LeaseLostError):
            await writer.flush()
        await writer.delta(execution.message, "nor this")
        writer.put(thought("nor that"))

    assert await execution.texts() == ["mine"]
    assert await execution.world.state(execution.scope, execution.run.id) is ExecutionState.STARTING


@pytest.mark.parametrize("state", [ExecutionState.PENDING, ExecutionState.FAILED])
async def test_nothing_is_written_for_a_run_that_was_let_go_or_has_ended(execution: Execution, state: ExecutionState):
    runs, now = RunRepository(execution.scope), execution.world.clock.now()

    async def leave(tx: Transaction) -> None:
        if state.is_terminal:
            await runs.end(tx, execution.run.id, state, at=now, epoch=None, last_seq=9, usage=Usage(), failure=None)
        else:
            await runs.move(tx, execution.run.id, state, at=now, epoch=None)

    async with execution.flushing() as writer:
        await execution.world.database.write(leave)
        with pytest.raises(LeaseLostError):
            await writer.write(thought("too late"))

    assert await execution.texts() == []


async def test_everybody_who_waits_hears_that_the_lease_is_lost(execution: Execution):
    async with execution.flushing() as writer:
        await execution.lose_lease()
        execution.faulty.hold()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(_lost(writer))
            await execution.faulty.reached.wait()
            second = group.create_task(_lost(writer))
            await asyncio.sleep(0)
            execution.faulty.release()

    assert first.result() is second.result() is True


async def _lost(writer: RunWriter) -> bool:
    try:
        await writer.write(thought("x"))
    except LeaseLostError:
        return True
    return False


async def test_a_run_of_another_user_is_not_written_for(execution: Execution):
    stranger = await execution.world.person()
    execution.writer = RunWriter(
        database=execution.faulty,
        log=execution.world.log,
        clock=execution.world.clock,
        telemetry=execution.world.telemetry,
        scope=stranger,
        run=execution.run,
        execution_id=ExecutionId.new(),
    )

    async with execution.flushing() as writer:
        with pytest.raises(LeaseLostError):
            await writer.write(thought("not mine"))

    assert await execution.texts() == []


# A failing database


@pytest.mark.parametrize("error", [StorageUnavailableError("away"), StorageFullError("full")])
async def test_a_database_that_fails_for_a_while_delays_and_loses_nothing(
    execution: Execution, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    monkeypatch.setattr(patience, "_RETRY_S", (0.0, 0.001))

    async with execution.flushing() as writer:
        execution.faulty.failing = error
        writer.put(thought("a"))
        await writer.delta(execution.message, "b")
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writer.write(thought("c")))
            await eventually(lambda: execution.faulty.refused >= 5)
            refused_meanwhile = not writing.done()
            writer.put(thought("d"))
            execution.faulty.failing = None

    assert refused_meanwhile
    assert await execution.texts() == ["a", "b", "c", "d"]
    retried = [fields for _, event, fields in execution.world.log_book.lines if event == "run.write_retried"]
    assert [fields["attempt"] for fields in retried] == list(range(1, len(retried) + 1))


# Ending


async def test_closing_ends_the_loop_and_leaves_the_rest_in_order(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer_module, "DELTA_WINDOW_S", 3600)

    async with execution.flushing() as writer:
        await writer.delta(execution.message, "a")
        await writer.delta(execution.message, "b")
        writer.put(thought("c"))
        await writer.delta(execution.message, "d")

    assert "".join(await execution.texts()) == "abcd"


async def test_after_its_end_the_writer_refuses_instead_of_waiting_for_ever(execution: Execution):
    async with execution.flushing():
        pass

    with pytest.raises(LeaseLostError, match="over"):
        await execution.writer.write(thought("late"))
    await execution.writer.delta(execution.message, "late too")
    with pytest.raises(LeaseLostError):
        await execution.writer.flush()
    assert await execution.texts() == []


async def test_a_loop_that_is_cancelled_lets_those_go_who_wait(execution: Execution):
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(execution.writer.flush_loop())
        execution.faulty.hold()
        first = group.create_task(execution.writer.write(thought("a")))
        await execution.faulty.reached.wait()
        second = group.create_task(execution.writer.write(thought("b")))
        await asyncio.sleep(0)
        loop.cancel()
        await asyncio.wait({loop, first, second})
        execution.faulty.release()

    assert first.cancelled()
    assert second.cancelled()
    with pytest.raises(LeaseLostError):
        await execution.writer.flush()


@pytest.mark.parametrize("fails", [False, True], ids=["it is written", "the lease is lost"])
async def test_who_goes_away_while_it_is_written_disturbs_nobody(execution: Execution, fails: bool):
    if fails:
        await execution.lose_lease()

    async with execution.flushing() as writer, asyncio.TaskGroup() as group:
        execution.faulty.hold()
        leaving = group.create_task(writer.write(thought("one")))
        staying = group.create_task(_outcome(writer.write(thought("two"))))
        await execution.faulty.reached.wait()
        leaving.cancel()
        await asyncio.wait({leaving})
        execution.faulty.release()

    assert leaving.cancelled()
    assert isinstance(staying.result(), LeaseLostError) is fails
    assert await execution.texts() == ([] if fails else ["one", "two"])


async def _outcome(writing: Awaitable[None]) -> LeaseLostError | None:
    try:
        await writing
    except LeaseLostError as error:
        return error
    return None
