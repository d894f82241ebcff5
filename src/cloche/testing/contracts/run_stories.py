"""The contract of a run's story as operators read it: what happened, and nothing of what was said."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from cloche.domain.approvals import ApprovalState
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.ids import RunId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.run_stories import RunStoryRepository, StepStory
from cloche.storage.steps import StepRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    add_claimed_run,
    add_run,
    append_events,
    claim,
    event_draft,
    move_to,
    newcomer,
    open_approval,
)

LONG = b'{"ok":false,"code":"none","value":"' + b"x" * 20_000 + b'"}'


def _step(index: int, result: bytes, *, kind: StepKind = StepKind.TOOL, name: str = "prune") -> Step:
    return Step(
        index=index,
        kind=kind,
        name=name,
        input_digest=b"",
        state=StepState.DONE if result else StepState.STARTED,
        result=result,
        reference=f"call-{index}",
        epoch=1,
        started_at=NOW,
        ended_at=NOW + SECOND if result else None,
    )


def _outcome(value: bytes) -> bytes:
    return msgspec.json.encode({"value": value, "usage": {}})


async def _journaled(database: Database, scope: Scope, *steps: Step) -> Run:
    run = await add_claimed_run(database, scope)

    async def work(tx: Transaction) -> None:
        for step in steps:
            await StepRepository(scope).put(tx, run.id, step)

    await database.write(work)
    return run


class TestRunStories:
    """What an operator reads of a colleague's run."""

    async def test_every_attempt_is_told_with_its_worker_and_its_end(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """In order, the last one open."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        run = await add_run(deployment.node, colleague)
        for worker in ("first", "second"):
            await claim(deployment.node, run.ref, worker=worker)
            if worker == "first":
                await move_to(deployment.node, colleague, run.id, ExecutionState.PENDING)

        found = await deployment.other.read(lambda tx: RunStoryRepository(scope).executions(tx, run.ref))

        assert [(one.epoch, one.worker_id, one.state) for one in found] == [
            (1, "first", "running"),
            (2, "second", "running"),
        ]
        assert [one.started_at for one in found] == [NOW, NOW]

    async def test_a_step_is_told_with_its_code_and_without_its_result(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """A call of a tool that there is none of has no name: it is its caller's own words."""
        run = await _journaled(
            deployment.node,
            scope,
            _step(1, _outcome(b'{"ok":true,"value":"secret"}')),
            _step(2, _outcome(b'{"ok":false,"code":"tool_failed","message":"secret"}')),
            _step(3, _outcome(b'{"ok":false,"code":"tool_unknown","message":"secret"}'), name="secret"),
            _step(4, _outcome(LONG)),
            _step(5, b"\x00no JSON"),
            _step(6, _outcome(b'{"code":"tool_unknown"}'), kind=StepKind.VALUE, name="draw"),
            replace(_step(7, b'["a"]', kind=StepKind.MODEL), state=StepState.FAILED),
            replace(
                _step(8, b'{"code":"model_refused","message":"secret"}', kind=StepKind.MODEL), state=StepState.FAILED
            ),
            _step(9, b""),
        )
        stories = RunStoryRepository(scope)

        found = await deployment.other.read(lambda tx: stories.steps(tx, run.ref))

        assert [(step.index, step.name, step.code) for step in found] == [
            (1, "prune", None),
            (2, "prune", "tool_failed"),
            (3, None, "tool_unknown"),
            (4, "prune", None),
            (5, "prune", None),
            (6, "draw", None),
            (7, "prune", None),
            (8, "prune", "model_refused"),
            (9, "prune", None),
        ]
        assert found[0] == StepStory(
            index=1,
            kind=StepKind.TOOL,
            name="prune",
            state=StepState.DONE,
            reference="call-1",
            code=None,
            epoch=1,
            started_at=NOW,
            ended_at=NOW + SECOND,
        )
        assert (found[8].state, found[8].ended_at) == (StepState.STARTED, None)
        assert "secret" not in repr(found)
        assert await deployment.other.read(lambda tx: stories.unknown_tools(tx, run.ref)) == {"call-3"}

    async def test_approvals_are_told_without_question_and_arguments(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Oldest first, those of other runs not among them."""
        run, other = [await add_claimed_run(deployment.node, scope) for _ in range(2)]
        asked = [open_approval(run, tool_call_id=f"call-{n}", at=NOW + n * SECOND) for n in range(2)]
        approvals = ApprovalRepository(scope)

        async def work(tx: Transaction) -> None:
            for approval in (asked[1], asked[0], open_approval(other)):
                await approvals.create(tx, approval)
            await approvals.resolve(tx, asked[0].id, ApprovalState.DENIED, by=None, edited=None, at=NOW + 9 * SECOND)

        await deployment.node.write(work)

        found = await deployment.other.read(lambda tx: RunStoryRepository(scope).approvals(tx, run.ref))

        assert [(one.id, one.tool, one.state) for one in found] == [
            (asked[0].id, "prune", ApprovalState.DENIED),
            (asked[1].id, "prune", ApprovalState.PENDING),
        ]
        assert [one.decided_at for one in found] == [NOW + 9 * SECOND, None]
        assert "May I" not in repr(found)

    async def test_a_run_s_events_are_read_between_two_numbers(self, deployment: Deployment, scope: Scope) -> None:
        """Those of the thread's other runs are not among them; the log's beginning is told."""
        run = await add_claimed_run(deployment.node, scope)
        drafts = [event_draft(str(n), run.id if n % 2 else RunId.new()) for n in range(6)]
        await append_events(deployment.node, scope, run.thread_id, drafts)
        stories = RunStoryRepository(scope)

        found = [
            [
                event.seq
                for event in await deployment.other.read(
                    lambda tx, after=after, until=until, limit=limit: stories.events(
                        tx, run.ref, after=after, until=until, limit=limit
                    )
                )
            ]
            for after, until, limit in ((0, 100, 100), (3, 100, 100), (0, 5, 100), (0, 100, 1))
        ]

        assert found == [[3, 5, 7], [5, 7], [3, 5], [3]]
        assert await deployment.other.read(lambda tx: stories.log_begins_at(tx, run.ref)) == 1
        unknown = replace(
            run.ref, thread_id=(await add_run(deployment.node, await newcomer(deployment.node))).thread_id
        )
        assert await deployment.other.read(lambda tx: stories.log_begins_at(tx, unknown)) is None
