"""The contract of findings: what disagrees is found, once, in its own tenant; what agrees is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import pytest

from cloche.clock import to_micros
from cloche.domain.findings import Finding, FindingKind, FindingRef
from cloche.domain.runs import ExecutionState, Run
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.ids import RunId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft, EventRepository
from cloche.storage.findings import LAST_RUN, LAST_USER, FindingRepository, RunMark, RunPiece
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    add_claimed_run,
    add_run,
    add_thread,
    append_events,
    event_draft,
    move_to,
    newcomer,
    open_approval,
    rows,
)

K = FindingKind
S = ExecutionState
LATER = NOW + 3600 * SECOND
ALL_RUNS = RunPiece(RunMark(0, ""), LAST_RUN)


async def findings_of(database: Database, scope: Scope, *, before: datetime = LATER) -> list[Finding]:
    """Everything that is found in the scope's tenant."""
    repository = FindingRepository(scope)

    async def work(tx: Transaction) -> list[Finding]:
        return [
            *await repository.of_live(tx, before=before, limit=100),
            *await repository.of_ended(tx, ALL_RUNS, limit=100),
            *await repository.of_threads(tx, "", LAST_USER, since=NOW - SECOND, limit=100),
        ]

    return await database.read(work)


async def change(database: Database, run: Run, statement: str, *params: int | str | None) -> None:
    """A row of the run is changed behind everybody's back: the statement ends with its tenant and its id."""

    async def work(tx: Transaction) -> int:
        return await tx.execute(statement, *params, str(run.ref.tenant_id), str(run.id))

    assert await database.write(work) == 1


async def add_ended_run(database: Database, scope: Scope) -> Run:
    """A run that is over, whose last event says so."""
    run = await add_claimed_run(database, scope)
    await move_to(database, scope, run.id, S.RUNNING)
    draft = EventDraft("agent_failed", str(run.id), b'"data":{}}')
    seqs = await append_events(database, scope, run.thread_id, [draft])
    await move_to(database, scope, run.id, S.FAILED)
    await change(database, run, "UPDATE runs SET last_seq = ? WHERE tenant_id = ? AND id = ?", seqs[-1])
    await database.write(lambda tx: RunRepository(scope).end_execution(tx, run.id, run.epoch, "failed", at=NOW))
    return run


async def _change_thread(database: Database, run: Run, statement: str) -> None:
    async def work(tx: Transaction) -> int:
        return await tx.execute(statement, str(run.ref.tenant_id), str(run.thread_id))

    assert await database.write(work) == 1


def _started_step(run: Run) -> Step:
    return Step(
        index=3,
        kind=StepKind.TOOL,
        name="prune",
        input_digest=b"",
        state=StepState.STARTED,
        result=b"",
        reference="call-1",
        epoch=run.epoch,
        started_at=NOW,
        ended_at=None,
    )


async def _lost(database: Database, scope: Scope) -> Run:
    run = await add_claimed_run(database, scope)
    await move_to(database, scope, run.id, S.RUNNING)
    return run


async def _not_offered(database: Database, scope: Scope) -> Run:
    return await add_run(database, scope)


async def _not_admitted(database: Database, scope: Scope) -> Run:
    run = await add_run(database, scope, is_admitted=False)
    await add_run(database, scope, run.thread_id, is_admitted=False)
    return run


async def _waits(database: Database, scope: Scope) -> Run:
    run = await _lost(database, scope)
    await move_to(database, scope, run.id, S.WAITING)
    await database.write(lambda tx: RunRepository(scope).end_execution(tx, run.id, run.epoch, "suspended", at=NOW))
    return run


