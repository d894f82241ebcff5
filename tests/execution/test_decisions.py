"""A person's word on a question: who may say it, what may be said, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision, ApprovalState
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import ApprovalRequested, ApprovalResolved, MessageCompleted
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.errors import AlreadyDecidedError, InvalidInputError, NotFoundError, PermissionDeniedError
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, RunId
from support.faults import eventually
from support.world import World


async def asks(run: AgentRun) -> str:
    approval = await run.ask("may I?", arguments={"amount": 10})
    return f"{approval.state} {approval.edited_arguments}"


async def asked(world: World) -> tuple[Scope, Accepted, ApprovalId]:
    world.programs.add("agent", asks)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    return scope, accepted, ApprovalId(requested.approval_id)


@pytest.mark.parametrize(
    ("decision", "arguments", "state", "answer"),
    [
        (ApprovalDecision.APPROVE, None, ApprovalState.APPROVED, "approved None"),
        (ApprovalDecision.APPROVE, {"amount": 3}, ApprovalState.APPROVED, "approved {'amount': 3}"),
        (ApprovalDecision.APPROVE, {}, ApprovalState.APPROVED, "approved {}"),
        (ApprovalDecision.DENY, None, ApprovalState.DENIED, "denied None"),
    ],
)
async def test_what_was_said_is_kept_told_and_heard(
    world: World,
    decision: ApprovalDecision,
    arguments: Mapping[str, object] | None,
    state: ApprovalState,
    answer: str,
):
    scope, accepted, approval_id = await asked(world)

    approval = await world.decisions.decide(scope, approval_id, decision, arguments=arguments)
    events = await world.until(scope, accepted)

    assert (approval.state, approval.decided_by, approval.edited_arguments) == (state, scope.user_id, arguments)
    assert approval.decided_at is not None
    [resolved] = [data for data in map(decoded, events) if isinstance(data, ApprovalResolved)]
    assert resolved == ApprovalResolved(
        approval_id=approval_id, decision=decision.value, by=scope.user_id, arguments=arguments
    )
    [said] = [data for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert said.parts[0].text == answer


async def test_a_no_has_no_arguments(world: World):
    scope, accepted, approval_id = await asked(world)

    with pytest.raises(InvalidInputError) as refused:
        await world.decisions.decide(scope, approval_id, ApprovalDecision.DENY, arguments={"amount": 3})

    assert refused.value.details == {"place": "$.arguments"}
    assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING


async def test_who_may_not_decide_does_not(world: World):
    scope, accepted, approval_id = await asked(world)
    powerless = replace(scope, permissions=scope.permissions - {"approvals:decide"})

    with pytest.raises(PermissionDeniedError):
        await world.decisions.decide(powerless, approval_id, ApprovalDecision.APPROVE)

    assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING


async def test_a_question_that_there_is_not_cannot_be_answered(world: World):
    scope, _, _ = await asked(world)

    with pytest.raises(NotFoundError):
        await world.decisions.decide(scope, ApprovalId.new(), ApprovalDecision.APPROVE)


async def test_of_two_who_decide_at_once_one_counts_and_is_told_of_once(world: World):
    scope, accepted, approval_id = await asked(world)

    answers = await asyncio.gather(
        world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE),
        world.decisions.decide(scope, approval_id, ApprovalDecision.DENY),
        return_exceptions=True,
    )
    events = await world.until(scope, accepted)

    assert sum(isinstance(answer, AlreadyDecidedError) for answer in answers) == 1
    assert [event.type for event in events].count("approval_resolved") == 1
    assert check_run(events) == []


async def test_two_questions_at_once_are_answered_one_after_the_other(world: World):
    async def asks_twice(run: AgentRun) -> str:
        answers = await asyncio.gather(run.ask("one?"), run.ask("two?"))
        return " ".join(str(answer.state) for answer in answers)

    world.programs.add("agent", asks_twice)
    scope = await world.person()
    accepted = await world.send(scope)
    events = await world.until(scope, accepted, "approval_requested", count=2)
    first, second = [
        ApprovalId(data.approval_id) for data in map(decoded, events) if isinstance(data, ApprovalRequested)
    ]
    await world.decisions.decide(scope, first, ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted, "agent_started", count=2)
    await world.decisions.decide(scope, second, ApprovalDecision.DENY)
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert [event.type for event in events].count("approval_requested") == 2
    [said] = [data for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert said.parts[0].text == "approved denied"


@pytest.mark.slow
async def test_an_agent_that_asks_while_it_is_cancelled_is_not_heard(world: World):
    asking = asyncio.Event()

    async def stubborn(run: AgentRun) -> str:
        try:
            asking.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await run.ask("may I stay?")
        return "never"

    world.programs.add("agent", stubborn)
    scope = await world.person()
    accepted = await world.send(scope)
    await asking.wait()
    await world.cancellation.cancel(scope, RunId(accepted.run_id))
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    assert events[-1].type == "agent_cancelled"
    assert "approval_requested" not in [event.type for event in events]


async def test_an_answer_to_a_run_that_is_being_cancelled_does_not_revive_it(world: World):
    """As when one of two questions was answered, the run went on, and is cancelled while the other one is open."""

    async def agent(run: AgentRun) -> str:
        return str((await run.ask("may I?")).state)

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    await eventually(lambda: not world.worker.working)
    await world.database.write(
        lambda tx: tx.execute("UPDATE runs SET state = 'cancelling' WHERE id = ?", accepted.run_id)
    )
    await world.decisions.decide(scope, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)

    assert await world.state(scope, accepted.run_id) is ExecutionState.CANCELLING
    assert "agent_started" not in [event.type for event in await world.events(scope, accepted.run_id)][3:]
