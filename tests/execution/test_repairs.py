"""The repair view: what was planted is found, repaired and gone; a healthy server has nothing to repair."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.clock import to_micros
from cloche.domain.event_order import check_gapless, check_run, decoded
from cloche.domain.events import AgentCompleted, ApprovalResolved, ThreadUpdated
from cloche.domain.findings import Finding, FindingKind, FindingRef
from cloche.domain.permissions import Permission, Role
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.domain.steps import StepState
from cloche.errors import NotFoundError, NotRepairableError, PermissionDeniedError
from cloche.events.codec import decode
from cloche.execution.intake import Accepted
from cloche.execution.repairs import MAX_FINDINGS
from cloche.ids import RunId, ThreadId
from cloche.storage.audit import AuditRepository
from cloche.storage.pages import PageRequest
from cloche.storage.steps import StepRepository
from cloche.testing.gates import Gate
from cloche.tools.tool import tool
from support.edges import eventually
from support.logs import HeldDatabase
from support.world import World, opened_world, working

K = FindingKind
S = ExecutionState
LONG_AGO = timedelta(hours=1)
DAY = timedelta(days=1)
SECRET = "what nobody else may read"


class Garden:
    """An administrator, and agents that answer, ask, work for ever, or wait in a tool until they are let go."""

    def __init__(self, world: World, admin: Scope) -> None:
        self.world = world
        self.admin = admin
        self.at_work = asyncio.Event()

        async def answers(run: AgentRun) -> str:
            await run.call_tool("note")
            return f"heard: {run.text}"

        async def asks(run: AgentRun) -> str:
            answer = await run.ask("may I?")
            return str(answer.state)

        async def works(run: AgentRun) -> str:
            await run.call_tool("work")
            return "never"

        async def note() -> str:
            """Take a note."""
            return "noted"

        async def work() -> None:
            """Work without an end."""
            self.at_work.set()
            await asyncio.get_running_loop().create_future()

        world.programs.add("answers", answers, tools={"note": tool(note)})
        world.programs.add("asks", asks)
        world.programs.add("works", works, tools={"work": tool(work)})

    async def done(self) -> Accepted:
        """A run that is over."""
        accepted = await self.world.send(self.admin, SECRET, agent="answers")
        await self.world.until(self.admin, accepted)
        return accepted

    async def waiting(self) -> Accepted:
        """A run that waits for an approval, and whose execution is over."""
        accepted = await self.world.send(self.admin, SECRET, agent="asks")
        await self.world.until(self.admin, accepted, "approval_requested")
        await eventually(lambda: RunId(accepted.run_id) not in self.world.worker.active)
        return accepted

    async def working(self) -> Accepted:
        """A run that is in the middle of a tool."""
        self.at_work.clear()
        accepted = await self.world.send(self.admin, SECRET, agent="works")
        await self.at_work.wait()
        await self.world.until(self.admin, accepted, "tool_executing")
        return accepted

    async def plant(self, sql: str, *params: int | str | None) -> None:
        """Rows are changed behind the server's back."""
        assert await self.world.database.write(lambda tx: tx.execute(sql, *params)), f"nothing changed: {sql}"

    async def age(self, run_id: str) -> None:
        """The run has been as it is for an hour."""
        long_ago = to_micros(self.world.clock.now() - LONG_AGO)
        times = ", ".join(f"{state}_at = CASE WHEN {state}_at IS NULL THEN NULL ELSE {long_ago} END" for state in S)
        await self.plant(
            f"UPDATE runs SET {times}, admitted_at = CASE WHEN admitted_at IS NULL THEN NULL ELSE {long_ago} END "
            "WHERE id = ?",
            run_id,
        )

    async def found(self) -> list[Finding]:
        look = await self.world.repairs.look(self.admin, since=self.world.clock.now() - DAY)
        assert SECRET not in repr(look)
        return list(look.findings)

    async def kinds(self) -> list[FindingKind]:
        return [finding.kind for finding in await self.found()]

    async def only(self, kind: FindingKind) -> Finding:
        """The one finding there is, of this kind."""
        found = await self.found()
        assert [one.kind for one in found] == [kind], [(one.kind, one.what) for one in found]
        assert found[0].user_id == self.admin.user_id
        assert "{" not in found[0].what + found[0].would
        return found[0]

    async def repaired(self, kind: FindingKind) -> Finding:
        """The one finding of this kind was repaired, and is gone."""
        finding = await self.only(kind)
        assert finding.is_repairable
        assert (await self.world.repairs.repair(self.admin, finding.ref)).ref == finding.ref
        assert kind not in await self.kinds()
        with pytest.raises(NotFoundError):
            await self.world.repairs.repair(self.admin, finding.ref)
        return finding


