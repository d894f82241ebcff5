"""No statement of the server reads more of a large table than what it is asked for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import apsw
import pytest
from fastapi import FastAPI

from cloche.agents.function import AgentRun
from cloche.api.rest.route import RestRoute
from cloche.domain.findings import FindingKind, FindingRef
from cloche.domain.scope import Scope
from cloche.execution.intake import Accepted
from cloche.ids import MessageId, RunId, ThreadId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.database import Transaction
from cloche.storage.events import EventRepository
from cloche.storage.findings import FindingRepository
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository
from cloche.tools.tool import tool
from support.world import World

# What grows with a user's work, and how many columns of a key at least choose rows of it.
LARGE = {
    "usage_entries": 2,
    "threads": 3,
    "messages": 3,
    "events": 2,
    "runs": 3,
    "executions": 3,
    "steps": 3,
    "approvals": 3,
    "audit": 1,
}
# These have as many rows as there is work just now, or give a page in its order.
GOOD_INDEXES = {
    "runs_live",
    "approvals_open",
    "runs_by_time",
    "threads_by_update",
    "runs_by_agent",
    "runs_by_id",
    "runs_ended",
    "runs_not_well",
}
# Every choice and order of the lists that have some.
CHOICES = (
    "runs?live=true",
    "runs?live=false",
    "runs?state=failed&state=dead",
    "runs?state=running",
    "runs?agent=agent",
    "runs?user_id={user_id}",
    "runs?user_id={user_id}&state=failed&live=false&agent=agent",
    "runs?order=stuck",
    "audit?actor=operator&action=user.",
    "usage/days?by=model",
    "usage/days?by=user",
    "runs?order=stuck&agent=agent&user_id={user_id}&state=waiting",
)
BODIES = {
    "send_message": {"text": "hello"},
    "decide_approval": {"decision": "approve"},
    "delegate_approval": {"email": "root@example.org"},
    "branch_thread": {"message_id": str(MessageId.new())},
    "mark_thread_read": {"seq": 1},
    "update_thread": {"title": "x"},
    "update_user": {"name": "x"},
}


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every statement that is run on a connection opened from now on."""
    found: set[str] = set()

    def listen(connection: apsw.Connection) -> None:
        def note(_cursor: object, sql: str, _bindings: object) -> bool:
            found.add(sql)
            return True

        connection.exec_trace = note

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, listen])
    return found


def is_broad(step: str) -> bool:
    """Whether a step of a plan reads more of a large table than belongs to one user, thread or run."""
    found = re.match(r"(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?(?:INDEX (\w+)|PRIMARY KEY))?(?: \((.*)\))?", step)
    if found is None or found[2] not in LARGE or found[3] in GOOD_INDEXES:
        return False
    return found[1] == "SCAN" or (found[4] or "").count("?") < LARGE[found[2]]


async def visit_everything(person: Any, admin: Any, app: FastAPI, ids: dict[str, str]) -> None:
    for route in app.routes:
        if not isinstance(route, RestRoute) or "DELETE" in (route.methods or ()) or "/auth/" in route.path:
            continue
        who = admin if "/admin/" in route.path else person
        path = re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], route.path)
        for method in sorted(route.methods or ()):
            if not path.endswith("/events"):
                await who.request(method, path, json=BODIES.get(str(route.operation_id)))


async def mend_everything(world: World, admin: Scope, owner: Scope, accepted: Accepted) -> None:
    """Each finding is looked for at its place, and the statements of repairs are run, which find nothing to change."""
    findings, before = FindingRepository(admin), world.clock.now()
    thread_id, run_id = ThreadId(accepted.thread_id), RunId(accepted.run_id)
    for kind in FindingKind:
        ref = FindingRef(kind=kind, user_id=owner.user_id, target=run_id, number=1)
        await world.database.read(lambda tx, ref=ref: findings.find(tx, ref, before=before))

    async def work(tx: Transaction) -> None:
        await EventRepository(owner).find_end(tx, thread_id, run_id, after=0)
        await EventRepository(owner).mend_head(tx, thread_id)
        await ThreadRepository(owner).listed(tx, [thread_id])
        await ApprovalRepository(owner).count_pending(tx)
        await MessageRepository(owner).find_last(tx, thread_id, run_id, after=0)
        await RunRepository(owner).close(tx, run_id, last_seq=1, at=before)

    await world.database.write(work)


async def test_no_statement_reads_more_than_it_is_asked_for(
    statements: set[str], world: World, database_path: Path, ada: Any, admin: Any, app: FastAPI
):
    async def pay() -> None:
        """Pay."""

    async def agent(run: AgentRun) -> None:
        await run.think("thinking")
        await run.call_tool("pay")

    world.programs.add("agent", agent, tools={"pay": tool(pay, needs_approval=True)})
    sent = await ada.make("/v1/messages", 202, text="hello")
    accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
    await world.until(ada.scope, accepted, "approval_requested")
    ids = {
        "thread_id": sent["thread_id"],
        "run_id": sent["run_id"],
        "approval_id": (await ada.see("/v1/approvals"))["items"][0]["id"],
        "session_id": str(admin.scope.session_id),
        "user_id": str(ada.scope.user_id),
    }
    await ada.post(f"/v1/approvals/{ids['approval_id']}/delegate", json=BODIES["delegate_approval"])
    for path in ("approvals", f"approvals/{ids['approval_id']}"):
        assert (await admin.get(f"/v1/{path}")).status_code == 200
    await ada.make(f"/v1/threads/{sent['thread_id']}/branch", message_id=sent["message_id"])
    await visit_everything(ada, admin, app, ids)
    for choice in CHOICES:
        assert (await admin.get(f"/v1/admin/{choice.format(**ids)}")).status_code == 200
    await world.recovery.sweep()
    await mend_everything(world, admin.scope, ada.scope, accepted)
    await ada.delete(f"/v1/threads/{sent['thread_id']}")

    explained = apsw.Connection(str(database_path))
    broad: list[tuple[str, str]] = []
    for sql in sorted(statements):
        if re.match("SELECT|UPDATE|DELETE|INSERT", sql) and "sqlite_" not in sql:
            marks = [None] * sql.count("?")
            steps = [str(row[3]) for row in explained.execute(f"EXPLAIN QUERY PLAN {sql}", marks)]
            broad += [(step, sql) for step in steps if is_broad(step)]
    explained.close()
    assert len(statements) > 50
    assert broad == []
