"""The contract of moves and fences: the one table of transitions, and the epoch that every write names."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import cast

import pytest

from cloche.domain.runs import TRANSITIONS, ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.usage import Usage
from cloche.errors import IllegalTransitionError, LeaseLostError, NotFoundError
from cloche.ids import RunId
from cloche.storage.database import Database, Transaction, Work
from cloche.storage.events import EventRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    AnyRow,
    add_claimed_run,
    add_run,
    add_thread,
    claim,
    event_draft,
    move,
    move_to,
    rows,
    way_to,
)
from cloche.testing.contracts.reflection import rows_of_tenant, scoped_repositories, table_names

S = ExecutionState
Fenced = Callable[[Transaction, Scope, RunId, int], Awaitable[object]]

# Every repository method that names an epoch, called with one.
FENCED: Mapping[str, Fenced] = {
    "RunRepository.move": lambda tx, scope, run, epoch: RunRepository(scope).move(
        tx, run, S.COMPLETING, at=NOW, epoch=epoch
    ),
    "RunRepository.end": lambda tx, scope, run, epoch: move(tx, scope, run, S.COMPLETED, epoch=epoch),
    "RunRepository.pause": lambda tx, scope, run, epoch: RunRepository(scope).pause(tx, run, epoch, at=NOW),
    "RunRepository.fence": lambda tx, scope, run, epoch: RunRepository(scope).fence(tx, run, epoch),
}
ENDS = frozenset(state for state in S if state.is_terminal)
# What is completed was completing in the same statement.
AT_ONCE = (S.RUNNING, S.COMPLETED)
# What is recorded of one execution, whichever one owns the run now.
OF_ONE_EXECUTION = frozenset({"RunRepository.end_execution"})


async def _get(database: Database, scope: Scope, run_id: RunId) -> Run:
    return await database.read(lambda tx: RunRepository(scope).get(tx, run_id))


async def _written(database: Database, scope: Scope) -> dict[str, set[AnyRow]]:
    async def work(tx: Transaction) -> dict[str, set[AnyRow]]:
        return {table: await rows_of_tenant(tx, table, scope.tenant_id) for table in table_names()}

    return await database.read(work)


async def _taken_over(deployment: Deployment, scope: Scope, *, state: ExecutionState = S.RUNNING) -> Run:
    """A run that a second execution owns, in its epoch 2."""
    run = await add_claimed_run(deployment.node, scope)
    await move_to(deployment.node, scope, run.id, S.PENDING)
    again = await claim(deployment.other, run.ref, worker="worker-2")
    assert again is not None
    if state is not S.STARTING:
        await move_to(deployment.node, scope, run.id, state)
    return await _get(deployment.node, scope, run.id)


class TestMoves:
    """The guarded update is the table of transitions."""

    async def test_every_move_of_the_table_is_made_and_every_other_is_refused(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """All pairs of states; a refused move changes nothing."""
        runs, thread_id = RunRepository(scope), await add_thread(deployment.node, scope)
        pairs = [(state, to) for state in S for to in S]
        made = {pair: await add_run(deployment.node, scope, thread_id) for pair in pairs}

        async def work(tx: Transaction) -> None:
            for (state, to), run in made.items():
                for step in way_to(state):
                    await move(tx, scope, run.id, step)
                before = await runs.get(tx, run.id)
                if to in TRANSITIONS[state] or (state, to) == AT_ONCE:
                    await move(tx, scope, run.id, to, at=NOW + SECOND)
                    after = await runs.get(tx, run.id)
                    assert (after.state, after.state_times[to]) == (to, NOW + SECOND)
                    continue
                with pytest.raises(IllegalTransitionError) as raised:
                    await move(tx, scope, run.id, to, at=NOW + SECOND)
                assert raised.value.details == {"state": str(state), "to": str(to)}
                assert await runs.get(tx, run.id) == before

        await deployment.node.write(work)

    async def test_each_state_keeps_the_time_of_its_own(self, deployment: Deployment, scope: Scope) -> None:
        """A later state does not overwrite an earlier one's."""
        run = await add_run(deployment.node, scope)
        way = (S.STARTING, S.RUNNING, S.WAITING, S.FAILED)

        async def work(tx: Transaction) -> None:
            for number, state in enumerate(way, 1):
                await move(tx, scope, run.id, state, at=NOW + number * SECOND)

        await deployment.node.write(work)

        times = (await _get(deployment.other, scope, run.id)).state_times
        assert times == {state: NOW + number * SECOND for number, state in enumerate((S.PENDING, *way))}

    async def test_a_word_is_not_a_state(self, deployment: Deployment, scope: Scope) -> None:
        """It is a type error that lists the valid ones, and never a statement."""
        run, runs = await add_run(deployment.node, scope), RunRepository(scope)

        for wrong in ("running", {"state": "running"}, None):
            to = cast("ExecutionState", wrong)
            refused: list[Work[object]] = [
                lambda tx, to=to: runs.move(tx, run.id, to, at=NOW, epoch=None),
                lambda tx, to=to: runs.end(tx, run.id, to, at=NOW, epoch=None, last_seq=1, usage=Usage(), failure=None),
            ]
            for work in refused:
                with pytest.raises(TypeError, match=r"ExecutionState\.RUNNING"):
                    await deployment.node.write(work)

        assert (await _get(deployment.other, scope, run.id)).state is S.PENDING

    async def test_a_run_that_is_not_there_does_not_move(self, deployment: Deployment, scope: Scope) -> None:
        """With an epoch or without one."""
        for epoch in (None, 1):
            for to in (S.DEAD, S.RUNNING):
                with pytest.raises(NotFoundError):
                    await deployment.node.write(
                        lambda tx, epoch=epoch, to=to: move(tx, scope, RunId.new(), to, epoch=epoch)
                    )

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_of_two_ends_at_once_the_first_stays(
        self, deployment: Deployment, scope: Scope, is_swapped: bool
    ) -> None:
        """The second is refused, with what it wrote beside it."""
        run = await add_claimed_run(deployment.node, scope)
        ends = (S.DEAD, S.TIMEOUT) if is_swapped else (S.TIMEOUT, S.DEAD)

        def ending(state: ExecutionState) -> Callable[[Transaction], Awaitable[bool]]:
            async def work(tx: Transaction) -> bool:
                try:
                    await move(tx, scope, run.id, state)
                except IllegalTransitionError:
                    return False
                return True

            return work

        outcome = await race(deployment.node, ending(ends[0]), deployment.other, ending(ends[1]))

        assert outcome == (True, False)
        assert (await _get(deployment.other, scope, run.id)).state is ends[0]