@pytest.fixture
async def garden(world: World) -> Garden:
    return Garden(world, await world.person(role=Role.ADMIN))


@pytest.fixture
async def quiet(idle_world: World) -> Garden:
    """A server whose worker does not work."""
    return Garden(idle_world, await idle_world.person(role=Role.ADMIN))


# A server that is well


async def test_a_busy_server_that_is_well_has_nothing_to_repair(garden: Garden):
    world = garden.world
    await garden.done()
    working, waiting = await garden.working(), await garden.waiting()
    queued = await world.send(garden.admin, agent="answers", thread_id=working.thread_id)
    cancelled = await garden.working()
    await world.cancellation.cancel(garden.admin, RunId(cancelled.run_id))
    await world.until(garden.admin, cancelled)
    for accepted in (working, waiting, queued):
        await garden.age(accepted.run_id)

    found = await garden.found()

    assert [(one.kind, one.what) for one in found] == []
    states = [await world.state(garden.admin, one.run_id) for one in (working, waiting, queued, cancelled)]
    assert states == [S.RUNNING, S.WAITING, S.PENDING, S.CANCELLED]


async def test_offers_that_wait_for_a_worker_are_no_findings(quiet: Garden):
    accepted = await quiet.world.send(quiet.admin, agent="answers")
    await quiet.age(accepted.run_id)

    assert await quiet.found() == []


async def test_what_came_to_be_a_moment_ago_is_no_finding(quiet: Garden):
    await quiet.world.send(quiet.admin, agent="answers")
    await quiet.world.bus.take()

    assert await quiet.found() == []


@pytest.mark.slow
async def test_every_story_that_ends_leaves_a_journal_without_loose_ends(garden: Garden):
    async def raises(run: AgentRun) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(run.call_tool("work"))
            await garden.at_work.wait()
            raise LookupError

    async def work() -> None:
        """Work without an end."""
        garden.at_work.set()
        await asyncio.get_running_loop().create_future()

    garden.world.programs.add("raises", raises, tools={"work": tool(work)})
    accepted = await garden.world.send(garden.admin, agent="raises")
    events = await garden.world.until(garden.admin, accepted)

    assert events[-1].type == "agent_failed"
    assert check_run(events) == []
    assert await garden.found() == []


async def test_a_call_that_an_agent_gave_up_and_went_on_without_has_its_outcome_in_the_journal(garden: Garden):
    async def gives_up(run: AgentRun) -> str:
        try:
            async with asyncio.timeout(0):
                await run.call_tool("work")
        except TimeoutError:
            return "went on"
        return "never"

    async def work() -> None:
        """Work without an end."""
        await asyncio.get_running_loop().create_future()

    garden.world.programs.add("gives_up", gives_up, tools={"work": tool(work)})
    accepted = await garden.world.send(garden.admin, agent="gives_up")
    events = await garden.world.until(garden.admin, accepted)

    assert events[-1].type == "agent_completed"
    assert await garden.found() == []


# Runs


async def test_a_run_whose_worker_is_gone_is_offered_again(database_path: Path):
    async with opened_world(database_path) as world:
        before = Garden(world, await world.person(role=Role.ADMIN))
        async with working(world):
            accepted = await before.working()
        await before.age(accepted.run_id)
    async with opened_world(database_path) as world:
        garden = Garden(world, before.admin)

        finding = await garden.repaired(K.RUN_LOST)

        run = await world.run(garden.admin, accepted.run_id)
        assert finding.what == "the run is running, and no worker holds it"
        assert (run.state, run.losses) == (S.PENDING, 1)
        assert (await world.bus.take()).run_id == accepted.run_id


