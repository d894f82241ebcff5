"""The contract of the journal: a step has one row, and a run's steps come in their order."""

from __future__ import annotations

from dataclasses import replace

from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.ids import RunId
from cloche.storage.database import Database
from cloche.storage.steps import StepRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import NOW, ODD_TEXTS, SECOND

STEP = Step(
    index=1,
    kind=StepKind.TOOL,
    name="prune",
    input_digest=bytes(range(16)),
    state=StepState.STARTED,
    result=b"",
    reference="call-1",
    epoch=1,
    started_at=NOW,
    ended_at=None,
)


async def _put(database: Database, scope: Scope, run_id: RunId, step: Step) -> None:
    await database.write(lambda tx: StepRepository(scope).put(tx, run_id, step))


async def _list(database: Database, scope: Scope, run_id: RunId) -> list[Step]:
    return await database.read(lambda tx: StepRepository(scope).list(tx, run_id))


class TestSteps:
    """The steps of one user's runs."""

    async def test_a_step_is_kept_as_it_was_put(self, deployment: Deployment, scope: Scope) -> None:
        """Of every kind and state, with results of any size."""
        run_id = RunId.new()
        steps = [
            replace(STEP, index=number, kind=kind, state=state, result=bytes(range(256)) * 4000, ended_at=NOW + SECOND)
            for number, (kind, state) in enumerate((kind, state) for kind in StepKind for state in StepState)
        ]

        for step in steps:
            await _put(deployment.node, scope, run_id, step)

        assert await _list(deployment.other, scope, run_id) == steps

    async def test_steps_come_in_their_order(self, deployment: Deployment, scope: Scope) -> None:
        """Of the numbers, not of the writing; those of other runs are not among them."""
        run_id = RunId.new()
        await _put(deployment.node, scope, RunId.new(), STEP)

        for index in (10, 2, 1):
            await _put(deployment.node, scope, run_id, replace(STEP, index=index))

        assert [step.index for step in await _list(deployment.other, scope, run_id)] == [1, 2, 10]
        assert await _list(deployment.other, scope, RunId.new()) == []

    async def test_an_outcome_replaces_the_row_and_not_the_question(self, deployment: Deployment, scope: Scope) -> None:
        """What was asked stays as it was asked first, or a replay could not tell that the program changed."""
        run_id = RunId.new()
        done = replace(
            STEP,
            state=StepState.DONE,
            result=b"result",
            reference="call-2",
            epoch=2,
            started_at=NOW + SECOND,
            ended_at=NOW + 2 * SECOND,
        )
        await _put(deployment.node, scope, run_id, STEP)

        await _put(
            deployment.other, scope, run_id, replace(done, kind=StepKind.MODEL, name="other", input_digest=b"other")
        )

        assert await _list(deployment.node, scope, run_id) == [done]

    async def test_of_two_writers_at_once_the_last_one_s_row_is_whole(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Never a mixture."""
        run_id = RunId.new()
        first = replace(STEP, state=StepState.FAILED, result=b"first", epoch=1)
        second = replace(STEP, state=StepState.DONE, result=b"second", epoch=2)
        steps = StepRepository(scope)

        await race(
            deployment.node,
            lambda tx: steps.put(tx, run_id, first),
            deployment.other,
            lambda tx: steps.put(tx, run_id, second),
        )

        assert await _list(deployment.other, scope, run_id) == [second]

    async def test_odd_names_come_back_character_for_character(self, deployment: Deployment, scope: Scope) -> None:
        """A tool of another server may have any name."""
        run_id = RunId.new()
        steps = [replace(STEP, index=n, name=text, reference=text) for n, text in enumerate(ODD_TEXTS)]

        for step in steps:
            await _put(deployment.node, scope, run_id, step)

        assert await _list(deployment.other, scope, run_id) == steps