class TestFences:
    """A stale epoch writes nothing."""

    def test_every_method_that_names_an_epoch_is_held_to_it(self) -> None:
        """A method that is added without a fence fails here."""
        named = {
            f"{repository.__name__}.{name}"
            for repository in scoped_repositories()
            for name, method in inspect.getmembers(repository, inspect.isfunction)
            if not name.startswith("_") and "epoch" in inspect.signature(method).parameters
        }

        assert named == set(FENCED) | OF_ONE_EXECUTION

    @pytest.mark.parametrize("method", sorted(FENCED))
    async def test_the_owner_may_write(self, deployment: Deployment, scope: Scope, method: str) -> None:
        """The fence lets through whom it should."""
        run = await _taken_over(deployment, scope)

        await deployment.node.write(lambda tx: FENCED[method](tx, scope, run.id, 2))

    @pytest.mark.parametrize("method", sorted(FENCED))
    @pytest.mark.parametrize("epoch", [0, 1, 3])
    async def test_another_epoch_writes_nothing(
        self, deployment: Deployment, scope: Scope, method: str, epoch: int
    ) -> None:
        """Neither an execution that lost the run nor one that never had it."""
        run = await _taken_over(deployment, scope)
        before = await _written(deployment.node, scope)

        with pytest.raises(LeaseLostError):
            await deployment.node.write(lambda tx: FENCED[method](tx, scope, run.id, epoch))

        assert await _written(deployment.other, scope) == before

    @pytest.mark.parametrize("method", sorted(FENCED))
    async def test_a_run_that_was_offered_again_has_no_owner(
        self, deployment: Deployment, scope: Scope, method: str
    ) -> None:
        """Even before the next execution has claimed it."""
        run = await add_claimed_run(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.RUNNING, S.PENDING)
        before = await _written(deployment.node, scope)

        with pytest.raises(LeaseLostError):
            await deployment.node.write(lambda tx: FENCED[method](tx, scope, run.id, 1))

        assert await _written(deployment.other, scope) == before

    @pytest.mark.parametrize("end", sorted(TRANSITIONS[S.PENDING] & ENDS))
    async def test_a_run_that_was_offered_again_is_not_ended_by_its_last_owner(
        self, deployment: Deployment, scope: Scope, end: ExecutionState
    ) -> None:
        """Though it could end from where it is."""
        run = await add_claimed_run(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.PENDING)

        with pytest.raises(LeaseLostError):
            await deployment.node.write(lambda tx: move(tx, scope, run.id, end, epoch=1))

        assert (await _get(deployment.other, scope, run.id)).state is S.PENDING

    async def test_an_attempt_that_lost_the_run_leaves_nothing_of_its_transaction(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Event, step, usage and end: the fence is in the same transaction, whatever was written before it."""
        run = await _taken_over(deployment, scope)
        before = await _written(deployment.node, scope)

        async def work(tx: Transaction) -> None:
            await EventRepository(scope).append(tx, run.thread_id, [event_draft("stale", run.id)], at=NOW)
            await StepRepository(scope).put(tx, run.id, _step(epoch=1))
            await move(tx, scope, run.id, S.COMPLETED, epoch=1, usage=Usage(model_calls=1))

        with pytest.raises(LeaseLostError):
            await deployment.node.write(work)

        assert await _written(deployment.other, scope) == before

    async def test_the_fence_tells_the_owner_the_run_s_state(self, deployment: Deployment, scope: Scope) -> None:
        """So that an attempt hears of a cancellation at its next write."""
        run, runs = await _taken_over(deployment, scope), RunRepository(scope)
        assert await deployment.node.read(lambda tx: runs.fence(tx, run.id, 2)) is S.RUNNING

        await move_to(deployment.node, scope, run.id, S.CANCELLING)

        assert await deployment.other.read(lambda tx: runs.fence(tx, run.id, 2)) is S.CANCELLING

    async def test_nobody_owns_a_run_that_has_ended_or_is_not_there(self, deployment: Deployment, scope: Scope) -> None:
        """The same epoch is stale then."""
        run, runs = await _taken_over(deployment, scope), RunRepository(scope)
        await move_to(deployment.node, scope, run.id, S.FAILED)

        for run_id in (run.id, RunId.new()):
            with pytest.raises(LeaseLostError):
                await deployment.node.read(lambda tx, run_id=run_id: runs.fence(tx, run_id, 2))

    async def test_the_owner_is_told_that_a_move_is_not_in_the_table(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """To own a run is not to break its life."""
        run = await _taken_over(deployment, scope, state=S.STARTING)

        with pytest.raises(IllegalTransitionError):
            await deployment.node.write(lambda tx: move(tx, scope, run.id, S.COMPLETED, epoch=2))

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_a_slow_attempt_cannot_overtake_the_one_that_took_over(
        self, deployment: Deployment, scope: Scope, is_swapped: bool
    ) -> None:
        """Its last write and the loss of its run at the same time: whichever is first, one of them holds."""
        run = await add_claimed_run(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.RUNNING)

        async def finish(tx: Transaction) -> str:
            try:
                await move(tx, scope, run.id, S.COMPLETED, epoch=1)
            except LeaseLostError:
                return "lost"
            return "finished"

        async def take_away(tx: Transaction) -> str:
            try:
                await move(tx, scope, run.id, S.PENDING)
            except IllegalTransitionError:
                return "over"
            return "taken away"

        sides = (take_away, finish) if is_swapped else (finish, take_away)
        outcome = await race(deployment.node, sides[0], deployment.other, sides[1])

        assert outcome == (("taken away", "lost") if is_swapped else ("finished", "over"))
        assert (await _get(deployment.node, scope, run.id)).state is (S.PENDING if is_swapped else S.COMPLETED)


class TestPauses:
    """A run that waits for a person."""

    async def test_what_was_left_of_its_time_counts_on_afterwards(self, deployment: Deployment, scope: Scope) -> None:
        """The deadline stands still."""
        run, late = await _taken_over(deployment, scope), NOW + timedelta(days=2)

        await deployment.node.write(lambda tx: RunRepository(scope).pause(tx, run.id, 2, at=NOW + 30 * SECOND))

        paused = await _get(deployment.other, scope, run.id)
        assert (paused.state, paused.deadline_at, paused.timeout) == (S.WAITING, None, run.timeout - 30 * SECOND)
        await move_to(deployment.node, scope, run.id, S.PENDING)
        again = await claim(deployment.node, run.ref, at=late)
        assert again is not None
        assert again.deadline_at == late + run.timeout - 30 * SECOND

    async def test_a_second_is_left_at_least(self, deployment: Deployment, scope: Scope) -> None:
        """So that a decision is not answered by a deadline."""
        run = await _taken_over(deployment, scope)

        await deployment.node.write(lambda tx: RunRepository(scope).pause(tx, run.id, 2, at=NOW + run.timeout))

        assert (await _get(deployment.other, scope, run.id)).timeout == SECOND

    async def test_a_run_without_a_deadline_keeps_its_time(self, deployment: Deployment, scope: Scope) -> None:
        """Nothing of it had been used."""
        run = await _taken_over(deployment, scope)
        await deployment.node.write(
            lambda tx: tx.execute("UPDATE runs SET deadline_at = NULL WHERE tenant_id = ?", str(scope.tenant_id))
        )

        await deployment.node.write(lambda tx: RunRepository(scope).pause(tx, run.id, 2, at=NOW))

        assert (await _get(deployment.other, scope, run.id)).timeout == run.timeout

    async def test_only_a_running_run_waits(self, deployment: Deployment, scope: Scope) -> None:
        """Another state is refused, and the deadline goes on."""
        run = await _taken_over(deployment, scope, state=S.STARTING)

        with pytest.raises(IllegalTransitionError):
            await deployment.node.write(lambda tx: RunRepository(scope).pause(tx, run.id, 2, at=NOW))

        assert (await _get(deployment.other, scope, run.id)).deadline_at == run.deadline_at == NOW + run.timeout


class TestExecutions:
    """How each attempt at a run ended."""

    async def test_an_execution_ends_once_and_only_that_one(self, deployment: Deployment, scope: Scope) -> None:
        """An attempt that was lost is written down while the next one works."""
        run, runs = await _taken_over(deployment, scope), RunRepository(scope)

        for state, at in (("lost", NOW), ("late", NOW + SECOND)):
            await deployment.node.write(lambda tx, state=state, at=at: runs.end_execution(tx, run.id, 1, state, at=at))

        found = await rows(
            deployment.other,
            "SELECT epoch, worker_id, state, ended_at - started_at FROM executions WHERE tenant_id = ? ORDER BY epoch",
            str(scope.tenant_id),
        )
        assert found == [(1, "worker-1", "lost", 0), (2, "worker-2", "running", None)]


def _step(*, epoch: int) -> Step:
    return Step(
        index=1,
        kind=StepKind.MODEL,
        name="model",
        input_digest=b"digest",
        state=StepState.STARTED,
        result=b"",
        reference="reference",
        epoch=epoch,
        started_at=NOW,
        ended_at=None,
    )