async def test_a_lost_run_that_was_being_cancelled_is_cancelled(database_path: Path):
    async with opened_world(database_path) as world:
        before = Garden(world, await world.person(role=Role.ADMIN))
        async with working(world):
            accepted = await before.working()
        await world.cancellation.cancel(before.admin, RunId(accepted.run_id))
        await before.age(accepted.run_id)
    async with opened_world(database_path) as world:
        garden = Garden(world, before.admin)

        await garden.repaired(K.RUN_LOST)

        assert await world.state(garden.admin, accepted.run_id) is S.CANCELLED
        assert check_run(await world.events(garden.admin, accepted.run_id)) == []
        assert await garden.found() == []


async def test_a_run_that_nobody_was_told_of_is_offered(quiet: Garden):
    accepted = await quiet.world.send(quiet.admin, agent="answers")
    await quiet.world.bus.take()
    await quiet.age(accepted.run_id)

    await quiet.repaired(K.RUN_NOT_OFFERED)

    async with working(quiet.world):
        events = await quiet.world.until(quiet.admin, accepted)
    assert check_run(events) == []


async def test_a_run_whose_turn_it_is_is_admitted(garden: Garden):
    first = await garden.working()
    second = await garden.world.send(garden.admin, agent="answers", thread_id=first.thread_id)
    third = await garden.world.send(garden.admin, agent="answers", thread_id=first.thread_id)
    await garden.world.cancellation.cancel(garden.admin, RunId(first.run_id))
    for accepted in (second, third):
        await garden.world.until(garden.admin, accepted)
    stuck = await garden.working()
    after = await garden.world.send(garden.admin, agent="answers", thread_id=stuck.thread_id)
    await garden.world.cancellation.cancel(garden.admin, RunId(after.run_id))
    alone = await garden.world.send(garden.admin, agent="answers", thread_id=stuck.thread_id)
    await garden.plant("UPDATE runs SET thread_id = ? WHERE id = ?", first.thread_id, alone.run_id)

    finding = await garden.repaired(K.RUN_NOT_ADMITTED)

    assert finding.run_id == alone.run_id


async def test_a_run_that_waits_for_nothing_goes_on(garden: Garden):
    accepted = await garden.waiting()
    await garden.plant(
        "UPDATE approvals SET state = 'approved', decided_at = created_at WHERE run_id = ?", accepted.run_id
    )

    await garden.repaired(K.RUN_WAITS_FOR_NOTHING)

    events = await garden.world.until(garden.admin, accepted)
    assert events[-1].type == "agent_completed"
    assert await garden.found() == []


async def test_a_run_that_is_over_in_its_log_ends_as_the_log_tells_and_the_next_one_begins(garden: Garden):
    accepted = await garden.done()
    await garden.plant(
        "UPDATE runs SET state = 'running', ended_at = NULL, completed_at = NULL, last_seq = 0 WHERE id = ?",
        accepted.run_id,
    )
    following = await garden.world.send(garden.admin, agent="answers", thread_id=accepted.thread_id)

    finding = await garden.repaired(K.RUN_OVER_IN_LOG)

    run = await garden.world.run(garden.admin, accepted.run_id)
    events = await garden.world.events(garden.admin, accepted.run_id)
    assert finding.event == "agent_completed"
    assert (run.state, run.last_seq) == (S.COMPLETED, events[-1].seq)
    assert check_run(events) == []
    await garden.world.until(garden.admin, following)
    assert await garden.found() == []


@pytest.mark.parametrize(("code", "state"), [("agent_returned_nothing", S.FAILED), ("attempts_exhausted", S.DEAD)])
async def test_a_run_whose_log_tells_of_a_failure_fails_with_its_code(garden: Garden, code: str, state: S):
    async def silent(_run: AgentRun) -> None:
        return

    garden.world.programs.add("silent", silent)
    accepted = await garden.world.send(garden.admin, agent="silent")
    await garden.world.until(garden.admin, accepted)
    await garden.plant(
        "UPDATE events SET body = CAST(REPLACE(CAST(body AS TEXT), 'agent_returned_nothing', ?) AS BLOB) "
        "WHERE thread_id = ?",
        code,
        accepted.thread_id,
    )
    await garden.plant(
        "UPDATE runs SET state = 'running', ended_at = NULL, failure_code = NULL WHERE id = ?", accepted.run_id
    )

    await garden.repaired(K.RUN_OVER_IN_LOG)

    run = await garden.world.run(garden.admin, accepted.run_id)
    assert run.failure is not None
    assert (run.state, run.failure.code) == (state, code)


