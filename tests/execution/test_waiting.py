"""Asking is one transaction: asked once, never by who lost the run, and a word that came meanwhile is heard."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import to_text
from cloche.domain.approvals import Approval, ApprovalDecision, ApprovalState
from cloche.domain.events import ApprovalRequested
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope, SystemScope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.errors import LeaseLostError, NotFoundError
from cloche.events.codec import draft
from cloche.execution.waiting import Waiting
from cloche.ids import ApprovalId, ExecutionId, ToolId
from cloche.storage.claims import ClaimRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from support.world import World


async def unused(run: AgentRun) -> str:
    return "unused"


class Asking:
    """An execution of a run that asks one question."""

    def __init__(self, world: World, scope: Scope, run: Run) -> None:
        self.world = world
        self.scope = scope
        self.run = run
        self.suspended = 0
        self.waiting = Waiting(
            database=world.database,
            log=world.log,
            clock=world.clock,
            telemetry=world.telemetry,
            scope=scope,
            run=run,
            on_suspended=self._suspend,
        )
        now = world.clock.now()
        self.call = str(ToolId.new())
        self.step = Step(
            index=0,
            kind=StepKind.APPROVAL,
            name="pay",
            input_digest=b"",
            state=StepState.STARTED,
            result=b"",
            reference=self.call,
            epoch=run.epoch,
            started_at=now,
            ended_at=None,
        )

    def _suspend(self) -> None:
        self.suspended += 1

    def approval(self) -> Approval:
        now = self.world.clock.now()
        return Approval(
            id=ApprovalId.new(),
            user_id=self.run.ref.user_id,
            delegate_id=None,
            thread_id=self.run.thread_id,
            run_id=self.run.id,
            tool_call_id=self.call,
            tool="pay",
            question="may I?",
            arguments={"amount": 10},
            schema={},
            state=ApprovalState.PENDING,
            created_at=now,
            expires_at=now + timedelta(days=1),
            decided_at=None,
            decided_by=None,
            edited_arguments=None,
        )

    async def open(self, approval: Approval) -> Approval | None:
        requested = ApprovalRequested(
            approval_id=approval.id,
            tool_call_id=self.call,
            tool="pay",
            question="may I?",
            arguments=approval.arguments,
            schema={},
            expires_at=to_text(approval.expires_at),
        )
        drafted = draft(requested, thread_id=self.run.thread_id, run_id=self.run.id, at=approval.created_at)
        return await self.waiting.open(approval, drafted, self.step, since=None)

    async def steps(self) -> list[Step]:
        return await self.world.database.read(lambda tx: StepRepository(self.scope).list(tx, self.run.id))

    async def kinds(self) -> list[str]:
        return [event.type for event in await self.world.events(self.scope, self.run.id)]


@pytest.fixture
async def asking(idle_world: World) -> Asking:
    idle_world.programs.add("agent", unused)
    scope = await idle_world.person()
    accepted = await idle_world.send(scope)
    ref = (await idle_world.run(scope, accepted.run_id)).ref
    claims, now = ClaimRepository(SystemScope(purpose="a test of waiting")), idle_world.clock.now()
    run = await idle_world.database.write(
        lambda tx: claims.claim(tx, ref, worker="worker", execution_id=ExecutionId.new(), at=now)
    )
    assert run is not None
    await idle_world.database.write(
        lambda tx: RunRepository(scope).move(tx, run.id, ExecutionState.RUNNING, at=now, epoch=run.epoch)
    )
    return Asking(idle_world, scope, run)


async def test_asking_shows_the_question_and_lets_the_execution_go(asking: Asking):
    approval = asking.approval()

    decided = await asking.open(approval)

    assert decided is None
    assert asking.suspended == 1
    assert await asking.world.state(asking.scope, asking.run.id) is ExecutionState.WAITING
    assert [step.reference for step in await asking.steps()] == [asking.call]
    assert (await asking.kinds())[-1] == "approval_requested"
    assert (await asking.waiting.get(approval.id)).state is ApprovalState.PENDING


async def test_asking_again_asks_no_second_time(asking: Asking):
    await asking.open(asking.approval())
    again = asking.approval()

    decided = await asking.open(again)

    assert decided is None
    assert asking.suspended == 2
    assert (await asking.kinds()).count("approval_requested") == 1
    with pytest.raises(NotFoundError):
        await asking.waiting.get(again.id)


async def test_a_word_that_came_meanwhile_is_heard_at_once(asking: Asking):
    approval = asking.approval()
    await asking.open(approval)
    await asking.world.decisions.decide(asking.scope, approval.id, ApprovalDecision.APPROVE)
    claims = ClaimRepository(SystemScope(purpose="a test of waiting"))
    run = await asking.world.database.write(
        lambda tx: claims.claim(
            tx, asking.run.ref, worker="worker", execution_id=ExecutionId.new(), at=asking.world.clock.now()
        )
    )
    assert run is not None
    following = Asking(asking.world, asking.scope, run)
    following.call = asking.call

    decided = await following.open(following.approval())

    assert decided is not None
    assert (decided.id, decided.state) == (approval.id, ApprovalState.APPROVED)
    assert following.suspended == 0


async def test_who_lost_the_run_asks_nothing(asking: Asking):
    await asking.world.database.write(
        lambda tx: tx.execute("UPDATE runs SET epoch = epoch + 1 WHERE id = ?", str(asking.run.id))
    )

    with pytest.raises(LeaseLostError):
        await asking.open(asking.approval())

    assert asking.suspended == 0
    assert await asking.steps() == []
    assert "approval_requested" not in await asking.kinds()


async def test_a_run_that_is_being_cancelled_asks_nobody(asking: Asking):
    await asking.world.cancellation.cancel(asking.scope, asking.run.id)

    decided = await asking.open(asking.approval())

    assert decided is None
    assert asking.suspended == 1
    assert await asking.world.state(asking.scope, asking.run.id) is ExecutionState.CANCELLING
    assert "approval_requested" not in await asking.kinds()
