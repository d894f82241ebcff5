"""The contract of a tenant's figures: every run counts once, in its piece of time, and percentiles are exact."""

from __future__ import annotations

from datetime import datetime

from cloche.domain.runs import ExecutionState, Failure
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.ids import RunId
from cloche.storage.database import Database, Transaction
from cloche.storage.run_figures import RunFigureRepository, Span, Times, Tokens
from cloche.storage.usage import UsageRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, SECOND, add_run, claim, move, move_to, newcomer

S = ExecutionState
SPAN = Span(since=NOW, until=NOW + 30 * SECOND, piece=10 * SECOND)


async def _done(
    database: Database,
    scope: Scope,
    *,
    at: datetime,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    state: ExecutionState = S.COMPLETED,
) -> RunId:
    """A run that was accepted, taken up and over at these times."""
    run = await add_run(database, scope, at=at)
    if started_at is not None:
        await claim(database, run.ref, at=started_at)
    if ended_at is not None:

        async def work(tx: Transaction) -> None:
            if state is S.COMPLETED:
                await move(tx, scope, run.id, S.RUNNING, at=ended_at)
            await move(tx, scope, run.id, state, at=ended_at)

        await database.write(work)
    return run.id


class TestRunFigures:
    """What a tenant's operators see of throughput."""

    async def test_every_run_counts_once_where_its_time_is(self, deployment: Deployment, scope: Scope) -> None:
        """The beginning of a piece belongs to it, its end to the next one; people of the tenant count together."""
        colleague, foreign = await newcomer(deployment.node, tenant_id=scope.tenant_id), await newcomer(deployment.node)
        for who in (scope, colleague, foreign):
            for second in (-1, 0, 9, 10, 29, 30):
                await _done(deployment.node, who, at=NOW + second * SECOND)
        figures = RunFigureRepository(scope)

        assert await deployment.other.read(lambda tx: figures.accepted(tx, SPAN)) == {0: 4, 1: 2, 2: 2}
        assert await deployment.other.read(lambda tx: figures.waits(tx, SPAN)) == {}
        assert await deployment.other.read(lambda tx: figures.ended(tx, SPAN)) == {}

    async def test_ends_are_counted_by_state_when_they_were(self, deployment: Deployment, scope: Scope) -> None:
        """However long before the run was accepted."""
        before = NOW - 3600 * SECOND
        for second, state in ((0, S.COMPLETED), (1, S.COMPLETED), (1, S.FAILED), (15, S.DEAD), (30, S.FAILED)):
            await _done(
                deployment.node, scope, at=before, started_at=before, ended_at=NOW + second * SECOND, state=state
            )
        await _done(deployment.node, scope, at=before, started_at=before)
        figures = RunFigureRepository(scope)

        assert await deployment.other.read(lambda tx: figures.ended(tx, SPAN)) == {
            0: {S.COMPLETED: 2, S.FAILED: 1},
            1: {S.DEAD: 1},
        }
        assert await deployment.other.read(lambda tx: figures.accepted(tx, SPAN)) == {}

    async def test_percentiles_are_those_of_the_nearest_rank(self, deployment: Deployment, scope: Scope) -> None:
        """Of twenty runs that waited 1 to 20 seconds, the tenth and the nineteenth; what never began is not timed."""
        for wait in range(1, 21):
            at = NOW + SECOND
            await _done(deployment.node, scope, at=at, started_at=at + wait * SECOND, ended_at=NOW + 25 * SECOND)
        await _done(deployment.node, scope, at=NOW + SECOND)
        await _done(deployment.node, scope, at=NOW + 11 * SECOND, started_at=NOW + 12 * SECOND)
        figures = RunFigureRepository(scope)

        waits = await deployment.other.read(lambda tx: figures.waits(tx, SPAN))
        durations = await deployment.other.read(lambda tx: figures.durations(tx, SPAN))

        assert waits == {
            0: Times(p50=10 * SECOND, p95=19 * SECOND),
            1: Times(p50=SECOND, p95=SECOND),
        }
        # They began 2 to 21 seconds after NOW, and ended 25 seconds after it.
        assert durations == {2: Times(p50=13 * SECOND, p95=22 * SECOND)}

    async def test_a_run_that_was_taken_up_again_counts_from_its_first_start(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Its state says when it was taken up last."""
        run = await add_run(deployment.node, scope, at=NOW)
        await claim(deployment.node, run.ref, at=NOW + 2 * SECOND)
        await deployment.node.write(lambda tx: move(tx, scope, run.id, S.PENDING, at=NOW + 5 * SECOND))
        await claim(deployment.node, run.ref, at=NOW + 9 * SECOND)
        await deployment.node.write(lambda tx: move(tx, scope, run.id, S.FAILED, at=NOW + 12 * SECOND))
        figures = RunFigureRepository(scope)

        waits = await deployment.other.read(lambda tx: figures.waits(tx, SPAN))
        durations = await deployment.other.read(lambda tx: figures.durations(tx, SPAN))

        assert waits == {0: Times(p50=2 * SECOND, p95=2 * SECOND)}
        assert durations == {1: Times(p50=10 * SECOND, p95=10 * SECOND)}

    async def test_tokens_count_where_they_were_used(self, deployment: Deployment, scope: Scope) -> None:
        """Of everybody in the tenant."""
        colleague, foreign = await newcomer(deployment.node, tenant_id=scope.tenant_id), await newcomer(deployment.node)

        async def work(tx: Transaction) -> None:
            for who in (scope, colleague, foreign):
                for second in (-1, 0, 9, 25, 30):
                    usage = Usage(input_tokens=2**40, output_tokens=1)
                    await UsageRepository(who).record(
                        tx, RunId.new(), agent="a", model="m", step=1, usage=usage, at=NOW + second * SECOND
                    )

        await deployment.node.write(work)

        found = await deployment.other.read(lambda tx: RunFigureRepository(scope).tokens(tx, SPAN))

        assert found == {0: Tokens(input=2**42, output=4), 2: Tokens(input=2**41, output=2)}

    async def test_failures_are_grouped_by_reason_agent_and_state(self, deployment: Deployment, scope: Scope) -> None:
        """The most frequent first, each with its last run; what went well or was cancelled is none."""
        colleague, foreign = await newcomer(deployment.node, tenant_id=scope.tenant_id), await newcomer(deployment.node)
        begun = NOW - SECOND

        async def fails(who: Scope, second: int, state: ExecutionState, code: str | None, *, retryable: bool) -> RunId:
            run_id = await _done(deployment.node, who, at=begun, started_at=begun)
            if state is S.CANCELLED:
                await move_to(deployment.node, who, run_id, S.CANCELLING)
            failure = None if code is None else Failure(code=code, message="what was said", retryable=retryable)
            await deployment.node.write(
                lambda tx: move(tx, who, run_id, state, at=NOW + second * SECOND, failure=failure)
            )
            return run_id

        await fails(scope, -1, S.FAILED, "tool_failed", retryable=False)
        await fails(scope, 0, S.FAILED, "model_unavailable", retryable=False)
        last = await fails(colleague, 5, S.FAILED, "model_unavailable", retryable=True)
        dead = await fails(scope, 4, S.DEAD, "attempts_exhausted", retryable=True)
        lost = await fails(scope, 3, S.TIMEOUT, None, retryable=False)
        await fails(scope, 2, S.CANCELLED, "run_cancelled", retryable=True)
        await fails(foreign, 2, S.FAILED, "tool_failed", retryable=True)
        await _done(deployment.node, scope, at=begun, started_at=begun, ended_at=NOW)
        figures = RunFigureRepository(scope)

        found, total = await deployment.other.read(lambda tx: figures.failures(tx, since=NOW, limit=100))
        first, _ = await deployment.other.read(lambda tx: figures.failures(tx, since=NOW, limit=1))
        later = await deployment.other.read(lambda tx: figures.failures(tx, since=NOW + 6 * SECOND, limit=1))

        assert [(one.code, one.state, one.runs, one.is_retryable, one.last_run_id) for one in found] == [
            ("model_unavailable", S.FAILED, 2, True, last),
            ("attempts_exhausted", S.DEAD, 1, True, dead),
            ("timeout", S.TIMEOUT, 1, False, lost),
        ]
        assert found[0].last_at == NOW + 5 * SECOND
        assert {one.agent for one in found} == {"gardener"}
        assert (total, first, later) == (4, found[:1], ([], 0))