async def test_a_run_whose_log_tells_twice_of_its_end_is_one_finding_and_ends_as_told_first(garden: Garden):
    accepted = await garden.done()
    last = (await garden.world.run(garden.admin, accepted.run_id)).last_seq
    await garden.plant(
        "INSERT INTO events (tenant_id, thread_id, seq, user_id, type, run_id, created_at, body) "
        "SELECT tenant_id, thread_id, seq + 1, user_id, type, run_id, created_at, body FROM events "
        "WHERE thread_id = ? AND seq = ?",
        accepted.thread_id,
        last,
    )
    await garden.plant("UPDATE threads SET head_seq = head_seq + 1 WHERE id = ?", accepted.thread_id)
    await garden.plant("UPDATE runs SET state = 'running', ended_at = NULL WHERE id = ?", accepted.run_id)

    await garden.repaired(K.RUN_OVER_IN_LOG)

    assert (await garden.world.run(garden.admin, accepted.run_id)).last_seq == last


async def test_a_run_that_cannot_end_as_its_log_tells_is_only_shown(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET state = 'waiting', ended_at = NULL WHERE id = ?", accepted.run_id)

    finding = await garden.only(K.RUN_OVER_IN_LOG)

    assert not finding.is_repairable
    assert finding.would == "nothing by itself: a run that is waiting cannot end as completed"
    with pytest.raises(NotRepairableError) as refused:
        await garden.world.repairs.repair(garden.admin, finding.ref)
    assert refused.value.code == "not_repairable"
    assert await garden.world.state(garden.admin, accepted.run_id) is S.WAITING


@pytest.mark.parametrize(
    ("agent", "state", "event"),
    [("done", S.COMPLETED, "agent_completed"), ("cancelled", S.CANCELLED, "agent_cancelled")],
)
async def test_an_end_that_the_log_does_not_tell_is_told(garden: Garden, agent: str, state: S, event: str):
    if agent == "done":
        accepted = await garden.done()
    else:
        accepted = await garden.working()
        await garden.world.cancellation.cancel(garden.admin, RunId(accepted.run_id))
        await garden.world.until(garden.admin, accepted)
    told = (await garden.world.events(garden.admin, accepted.run_id))[-1]
    await garden.plant("DELETE FROM events WHERE thread_id = ? AND seq = ?", accepted.thread_id, told.seq)
    await garden.plant("UPDATE threads SET head_seq = head_seq - 1 WHERE id = ?", accepted.thread_id)

    await garden.repaired(K.RUN_WITHOUT_END)

    events = await garden.world.events(garden.admin, accepted.run_id)
    again, first = decoded(events[-1]), decoded(told)
    assert (await garden.world.state(garden.admin, accepted.run_id), events[-1].type) == (state, event)
    assert check_run(events) == []
    if isinstance(again, AgentCompleted) and isinstance(first, AgentCompleted):
        assert (again.message_id, again.usage) == (first.message_id, first.usage)


async def test_a_failure_that_the_log_does_not_tell_is_told_with_its_code(garden: Garden):
    async def silent(_run: AgentRun) -> None:
        return

    garden.world.programs.add("silent", silent)
    accepted = await garden.world.send(garden.admin, agent="silent")
    told = (await garden.world.until(garden.admin, accepted))[-1]
    await garden.plant("DELETE FROM events WHERE thread_id = ? AND seq = ?", accepted.thread_id, told.seq)
    await garden.plant("UPDATE threads SET head_seq = head_seq - 1 WHERE id = ?", accepted.thread_id)

    await garden.repaired(K.RUN_WITHOUT_END)

    again = (await garden.world.events(garden.admin, accepted.run_id))[-1]
    assert decoded(again) == decoded(told)


async def test_a_row_that_points_beside_its_last_event_is_set_right_without_a_second_one(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET last_seq = last_seq - 1 WHERE id = ?", accepted.run_id)

    await garden.repaired(K.RUN_WITHOUT_END)

    run = await garden.world.run(garden.admin, accepted.run_id)
    events = await garden.world.events(garden.admin, accepted.run_id)
    assert run.last_seq == events[-1].seq
    assert check_run(events) == []


async def test_a_log_that_begins_later_says_nothing_of_runs_before(garden: Garden):
    accepted = await garden.done()
    head = (await garden.world.run(garden.admin, accepted.run_id)).last_seq
    await garden.plant("DELETE FROM events WHERE thread_id = ?", accepted.thread_id)
    await garden.plant("UPDATE threads SET first_seq = ? WHERE id = ?", head + 1, accepted.thread_id)

    assert await garden.found() == []


async def test_a_run_that_is_half_ended_is_over_and_the_next_one_begins(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET ended_at = NULL WHERE id = ?", accepted.run_id)
    following = await garden.world.send(garden.admin, agent="answers", thread_id=accepted.thread_id)

    await garden.repaired(K.RUN_HALF_ENDED)

    await garden.world.until(garden.admin, following)
    assert await garden.found() == []


async def test_a_run_on_a_deleted_thread_is_cancelled(garden: Garden):
    accepted = await garden.working()
    await garden.plant("UPDATE threads SET deleted_at = updated_at WHERE id = ?", accepted.thread_id)

    await garden.repaired(K.RUN_OF_DELETED_THREAD)

    await eventually(lambda: RunId(accepted.run_id) not in garden.world.worker.active)
    assert await garden.world.state(garden.admin, accepted.run_id) is S.CANCELLED
    assert await garden.found() == []


async def test_a_run_that_nobody_works_on_is_cancelled_with_its_deleted_thread_at_once(garden: Garden):
    accepted = await garden.waiting()
    await garden.plant("UPDATE threads SET deleted_at = updated_at WHERE id = ?", accepted.thread_id)

    await garden.repaired(K.RUN_OF_DELETED_THREAD)

    assert await garden.world.state(garden.admin, accepted.run_id) is S.CANCELLED
    assert await garden.found() == []


# Approvals


async def test_an_approval_of_a_run_that_is_over_is_withdrawn_and_the_run_s_story_stays_whole(garden: Garden):
    accepted = await garden.waiting()
    await garden.world.cancellation.cancel(garden.admin, RunId(accepted.run_id))
    await garden.world.until(garden.admin, accepted)
    await garden.plant("UPDATE approvals SET state = 'pending', decided_at = NULL WHERE run_id = ?", accepted.run_id)

    finding = await garden.repaired(K.APPROVAL_OF_ENDED_RUN)

    last = (await log_of(garden, accepted.thread_id))[-1]
    told = decoded(last)
    assert isinstance(told, ApprovalResolved)
    assert (told.approval_id, told.decision, last.run_id) == (finding.approval_id, "cancelled", None)
    assert check_run(await garden.world.events(garden.admin, accepted.run_id)) == []


async def test_an_approval_whose_time_is_over_expires_and_its_run_goes_on(garden: Garden):
    accepted = await garden.waiting()
    long_ago = to_micros(garden.world.clock.now() - LONG_AGO)
    await garden.plant("UPDATE approvals SET expires_at = ? WHERE run_id = ?", long_ago, accepted.run_id)

    await garden.repaired(K.APPROVAL_EXPIRED)

    events = await garden.world.until(garden.admin, accepted)
    assert check_run(events) == []
    assert [event.type for event in events].count("approval_resolved") == 1


# The journal


async def test_an_execution_of_a_run_that_is_over_is_closed(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE executions SET ended_at = NULL, state = 'running' WHERE run_id = ?", accepted.run_id)

    finding = await garden.repaired(K.EXECUTION_OPEN)

    assert finding.what == "execution 1 of the run has no end, and the run is completed"


async def test_an_execution_of_a_run_that_waits_is_closed(garden: Garden):
    accepted = await garden.waiting()
    await garden.plant("UPDATE executions SET ended_at = NULL, state = 'running' WHERE run_id = ?", accepted.run_id)

    await garden.repaired(K.EXECUTION_OPEN)

    assert await garden.world.state(garden.admin, accepted.run_id) is S.WAITING


async def test_a_step_of_a_run_that_is_over_is_closed_as_failed(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE steps SET state = 'started', ended_at = NULL WHERE run_id = ?", accepted.run_id)

    await garden.repaired(K.STEP_OPEN)

    steps = await garden.world.database.read(lambda tx: StepRepository(garden.admin).list(tx, RunId(accepted.run_id)))
    assert {step.state for step in steps} == {StepState.FAILED}
    assert all(step.ended_at is not None for step in steps)


# The log


async def log_of(garden: Garden, thread_id: str):
    subscription, _, _ = await garden.world.log.subscribe(garden.admin, ThreadId(thread_id))
    with subscription:
        return [decode(event.body) for event in await subscription.next()]


async def test_a_thread_whose_log_goes_on_beyond_its_head_can_be_written_to_again(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE threads SET head_seq = head_seq - 2 WHERE id = ?", accepted.thread_id)

    await garden.repaired(K.LOG_BEYOND_HEAD)

    following = await garden.world.send(garden.admin, agent="answers", thread_id=accepted.thread_id)
    await garden.world.until(garden.admin, following)
    events = await log_of(garden, accepted.thread_id)
    assert check_gapless([event.seq for event in events], after=0) == []
    assert any(isinstance(decoded(event), ThreadUpdated) for event in events)


async def test_a_log_whose_end_is_missing_is_only_shown(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE threads SET head_seq = head_seq + 3 WHERE id = ?", accepted.thread_id)

    finding = await garden.only(K.LOG_CUT_SHORT)

    assert not finding.is_repairable
    with pytest.raises(NotRepairableError):
        await garden.world.repairs.repair(garden.admin, finding.ref)
    assert await garden.kinds() == [K.LOG_CUT_SHORT]


# Whose it is, and who may


async def test_a_repair_is_in_the_audit_trail_without_a_word_of_anybody(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET last_seq = 0 WHERE id = ?", accepted.run_id)

    await garden.repaired(K.RUN_WITHOUT_END)

    page = await garden.world.database.read(lambda tx: AuditRepository(garden.admin).list(tx, PageRequest()))
    assert [(line.action, line.target) for line in page.items] == [("finding.repaired", accepted.run_id)]
    assert page.items[0].detail["kind"] == "run_without_end"
    assert SECRET not in repr(page)
    assert [line[1] for line in garden.world.log_book.lines].count("finding.repaired") == 1


async def test_another_tenant_s_findings_are_not_there(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET last_seq = 0 WHERE id = ?", accepted.run_id)
    ref = (await garden.only(K.RUN_WITHOUT_END)).ref
    eve = await garden.world.person(role=Role.ADMIN)

    assert (await garden.world.repairs.look(eve)).findings == ()
    with pytest.raises(NotFoundError):
        await garden.world.repairs.repair(eve, ref)
    assert await garden.kinds() == [K.RUN_WITHOUT_END]


async def test_who_may_not_look_or_repair_is_told_what_is_needed(garden: Garden):
    member = await garden.world.person()
    looker = replace(garden.admin, permissions=frozenset({str(Permission.ADMIN_RUNS)}))
    ref = FindingRef(kind=K.RUN_LOST, user_id=garden.admin.user_id, target=RunId.new())

    with pytest.raises(PermissionDeniedError, match="admin:runs"):
        await garden.world.repairs.look(member)
    with pytest.raises(PermissionDeniedError, match="admin:repairs"):
        await garden.world.repairs.repair(looker, ref)
    assert (await garden.world.repairs.look(looker)).findings == ()


# Two at once


async def test_what_mends_between_two_looks_is_no_finding(garden: Garden):
    accepted = await garden.done()
    right = (await garden.world.run(garden.admin, accepted.run_id)).last_seq
    await garden.plant("UPDATE runs SET last_seq = 0 WHERE id = ?", accepted.run_id)
    held, looks = HeldDatabase(garden.world.database), 0

    async def mend() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            await garden.plant("UPDATE runs SET last_seq = ? WHERE id = ?", right, accepted.run_id)

    held.after_read = mend
    garden.world.repairs._database = held

    assert await garden.found() == []
    assert looks > 3


async def test_of_two_repairs_at_once_one_finds_it(garden: Garden):
    accepted = await garden.done()
    await garden.plant("UPDATE runs SET last_seq = 0 WHERE id = ?", accepted.run_id)
    ref = (await garden.only(K.RUN_WITHOUT_END)).ref

    outcomes = await asyncio.gather(
        *(garden.world.repairs.repair(garden.admin, ref) for _ in range(2)), return_exceptions=True
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Finding", "NotFoundError"]
    assert check_run(await garden.world.events(garden.admin, accepted.run_id)) == []


async def test_a_worker_that_takes_the_run_before_the_repair_keeps_it(quiet: Garden):
    accepted = await quiet.world.send(quiet.admin, agent="works")
    ref = await quiet.world.bus.take()
    await quiet.age(accepted.run_id)
    finding = await quiet.only(K.RUN_NOT_OFFERED)

    quiet.world.bus.offer(ref)
    async with working(quiet.world):
        await quiet.at_work.wait()
        await quiet.age(accepted.run_id)

        with pytest.raises(NotFoundError):
            await quiet.world.repairs.repair(quiet.admin, finding.ref)
        assert await quiet.found() == []
        assert (await quiet.world.run(quiet.admin, accepted.run_id)).losses == 0


async def test_an_execution_that_works_on_after_all_has_lost_the_run_and_writes_nothing(garden: Garden):
    world = garden.world
    with Gate() as gate:

        async def held(_run: AgentRun) -> str:
            await gate.stop()
            return "too late"

        world.programs.add("held", held)
        accepted = await world.send(garden.admin, agent="held")
        await gate.reached()
        await garden.age(accepted.run_id)

        # Another process, which knows nothing of this one's worker.
        await Garden(World(world.database, world.clock), garden.admin).repaired(K.RUN_LOST)
        gate.open()
        await eventually(lambda: not world.worker.working)

    events = await world.events(garden.admin, accepted.run_id)
    assert await world.state(garden.admin, accepted.run_id) is S.PENDING
    assert [event.type for event in events] == ["message_created", "run_queued", "agent_started"]


# Many of them


@pytest.mark.slow
async def test_of_very_many_findings_the_first_hundred_are_shown_and_the_rest_when_these_are_repaired(quiet: Garden):
    world = quiet.world
    for _ in range(MAX_FINDINGS + 5):
        accepted = await world.send(quiet.admin, agent="answers")
        await world.cancellation.cancel(quiet.admin, RunId(accepted.run_id))
    await quiet.plant("UPDATE runs SET last_seq = 0")
    await quiet.plant("UPDATE threads SET head_seq = head_seq - 1")

    looks = [await world.repairs.look(quiet.admin)]
    while looks[-1].findings:
        for finding in looks[-1].findings:
            await world.repairs.repair(quiet.admin, finding.ref)
        looks.append(await world.repairs.look(quiet.admin))

    assert [(len(look.findings), look.more) for look in looks] == [
        (MAX_FINDINGS, True),
        (MAX_FINDINGS, True),
        (10, False),
        (0, False),
    ]


@pytest.mark.slow
async def test_what_is_over_is_looked_at_in_pieces(quiet: Garden, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cloche.storage.findings.PIECE", 2)
    for _ in range(5):
        accepted = await quiet.world.send(quiet.admin, agent="answers")
        await quiet.world.cancellation.cancel(quiet.admin, RunId(accepted.run_id))
    await quiet.plant("UPDATE runs SET last_seq = 0")
    await quiet.plant("UPDATE threads SET head_seq = head_seq + 1")

    assert sorted(await quiet.kinds()) == [K.LOG_CUT_SHORT] * 5 + [K.RUN_WITHOUT_END] * 5


async def test_what_was_over_before_the_look_back_is_not_looked_at(quiet: Garden):
    accepted = await quiet.world.send(quiet.admin, agent="answers")
    await quiet.world.cancellation.cancel(quiet.admin, RunId(accepted.run_id))
    await quiet.plant("UPDATE runs SET last_seq = 0")

    later = await quiet.world.repairs.look(quiet.admin, since=quiet.world.clock.now())
    earlier = await quiet.world.repairs.look(quiet.admin)

    assert (len(later.findings), len(earlier.findings)) == (0, 1)
