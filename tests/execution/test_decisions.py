"""A person's word on a question: who may say it, what may be said, and what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.approvals import ApprovalDecision, ApprovalState
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import ApprovalDelegated, ApprovalRequested, ApprovalResolved, MessageCompleted
from cloche.domain.permissions import ROLE_PERMISSIONS, Role, permissions_of
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.errors import AlreadyDecidedError, InvalidInputError, NotFoundError, PermissionDeniedError
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId, RunId
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Transaction
from cloche.storage.pages import PageRequest
from cloche.storage.users import DISABLED, MemberRepository
from cloche.testing.contracts.population import newcomer
from cloche.tools.tool import tool
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


# Edited arguments


async def test_edited_arguments_fit_what_was_asked_for_or_nothing_is_decided(world: World):
    async def agent(run: AgentRun) -> str:
        schema = {"properties": {"amount": {"type": "integer", "maximum": 10}}, "required": ["amount"]}
        approval = await run.ask("may I?", arguments={"amount": 10}, schema=schema)
        return f"{approval.edited_arguments}"

    world.programs.add("agent", agent)
    scope = await world.person()
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    approval_id = ApprovalId(requested.approval_id)

    for wrong in ({"amount": "x"}, {"amount": 11}, {}):
        with pytest.raises(InvalidInputError, match=r"\$\.arguments\.amount: ") as refused:
            await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments=wrong)
        assert refused.value.details["place"] == "$.arguments.amount"
    assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING
    await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments={"amount": 9})
    events = await world.until(scope, accepted)

    [said] = [data for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert said.parts[0].text == "{'amount': 9}"
    assert [event.type for event in events].count("approval_resolved") == 1


async def test_who_comes_second_is_told_so_whatever_the_arguments_are(world: World):
    scope, _, approval_id = await asked(world)
    await world.decisions.decide(scope, approval_id, ApprovalDecision.DENY)

    with pytest.raises(AlreadyDecidedError) as refused:
        await world.decisions.decide(scope, approval_id, ApprovalDecision.APPROVE, arguments={"amount": "x"})

    assert refused.value.details == {"state": "denied", "decided_by": scope.user_id}


# Delegation


async def audit(world: World, scope: Scope) -> list[tuple[str, str]]:
    page = await world.database.read(lambda tx: AuditRepository(scope).list(tx, PageRequest()))
    return [(line.actor, line.action) for line in reversed(page.items)]


async def test_a_delegation_is_told_in_the_log_and_the_story_stays_right(world: World):
    scope, accepted, approval_id = await asked(world)
    delegate = await newcomer(world.database, tenant_id=scope.tenant_id, name="Bob")

    await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)
    await world.decisions.take_back(scope, approval_id)
    await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)
    decided = await world.decisions.decide(delegate, approval_id, ApprovalDecision.APPROVE, arguments={"amount": 3})
    events = await world.until(scope, accepted)

    assert check_run(events) == []
    given = ApprovalDelegated(approval_id=approval_id, by=scope.user_id, to=delegate.user_id, to_name="Bob")
    back = ApprovalDelegated(approval_id=approval_id, by=scope.user_id)
    assert [data for data in map(decoded, events) if isinstance(data, ApprovalDelegated)] == [given, back, given]
    [resolved] = [data for data in map(decoded, events) if isinstance(data, ApprovalResolved)]
    assert (resolved.by, decided.decided_by) == (delegate.user_id, delegate.user_id)
    assert await audit(world, scope) == [
        (scope.user_id, "approval.delegated"),
        (scope.user_id, "approval.taken_back"),
        (scope.user_id, "approval.delegated"),
        (delegate.user_id, "approval.decided"),
    ]


async def test_the_run_goes_on_with_the_permissions_of_its_own_user(world: World):
    """Not with those of an administrator who said yes to it."""

    async def wipe() -> str:
        return "wiped"

    async def agent(run: AgentRun) -> str:
        result = await run.call_tool("wipe")
        return (
            str(result.value) if result.ok else f"{result.failure and result.failure.code} {run.context.scope.user_id}"
        )

    wipe_tool = tool(wipe, needs_approval=True, permission="tools:external")
    world.programs.add("agent", agent, tools={"wipe": wipe_tool})
    scope = await world.person()
    await world.database.write(
        lambda tx: MemberRepository(scope).grant(tx, scope.user_id, "tools:external", at=world.clock.now())
    )
    accepted = await world.send(scope)
    requested = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    boss = await newcomer(world.database, tenant_id=scope.tenant_id, role=Role.ADMIN)
    await world.decisions.delegate(scope, ApprovalId(requested.approval_id), user_id=boss.user_id)
    await world.database.write(lambda tx: MemberRepository(scope).withdraw(tx, scope.user_id, "tools:external"))
    await world.decisions.decide(boss, ApprovalId(requested.approval_id), ApprovalDecision.APPROVE)
    events = await world.until(scope, accepted)

    [said] = [data for data in map(decoded, events) if isinstance(data, MessageCompleted)]
    assert said.parts[0].text == f"tool_denied {scope.user_id}"


async def test_of_an_owner_and_a_delegate_at_once_one_counts(world: World):
    scope, accepted, approval_id = await asked(world)
    delegate = await newcomer(world.database, tenant_id=scope.tenant_id)
    await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)

    answers = await asyncio.gather(
        *(world.decisions.decide(who, approval_id, ApprovalDecision.APPROVE) for who in (delegate, scope)),
        return_exceptions=True,
    )
    events = await world.until(scope, accepted)

    assert sum(isinstance(answer, AlreadyDecidedError) for answer in answers) == 1
    assert [event.type for event in events].count("approval_resolved") == 1


@pytest.mark.parametrize("lost", ["user", "tenant", "permission"])
async def test_a_delegate_counts_by_what_the_rows_say_when_the_decision_is_written(
    world: World, lost: str, monkeypatch: pytest.MonkeyPatch
):
    """The scope was made a moment earlier."""
    scope, accepted, approval_id = await asked(world)
    delegate = await newcomer(world.database, tenant_id=scope.tenant_id, role=Role.ADMIN)
    await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)

    async def lose(tx: Transaction) -> None:
        match lost:
            case "user":
                await MemberRepository(scope).set_status(tx, delegate.user_id, DISABLED, at=world.clock.now())
            case "tenant":
                await tx.execute("UPDATE tenants SET status = ? WHERE id = ?", DISABLED, str(scope.tenant_id))
            case _:
                left = permissions_of(Role.ADMIN) - {"approvals:decide"}
                monkeypatch.setitem(cast("dict[Role, object]", ROLE_PERMISSIONS), Role.ADMIN, left)

    await world.database.write(lose)

    with pytest.raises(PermissionDeniedError):
        await world.decisions.decide(delegate, approval_id, ApprovalDecision.APPROVE)
    with pytest.raises(InvalidInputError, match="nobody of this name"):
        await world.decisions.delegate(scope, approval_id, user_id=delegate.user_id)

    assert await world.state(scope, accepted.run_id) is ExecutionState.WAITING
    assert await audit(world, scope) == [(scope.user_id, "approval.delegated")]


async def test_who_may_not_decide_gives_nothing_to_anybody(world: World):
    scope, _, approval_id = await asked(world)
    powerless = replace(scope, permissions=scope.permissions - {"approvals:decide"})
    delegate = await newcomer(world.database, tenant_id=scope.tenant_id)

    with pytest.raises(PermissionDeniedError):
        await world.decisions.delegate(powerless, approval_id, user_id=delegate.user_id)
    with pytest.raises(PermissionDeniedError):
        await world.decisions.take_back(powerless, approval_id)


async def test_an_expired_approval_is_given_to_nobody(world: World):
    async def agent(run: AgentRun) -> str:
        return str((await run.ask("may I?", expires_in=timedelta(0))).state)

    world.programs.add("agent", agent)
    scope = await world.person()
    requested = decoded((await world.until(scope, await world.send(scope), "approval_requested"))[-1])
    assert isinstance(requested, ApprovalRequested)
    delegate = await newcomer(world.database, tenant_id=scope.tenant_id)

    with pytest.raises(AlreadyDecidedError, match="expired"):
        await world.decisions.delegate(scope, ApprovalId(requested.approval_id), user_id=delegate.user_id)
