"""The contract of approvals: a question is answered once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import ApprovalId, RunId, ThreadId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.pages import Page, page_request
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.owners import STRANGERS
from cloche.testing.contracts.population import NOW, SECOND, add_run, newcomer, open_approval


async def _add(database: Database, scope: Scope, approval: Approval) -> Approval:
    await database.write(lambda tx: ApprovalRepository(scope).create(tx, approval))
    return approval


async def _get(database: Database, scope: Scope, approval_id: ApprovalId) -> Approval:
    return await database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))


async def _list(
    database: Database, scope: Scope, *, limit: int = 100, cursor: str | None = None, pending_only: bool = False
) -> Page[Approval]:
    page = page_request("approvals", limit=limit, cursor=cursor)
    return await database.read(lambda tx: ApprovalRepository(scope).list(tx, page, pending_only=pending_only))


def _resolving(
    scope: Scope,
    approval_id: ApprovalId,
    state: ApprovalState,
    *,
    by: str | None = None,
    edited: Mapping[str, object] | None = None,
) -> Callable[[Transaction], Awaitable[bool]]:
    async def work(tx: Transaction) -> bool:
        return await ApprovalRepository(scope).resolve(tx, approval_id, state, by=by, edited=edited, at=NOW + SECOND)

    return work


def _giving(scope: Scope, approval_id: ApprovalId, to: UserId | None) -> Callable[[Transaction], Awaitable[bool]]:
    async def work(tx: Transaction) -> bool:
        return await ApprovalRepository(scope).delegate(tx, approval_id, to)

    return work


class TestApprovals:
    """The approvals of one user's runs."""

    async def test_an_approval_is_kept_as_it_was_made(self, deployment: Deployment, scope: Scope) -> None:
        """On both nodes."""
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))

        for node in deployment.nodes:
            assert await _get(node, scope, approval.id) == approval

    async def test_an_approval_that_is_not_there_is_an_error(self, deployment: Deployment, scope: Scope) -> None:
        """And cannot be resolved."""
        missing = ApprovalId.new()

        with pytest.raises(NotFoundError):
            await _get(deployment.node, scope, missing)

        assert not await deployment.node.write(_resolving(scope, missing, ApprovalState.DENIED))

    async def test_a_decision_is_kept_with_who_made_it(self, deployment: Deployment, scope: Scope) -> None:
        """And with the arguments as that person changed them."""
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))
        edited = {"plant": "tülip", "none": None}

        assert await deployment.node.write(
            _resolving(scope, approval.id, ApprovalState.APPROVED, by=str(scope.user_id), edited=edited)
        )

        assert await _get(deployment.other, scope, approval.id) == replace(
            approval,
            state=ApprovalState.APPROVED,
            decided_at=NOW + SECOND,
            decided_by=str(scope.user_id),
            edited_arguments=edited,
        )

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_of_two_decisions_at_once_the_first_stays(
        self, deployment: Deployment, scope: Scope, is_swapped: bool
    ) -> None:
        """And the second is told so."""
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))
        states = (ApprovalState.APPROVED, ApprovalState.EXPIRED)
        first, second = reversed(states) if is_swapped else states

        outcome = await race(
            deployment.node,
            _resolving(scope, approval.id, first),
            deployment.other,
            _resolving(scope, approval.id, second, edited={"a": 1}),
        )

        assert outcome == (True, False)
        found = await _get(deployment.other, scope, approval.id)
        assert (found.state, found.edited_arguments) == (first, None)

    async def test_pages_are_complete_and_without_repeats_while_approvals_are_added(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Newest first, also where several were asked in the same microsecond."""
        run = await add_run(deployment.node, scope)
        made = [
            await _add(deployment.node, scope, open_approval(run, tool_call_id=str(n), at=NOW + (n // 3) * SECOND))
            for n in range(7)
        ]
        expected = sorted(made, key=lambda approval: (approval.created_at, approval.id), reverse=True)

        found: list[Approval] = []
        cursor: str | None = None
        while True:
            page = await _list(deployment.other, scope, limit=3, cursor=cursor)
            found += page.items
            if (cursor := page.next_cursor) is None:
                break
            await _add(deployment.node, scope, open_approval(run, tool_call_id="later", at=NOW + 9 * SECOND))

        assert found == expected

    async def test_open_ones_are_listed_alone(self, deployment: Deployment, scope: Scope) -> None:
        """Of the user, and of a thread; oldest first there."""
        run, elsewhere = [await add_run(deployment.node, scope) for _ in range(2)]
        first, second, decided = [
            await _add(deployment.node, scope, open_approval(run, tool_call_id=str(n))) for n in range(3)
        ]
        third = await _add(deployment.node, scope, open_approval(elsewhere, at=NOW + SECOND))
        await deployment.node.write(_resolving(scope, decided.id, ApprovalState.CANCELLED))
        approvals = ApprovalRepository(scope)

        listed = (await _list(deployment.other, scope, pending_only=True)).items

        assert [approval.id for approval in listed] == [third.id, second.id, first.id]
        assert len((await _list(deployment.other, scope)).items) == 4
        assert await deployment.other.read(lambda tx: approvals.open_of_thread(tx, run.thread_id)) == [first, second]
        assert await deployment.other.read(lambda tx: approvals.open_of_thread(tx, ThreadId.new())) == []

    async def test_a_call_s_approval_is_found(self, deployment: Deployment, scope: Scope) -> None:
        """By the run and the call together, decided or not."""
        run = await add_run(deployment.node, scope)
        approval = await _add(deployment.node, scope, open_approval(run, tool_call_id="call-1"))
        approvals = ApprovalRepository(scope)

        async def found(run_id: RunId, call: str) -> Approval | None:
            return await deployment.other.read(lambda tx: approvals.of_call(tx, run_id, call))

        assert await found(run.id, "call-1") == approval
        assert await found(run.id, "call-2") is None
        assert await found(RunId.new(), "call-1") is None


class TestDelegation:
    """An approval that its user gave to another one."""

    async def test_it_is_there_for_both(self, deployment: Deployment, scope: Scope) -> None:
        """With whose it is and whom it was given to, until it is taken back or given to somebody else."""
        delegate, another = [await newcomer(deployment.node, tenant_id=scope.tenant_id) for _ in range(2)]
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))

        assert await deployment.node.write(_giving(scope, approval.id, delegate.user_id))
        given = replace(approval, delegate_id=delegate.user_id)
        for who in (scope, delegate):
            assert await _get(deployment.other, who, approval.id) == given
            assert (await _list(deployment.other, who, pending_only=True)).items == [given]
            assert await deployment.other.read(ApprovalRepository(who).count_pending) == 1
        assert await deployment.other.read(ApprovalRepository(another).count_pending) == 0

        for to, who in ((another.user_id, delegate), (None, another)):
            assert await deployment.node.write(_giving(scope, approval.id, to))
            assert (await _list(deployment.other, who)).items == []
            with pytest.raises(NotFoundError):
                await _get(deployment.other, who, approval.id)
        assert await _get(deployment.other, scope, approval.id) == approval

    @pytest.mark.parametrize("stranger", sorted(STRANGERS))
    async def test_it_is_there_for_nobody_else(self, deployment: Deployment, scope: Scope, stranger: str) -> None:
        """Not for another colleague, nor for who has the delegate's very id in another tenant."""
        delegate = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        caller = await STRANGERS[stranger](deployment.node, delegate)
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))
        await deployment.node.write(_giving(scope, approval.id, delegate.user_id))

        assert (await _list(deployment.other, caller)).items == []
        with pytest.raises(NotFoundError):
            await _get(deployment.other, caller, approval.id)
        assert not await deployment.node.write(_giving(caller, approval.id, caller.user_id))

    async def test_the_delegate_gets_nothing_but_a_look_at_it(self, deployment: Deployment, scope: Scope) -> None:
        """Changing its row is a matter of the scope of its user, and the run and the thread stay that user's own."""
        delegate = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        run = await add_run(deployment.node, scope)
        approval = await _add(deployment.node, scope, open_approval(run))
        await deployment.node.write(_giving(scope, approval.id, delegate.user_id))
        approvals = ApprovalRepository(delegate)

        assert not await deployment.node.write(_giving(delegate, approval.id, None))
        assert not await deployment.node.write(_resolving(delegate, approval.id, ApprovalState.APPROVED))
        assert await deployment.other.read(lambda tx: approvals.open_of_thread(tx, run.thread_id)) == []
        assert await deployment.other.read(lambda tx: approvals.of_call(tx, run.id, approval.tool_call_id)) is None
        assert (await _get(deployment.other, scope, approval.id)).state is ApprovalState.PENDING

    async def test_what_is_decided_is_given_to_nobody(self, deployment: Deployment, scope: Scope) -> None:
        """And stays with whom it was given to before."""
        delegate = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        approval = await _add(deployment.node, scope, open_approval(await add_run(deployment.node, scope)))
        await deployment.node.write(_giving(scope, approval.id, delegate.user_id))
        await deployment.node.write(_resolving(scope, approval.id, ApprovalState.DENIED))

        assert not await deployment.node.write(_giving(scope, approval.id, None))
        assert (await _get(deployment.other, delegate, approval.id)).state is ApprovalState.DENIED
        assert (await _list(deployment.other, delegate, pending_only=True)).items == []
        assert await deployment.other.read(ApprovalRepository(delegate).count_pending) == 0

    async def test_pages_hold_one_s_own_and_those_of_others_in_one_order(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Newest first, each once, however the pages are cut."""
        owner = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        runs = [await add_run(deployment.node, who) for who in (scope, owner)]
        made: list[Approval] = []
        for n in range(7):
            whose = n % 2
            approval = open_approval(runs[whose], tool_call_id=str(n), at=NOW + (n // 3) * SECOND)
            await _add(deployment.node, (scope, owner)[whose], approval)
            if whose:
                await deployment.node.write(_giving(owner, approval.id, scope.user_id))
                approval = replace(approval, delegate_id=scope.user_id)
            made.append(approval)

        for limit in (1, 3, 100):
            found: list[Approval] = []
            cursor: str | None = None
            while True:
                page = await _list(deployment.other, scope, limit=limit, cursor=cursor)
                found += page.items
                if (cursor := page.next_cursor) is None:
                    break
            assert found == sorted(made, key=lambda approval: (approval.created_at, approval.id), reverse=True)