async def _over_in_log(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await change(database, run, "UPDATE runs SET state = 'running', ended_at = NULL WHERE tenant_id = ? AND id = ?")
    return run


async def _without_end(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await change(database, run, "UPDATE runs SET last_seq = last_seq - 1 WHERE tenant_id = ? AND id = ?")
    return run


async def _half_ended(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await change(database, run, "UPDATE runs SET ended_at = NULL WHERE tenant_id = ? AND id = ?")
    return run


async def _of_deleted_thread(database: Database, scope: Scope) -> Run:
    run = await add_run(database, scope)
    await database.write(lambda tx: ThreadRepository(scope).delete(tx, run.thread_id, at=NOW))
    return run


async def _approval_of_ended(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await database.write(lambda tx: ApprovalRepository(scope).create(tx, open_approval(run)))
    return run


async def _approval_expired(database: Database, scope: Scope) -> Run:
    run = await _waits(database, scope)
    await database.write(
        lambda tx: ApprovalRepository(scope).create(tx, open_approval(run, at=NOW - 8 * 24 * 3600 * SECOND))
    )
    return run


async def _execution_open(database: Database, scope: Scope) -> Run:
    run = await _lost(database, scope)
    await move_to(database, scope, run.id, S.WAITING)
    await database.write(lambda tx: ApprovalRepository(scope).create(tx, open_approval(run)))
    return run


async def _step_open(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await database.write(lambda tx: StepRepository(scope).put(tx, run.id, _started_step(run)))
    return run


async def _beyond_head(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await _change_thread(database, run, "UPDATE threads SET head_seq = head_seq - 1 WHERE tenant_id = ? AND id = ?")
    return run


async def _cut_short(database: Database, scope: Scope) -> Run:
    run = await add_ended_run(database, scope)
    await _change_thread(database, run, "UPDATE threads SET head_seq = head_seq + 1 WHERE tenant_id = ? AND id = ?")
    return run


PLANTED: Mapping[FindingKind, Callable[[Database, Scope], Awaitable[Run]]] = {
    K.RUN_LOST: _lost,
    K.RUN_NOT_OFFERED: _not_offered,
    K.RUN_NOT_ADMITTED: _not_admitted,
    K.RUN_WAITS_FOR_NOTHING: _waits,
    K.RUN_OVER_IN_LOG: _over_in_log,
    K.RUN_WITHOUT_END: _without_end,
    K.RUN_HALF_ENDED: _half_ended,
    K.RUN_OF_DELETED_THREAD: _of_deleted_thread,
    K.APPROVAL_OF_ENDED_RUN: _approval_of_ended,
    K.APPROVAL_EXPIRED: _approval_expired,
    K.EXECUTION_OPEN: _execution_open,
    K.STEP_OPEN: _step_open,
    K.LOG_BEYOND_HEAD: _beyond_head,
    K.LOG_CUT_SHORT: _cut_short,
}
# What is so by the way: a run of a deleted thread that nobody was told of, say.
BESIDE: Mapping[FindingKind, frozenset[FindingKind]] = {K.RUN_OF_DELETED_THREAD: frozenset({K.RUN_NOT_OFFERED})}


class TestFindings:
    """Rows that disagree."""

    def test_every_kind_is_planted_here(self) -> None:
        """A kind that is added without a row above fails."""
        assert set(PLANTED) == set(FindingKind)

    @pytest.mark.parametrize("kind", sorted(PLANTED))
    async def test_what_disagrees_is_found_with_its_ids(
        self, deployment: Deployment, scope: Scope, kind: FindingKind
    ) -> None:
        """In the whole and by its place alike, by a colleague too, and in no other tenant."""
        run = await PLANTED[kind](deployment.node, scope)
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        stranger = await newcomer(deployment.node)

        found = await findings_of(deployment.other, colleague)

        assert {one.kind for one in found} - BESIDE.get(kind, frozenset()) == {kind}
        finding = next(one for one in found if one.kind is kind)
        assert (finding.user_id, finding.thread_id) == (scope.user_id, run.thread_id)
        assert finding.run_id in (run.id, None)
        assert finding.since <= LATER
        assert FindingRef.parse(str(finding.ref)) == finding.ref
        again = [
            await deployment.other.read(lambda tx, who=who: FindingRepository(who).find(tx, finding.ref, before=LATER))
            for who in (scope, stranger)
        ]
        assert again == [finding, None]
        assert await findings_of(deployment.other, stranger) == []

    async def test_what_agrees_is_not_found(self, deployment: Deployment, scope: Scope) -> None:
        """Runs that are over, that wait for a decision or their turn, and logs that begin later than they did."""
        trimmed, waiting, asked = (
            await add_ended_run(deployment.node, scope),
            await add_run(deployment.node, scope),
            await _waits(deployment.node, scope),
        )
        await add_run(deployment.node, scope, waiting.thread_id, is_admitted=False)
        await add_thread(deployment.node, scope)
        await deployment.node.write(lambda tx: ApprovalRepository(scope).create(tx, open_approval(asked)))
        await _change_thread(
            deployment.node, trimmed, "UPDATE threads SET first_seq = head_seq + 1 WHERE tenant_id = ? AND id = ?"
        )
        await deployment.node.write(
            lambda tx: tx.execute(
                "DELETE FROM events WHERE tenant_id = ? AND thread_id = ?", str(scope.tenant_id), str(trimmed.thread_id)
            )
        )

        assert await findings_of(deployment.other, scope, before=NOW - SECOND) == []

    async def test_what_may_be_so_for_a_moment_is_found_after_it(self, deployment: Deployment, scope: Scope) -> None:
        """Work on its way, and an approval that is just over."""
        await _lost(deployment.node, scope)
        await _not_offered(deployment.node, scope)
        asked = await _waits(deployment.node, scope)
        approval = open_approval(asked)
        await deployment.node.write(lambda tx: ApprovalRepository(scope).create(tx, approval))

        early, due, over = [
            [one.kind for one in await findings_of(deployment.other, scope, before=before)]
            for before in (NOW - SECOND, NOW, approval.expires_at)
        ]

        assert early == []
        assert sorted(due) == [K.RUN_LOST, K.RUN_NOT_OFFERED]
        assert sorted(over) == [K.APPROVAL_EXPIRED, K.RUN_LOST, K.RUN_NOT_OFFERED]

    async def test_a_piece_is_a_part_of_the_runs_and_all_pieces_are_all_of_them(
        self, deployment: Deployment, scope: Scope, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the order of their making; users alike."""
        monkeypatch.setattr("cloche.storage.findings.PIECE", 2)
        repository = FindingRepository(scope)
        runs = [await _without_end(deployment.node, scope) for _ in range(3)]
        for _ in range(2):
            await newcomer(deployment.node, tenant_id=scope.tenant_id)
        start = RunMark(to_micros(NOW), "")

        middle = await deployment.other.read(lambda tx: repository.next_run(tx, start))
        end = await deployment.other.read(lambda tx: repository.next_run(tx, middle))
        user = await deployment.other.read(lambda tx: repository.next_user(tx, ""))
        pieces = [
            await deployment.other.read(lambda tx, piece=piece: repository.of_ended(tx, piece, limit=9))
            for piece in (RunPiece(start, middle), RunPiece(middle, end))
        ]

        assert (middle.id, end) == (runs[1].id, LAST_RUN)
        assert [[one.run_id for one in piece] for piece in pieces] == [[run.id for run in runs[:2]], [runs[2].id]]
        assert user != LAST_USER
        assert await deployment.other.read(lambda tx: repository.next_user(tx, user)) == LAST_USER


class TestMending:
    """Statements that set a row right."""

    async def test_a_run_in_a_terminal_state_is_closed(self, deployment: Deployment, scope: Scope) -> None:
        """Since it came there; one that is live stays as it is."""
        over, live = await _half_ended(deployment.node, scope), await _lost(deployment.node, scope)

        closed = [
            await deployment.node.write(
                lambda tx, run=run: RunRepository(scope).close(tx, run.id, last_seq=7, at=LATER)
            )
            for run in (over, live)
        ]

        found = await rows(
            deployment.other,
            "SELECT ended_at, last_seq FROM runs WHERE tenant_id = ? AND id IN (?, ?) ORDER BY id",
            str(scope.tenant_id),
            str(over.id),
            str(live.id),
        )
        assert closed == [True, False]
        assert found == [(to_micros(NOW), 7), (None, 0)]

    async def test_a_head_goes_up_to_the_log_s_end_and_never_down(self, deployment: Deployment, scope: Scope) -> None:
        """It is told where it stands."""
        behind, before = await _beyond_head(deployment.node, scope), await _cut_short(deployment.node, scope)
        events = EventRepository(scope)

        heads = [
            await deployment.node.write(lambda tx, run=run: events.mend_head(tx, run.thread_id))
            for run in (behind, before, behind)
        ]

        assert heads == [2, None, None]

    async def test_the_event_that_ends_a_run_is_found(self, deployment: Deployment, scope: Scope) -> None:
        """Only that run's, and only after the place that is named."""
        run, other = await add_ended_run(deployment.node, scope), await add_run(deployment.node, scope)
        await append_events(deployment.node, scope, run.thread_id, [event_draft("more", run.id)])
        events = EventRepository(scope)

        found, missing, later = [
            await deployment.other.read(
                lambda tx, of=of, after=after: events.find_end(tx, of.thread_id, of.id, after=after)
            )
            for of, after in ((run, 0), (other, 0), (run, 2))
        ]

        assert found is not None
        assert found.seq == 2
        assert (missing, later) == (None, None)

    async def test_a_run_that_wrote_nothing_has_no_last_message(self, deployment: Deployment, scope: Scope) -> None:
        """Whatever others wrote."""
        run = await add_run(deployment.node, scope)

        found = await deployment.other.read(
            lambda tx: MessageRepository(scope).find_last(tx, run.thread_id, RunId.new(), after=0)
        )

        assert found is None
