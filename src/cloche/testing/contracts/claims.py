"""The contract of claims: of all who want a run one gets it, and nothing that is unfinished is overlooked."""

from __future__ import annotations

import pytest

from cloche.domain.permissions import Role
from cloche.domain.runs import LIVE_STATES, ExecutionState, Run, RunRef
from cloche.domain.scope import Scope
from cloche.ids import ExecutionId, RunId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.claims import ClaimRepository
from cloche.storage.database import Transaction, Work
from cloche.storage.runs import RunRepository
from cloche.storage.users import MemberRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    SYSTEM,
    add_claimed_run,
    add_run,
    claim,
    move_to,
    newcomer,
    open_approval,
    rows,
)

S = ExecutionState
CLAIMS = ClaimRepository(SYSTEM)


class TestClaims:
    """Claiming a run, and what the claimer is told."""

    async def test_the_claimer_gets_the_run_with_the_next_epoch(self, deployment: Deployment, scope: Scope) -> None:
        """And there is an execution of its own."""
        run = await add_run(deployment.node, scope)

        claimed = await claim(deployment.other, run.ref, worker="worker-7", at=NOW + SECOND)

        assert claimed is not None
        assert (claimed.epoch, claimed.attempt, claimed.state) == (1, 1, S.STARTING)
        assert claimed.state_times == {S.PENDING: NOW, S.STARTING: NOW + SECOND}
        assert await deployment.node.read(lambda tx: RunRepository(scope).get(tx, run.id)) == claimed
        assert await rows(
            deployment.node,
            "SELECT run_id, epoch, worker_id, state FROM executions WHERE tenant_id = ?",
            str(scope.tenant_id),
        ) == [(str(run.id), 1, "worker-7", "running")]

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_a_second_claimer_gets_nothing(self, deployment: Deployment, scope: Scope, is_swapped: bool) -> None:
        """Also when it asks while the first has not committed."""
        run = await add_run(deployment.node, scope)
        first, second = reversed(deployment.nodes) if is_swapped else deployment.nodes

        def claiming(worker: str) -> Work[Run | None]:
            return lambda tx: CLAIMS.claim(tx, run.ref, worker=worker, execution_id=ExecutionId.new(), at=NOW)

        one, two = await race(first, claiming("a"), second, claiming("b"))

        assert one is not None
        assert two is None
        assert await claim(second, run.ref) is None
        found = await rows(first, "SELECT worker_id FROM executions WHERE tenant_id = ?", str(scope.tenant_id))
        assert found == [("a",)]

    async def test_a_claim_that_is_undone_leaves_the_run_to_others(self, deployment: Deployment, scope: Scope) -> None:
        """Its epoch is not used up."""
        run = await add_run(deployment.node, scope)

        async def work(tx: Transaction) -> None:
            await CLAIMS.claim(tx, run.ref, worker="a", execution_id=ExecutionId.new(), at=NOW)
            raise LookupError

        with pytest.raises(LookupError):
            await deployment.node.write(work)

        claimed = await claim(deployment.other, run.ref)
        assert claimed is not None
        assert claimed.epoch == 1

    async def test_a_run_s_time_counts_from_its_first_attempt(self, deployment: Deployment, scope: Scope) -> None:
        """The next one has what was left."""
        run = await add_claimed_run(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.PENDING)

        again = await claim(deployment.other, run.ref, at=NOW + 60 * SECOND)

        assert again is not None
        assert (run.deadline_at, again.deadline_at) == (NOW + run.timeout, NOW + run.timeout)

    async def test_a_run_that_is_offered_again_goes_to_the_next_epoch(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Both attempts are written down."""
        run = await add_claimed_run(deployment.node, scope)
        await move_to(deployment.node, scope, run.id, S.PENDING)
        await deployment.node.write(lambda tx: CLAIMS.count_loss(tx, run.ref))

        again = await claim(deployment.other, run.ref)

        assert again is not None
        assert (again.epoch, again.attempt, again.losses) == (2, 2, 1)
        assert (
            len(await rows(deployment.node, "SELECT epoch FROM executions WHERE tenant_id = ?", str(scope.tenant_id)))
            == 2
        )

    @pytest.mark.parametrize("state", sorted(set(S) - {S.PENDING}))
    async def test_only_a_pending_run_is_claimed(
        self, deployment: Deployment, scope: Scope, state: ExecutionState
    ) -> None:
        """Neither one that somebody has nor one that is over."""
        run = await add_run(deployment.node, scope)
        await deployment.node.write(
            lambda tx: tx.execute(
                "UPDATE runs SET state = ? WHERE tenant_id = ? AND id = ?",
                str(state),
                str(scope.tenant_id),
                str(run.id),
            )
        )

        assert await claim(deployment.node, run.ref) is None

    async def test_a_run_that_waits_its_turn_or_is_not_there_is_not_claimed(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Nor one whose owner is somebody else."""
        waiting, run = await add_run(deployment.node, scope, is_admitted=False), await add_run(deployment.node, scope)
        missing = RunRef(tenant_id=scope.tenant_id, user_id=scope.user_id, thread_id=run.thread_id, run_id=RunId.new())
        foreign = RunRef(tenant_id=scope.tenant_id, user_id=UserId.new(), thread_id=run.thread_id, run_id=run.id)

        for ref in (waiting.ref, missing, foreign):
            assert await claim(deployment.node, ref) is None

    async def test_the_owner_is_told_as_the_rows_say_now(self, deployment: Deployment) -> None:
        """Role, state and grants, and whether the tenant is open; nothing of one who is not there."""
        scope = await newcomer(deployment.node, role=Role.ADMIN)
        run = await add_run(deployment.node, scope)
        for permission in ("tools:prune", "tools:water"):
            await deployment.node.write(
                lambda tx, permission=permission: MemberRepository(scope).grant(tx, scope.user_id, permission, at=NOW)
            )
        missing = RunRef(tenant_id=scope.tenant_id, user_id=UserId.new(), thread_id=run.thread_id, run_id=run.id)

        owner, grants = await deployment.other.read(lambda tx: CLAIMS.owner(tx, run.ref))

        assert (owner, grants) == (("admin", "active", "active"), {"tools:prune", "tools:water"})
        assert await deployment.other.read(lambda tx: CLAIMS.owner(tx, missing)) == (None, frozenset())


class TestUnfinishedWork:
    """What a sweep finds, across users."""

    async def test_every_run_that_has_not_ended_is_found_oldest_first(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Whoever owns it, and whether it was admitted or not."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        second = await add_run(deployment.node, scope, at=NOW + SECOND)
        first = await add_run(deployment.node, colleague, is_admitted=False, at=NOW)
        ended = await add_run(deployment.node, scope)
        await move_to(deployment.node, scope, ended.id, S.DEAD)

        found = await deployment.other.read(CLAIMS.unfinished)

        assert [run.id for run in _own(found, scope)] == [first.id, second.id]

    async def test_what_may_be_claimed_is_offered_oldest_first(self, deployment: Deployment, scope: Scope) -> None:
        """Not what waits its turn, what somebody has, and what is over."""
        second = await add_run(deployment.node, scope, at=NOW + SECOND)
        first = await add_run(deployment.node, scope)
        await add_run(deployment.node, scope, is_admitted=False)
        await add_claimed_run(deployment.node, scope)

        found = await deployment.other.read(CLAIMS.offered)

        assert [ref for ref in found if ref.tenant_id == scope.tenant_id] == [first.ref, second.ref]

    async def test_live_runs_are_counted_by_state(self, deployment: Deployment, scope: Scope) -> None:
        """Every live state is named, and no other."""
        before = await deployment.other.read(CLAIMS.counts)
        for state in (S.RUNNING, S.RUNNING, S.CANCELLED):
            run = await add_run(deployment.node, scope)
            await move_to(
                deployment.node, scope, run.id, *((S.STARTING, S.RUNNING) if state is S.RUNNING else (state,))
            )

        after = await deployment.other.read(CLAIMS.counts)

        assert set(before) == set(after) == LIVE_STATES
        assert {state: after[state] - before[state] for state in after if after[state] != before[state]} == {
            S.RUNNING: 2
        }

    async def test_an_approval_expires_at_its_time_if_it_is_open(self, deployment: Deployment, scope: Scope) -> None:
        """Found with its run."""
        run = await add_run(deployment.node, scope)
        approvals = [open_approval(run, tool_call_id=str(n), at=NOW + n * SECOND) for n in range(2)]
        for approval in approvals:
            await deployment.node.write(lambda tx, approval=approval: ApprovalRepository(scope).create(tx, approval))
        expiry = approvals[0].expires_at

        early, due = [
            await deployment.other.read(lambda tx, at=at: CLAIMS.expired_approvals(tx, at=at))
            for at in (expiry - SECOND, expiry)
        ]

        assert [found for found in early if found[0].tenant_id == scope.tenant_id] == []
        assert [found for found in due if found[0].tenant_id == scope.tenant_id] == [(run.ref, approvals[0].id)]


def _own(found: list[Run], scope: Scope) -> list[Run]:
    return [run for run in found if run.ref.tenant_id == scope.tenant_id]
