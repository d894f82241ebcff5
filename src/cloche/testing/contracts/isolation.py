"""The contract of isolation: another's object is answered exactly as one that does not exist.

The repositories and their methods are found by reflection. A method that is added without a line here fails the suite.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace

import pytest

from cloche.domain.approvals import ApprovalState
from cloche.domain.findings import FindingKind, FindingRef
from cloche.domain.messages import Message, MessageRole, TextPart
from cloche.domain.permissions import Role
from cloche.domain.runs import ExecutionState, Failure, RunRef
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.errors import ClocheError
from cloche.ids import TenantId, ThreadId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.audit import AuditRepository
from cloche.storage.branches import BranchRepository
from cloche.storage.checkups import CheckupRepository
from cloche.storage.database import Transaction
from cloche.storage.events import EventDraft, EventRepository
from cloche.storage.findings import LAST_RUN, LAST_USER, FindingRepository, RunMark, RunPiece
from cloche.storage.messages import MessageRepository
from cloche.storage.pages import PageRequest
from cloche.storage.run_figures import RunFigureRepository, Span
from cloche.storage.run_stories import RunStoryRepository
from cloche.storage.runs import RunRepository
from cloche.storage.search import SearchRepository
from cloche.storage.sessions import SessionRepository
from cloche.storage.steps import StepRepository
from cloche.storage.stories import StoryRepository
from cloche.storage.tenant_runs import TenantRunRepository
from cloche.storage.tenants import TenantRepository
from cloche.storage.threads import ThreadRepository
from cloche.storage.tickets import TicketRepository
from cloche.storage.usage import TenantUsageRepository, UsageKey, UsageRepository
from cloche.storage.users import MemberRepository, UserRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.owners import END, MARK, STRANGERS, Names, family_of, marked_step, populated_owner
from cloche.testing.contracts.population import (
    DIGEST,
    NOW,
    AnyRow,
    newcomer,
    open_approval,
    pending_run,
)
from cloche.testing.contracts.reflection import public_methods, rows_of_tenant, scoped_repositories, table_names

PAGE = PageRequest(limit=100)
S = ExecutionState


Call = Callable[[Transaction, Scope, Names], Awaitable[object]]

# Repositories whose rows belong to the whole tenant: a colleague who may use them sees them, another tenant never.
OF_THE_TENANT = frozenset(
    {
        "AuditRepository",
        "CheckupRepository",
        "FindingRepository",
        "MemberRepository",
        "RunFigureRepository",
        "RunStoryRepository",
        "TenantRepository",
        "TenantRunRepository",
        "TenantUsageRepository",
    }
)
# Tables that no repository made from a scope writes.
WITHOUT_A_REPOSITORY = frozenset({"agents", "api_keys", "limits", "tool_intents"})


def _run(scope: Scope, names: Names) -> RunRef:
    return RunRef(tenant_id=scope.tenant_id, user_id=scope.user_id, thread_id=names.thread, run_id=names.run)


def _message(names: Names) -> Message:
    return Message(
        id=names.message,
        thread_id=names.thread,
        run_id=names.run,
        seq=100,
        role=MessageRole.USER,
        parts=(),
        client_message_id=None,
        created_at=NOW,
    )


def _member_run(scope: Scope, names: Names) -> RunRef:
    return RunRef(tenant_id=scope.tenant_id, user_id=names.user, thread_id=names.thread, run_id=names.run)


# One line for each method: how a caller who knows the names of things would call it.
THREADS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: ThreadRepository(scope).create(tx, names.thread, title="a", metadata={}, at=NOW),
    "find": lambda tx, scope, names: ThreadRepository(scope).find(tx, names.thread),
    "get": lambda tx, scope, names: ThreadRepository(scope).get(tx, names.thread),
    "list": lambda tx, scope, names: ThreadRepository(scope).list(tx, PAGE),
    "all_after": lambda tx, scope, names: ThreadRepository(scope).all_after(tx, "", 100),
    "get_all": lambda tx, scope, names: ThreadRepository(scope).get_all(tx, [names.thread]),
    "listed": lambda tx, scope, names: ThreadRepository(scope).listed(tx, [names.thread]),
    "update": lambda tx, scope, names: ThreadRepository(scope).update(tx, names.thread, at=NOW, title="a"),
    "mark_read": lambda tx, scope, names: ThreadRepository(scope).mark_read(tx, names.thread, 1),
    "archive": lambda tx, scope, names: ThreadRepository(scope).archive(tx, names.thread, at=NOW),
    "delete": lambda tx, scope, names: ThreadRepository(scope).delete(tx, names.thread, at=NOW),
    "restore": lambda tx, scope, names: ThreadRepository(scope).restore(tx, names.thread, deleted_since=NOW),
}
MESSAGES: Mapping[str, Call] = {
    "create": lambda tx, scope, names: MessageRepository(scope).create(
        tx,
        names.message,
        thread_id=names.thread,
        run_id=names.run,
        seq=1,
        role=MessageRole.USER,
        parts=(TextPart(text="a"),),
        at=NOW,
        client_message_id=names.client_message,
        body_digest=b"",
    ),
    "get": lambda tx, scope, names: MessageRepository(scope).get(tx, names.message),
    "find_last": lambda tx, scope, names: MessageRepository(scope).find_last(tx, names.thread, names.run, after=0),
    "find_sent": lambda tx, scope, names: MessageRepository(scope).find_sent(tx, names.thread, names.client_message),
    "find_answer": lambda tx, scope, names: MessageRepository(scope).find_answer(tx, names.key),
    "keep_answer": lambda tx, scope, names: MessageRepository(scope).keep_answer(tx, names.key, b"", b"", at=NOW),
    "list": lambda tx, scope, names: MessageRepository(scope).list(tx, names.thread, PAGE),
    "before": lambda tx, scope, names: MessageRepository(scope).before(tx, names.thread, 100, 100),
    "search": lambda tx, scope, names: MessageRepository(scope).search(tx, MARK, 100),
}
RUNS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: RunRepository(scope).create(
        tx, replace(pending_run(scope, names.thread), ref=_run(scope, names)), is_admitted=True
    ),
    "find": lambda tx, scope, names: RunRepository(scope).find(tx, names.run),
    "get": lambda tx, scope, names: RunRepository(scope).get(tx, names.run),
    "list": lambda tx, scope, names: RunRepository(scope).list(tx, PAGE, thread_id=names.thread),
    "live": lambda tx, scope, names: RunRepository(scope).live(tx, names.thread),
    "live_states": lambda tx, scope, names: RunRepository(scope).live_states(tx),
    "move": lambda tx, scope, names: RunRepository(scope).move(tx, names.run, S.RUNNING, at=NOW, epoch=names.epoch),
    "fence": lambda tx, scope, names: RunRepository(scope).fence(tx, names.run, names.epoch),
    "admit": lambda tx, scope, names: RunRepository(scope).admit(tx, names.run, at=NOW),
    "next_to_admit": lambda tx, scope, names: RunRepository(scope).next_to_admit(tx, names.thread),
    "pause": lambda tx, scope, names: RunRepository(scope).pause(tx, names.run, names.epoch, at=NOW),
    "end": lambda tx, scope, names: RunRepository(scope).end(
        tx,
        names.run,
        S.FAILED,
        at=NOW,
        epoch=names.epoch,
        last_seq=1,
        usage=Usage(),
        failure=Failure(code="a", message="a"),
    ),
    "request_cancel": lambda tx, scope, names: RunRepository(scope).request_cancel(tx, names.run, reason="a", at=NOW),
    "end_execution": lambda tx, scope, names: RunRepository(scope).end_execution(
        tx, names.run, names.epoch, "failed", at=NOW
    ),
    "close": lambda tx, scope, names: RunRepository(scope).close(tx, names.run, last_seq=1, at=NOW),
}
STEPS: Mapping[str, Call] = {
    "put": lambda tx, scope, names: StepRepository(scope).put(tx, names.run, replace(marked_step(), name="a")),
    "list": lambda tx, scope, names: StepRepository(scope).list(tx, names.run),
}
EVENTS: Mapping[str, Call] = {
    "append": lambda tx, scope, names: EventRepository(scope).append(
        tx, names.thread, [EventDraft("a", str(names.run), b"}")], at=NOW
    ),
    "read": lambda tx, scope, names: EventRepository(scope).read(tx, names.thread, after=0, limit=100),
    "read_run": lambda tx, scope, names: EventRepository(scope).read_run(
        tx, names.thread, names.run, after=0, until=100, limit=100
    ),
    "bounds": lambda tx, scope, names: EventRepository(scope).bounds(tx, names.thread),
    "find_end": lambda tx, scope, names: EventRepository(scope).find_end(tx, names.thread, names.run, after=0),
    "mend_head": lambda tx, scope, names: EventRepository(scope).mend_head(tx, names.thread),
}
APPROVALS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: ApprovalRepository(scope).create(
        tx,
        replace(
            open_approval(pending_run(scope, names.thread)),
            id=names.approval,
            run_id=names.run,
            tool_call_id=names.tool_call,
        ),
    ),
    "get": lambda tx, scope, names: ApprovalRepository(scope).get(tx, names.approval),
    "list": lambda tx, scope, names: ApprovalRepository(scope).list(tx, PAGE, pending_only=False),
    "count_pending": lambda tx, scope, names: ApprovalRepository(scope).count_pending(tx),
    "open_of_thread": lambda tx, scope, names: ApprovalRepository(scope).open_of_thread(tx, names.thread),
    "of_call": lambda tx, scope, names: ApprovalRepository(scope).of_call(tx, names.run, names.tool_call),
    "delegate": lambda tx, scope, names: ApprovalRepository(scope).delegate(tx, names.approval, scope.user_id),
    "resolve": lambda tx, scope, names: ApprovalRepository(scope).resolve(
        tx, names.approval, ApprovalState.APPROVED, by=str(scope.user_id), edited={}, at=NOW
    ),
}
USAGE: Mapping[str, Call] = {
    "record": lambda tx, scope, names: UsageRepository(scope).record(
        tx, names.run, agent="a", model="m", step=1, usage=Usage(), at=NOW
    ),
    "summary": lambda tx, scope, names: UsageRepository(scope).summary(tx, since=NOW),
    "days": lambda tx, scope, names: UsageRepository(scope).days(tx, since=NOW, until=END, limit=100),
}
TENANT_USAGE: Mapping[str, Call] = {
    "days": lambda tx, scope, names: TenantUsageRepository(scope).days(
        tx, UsageKey.USER, since=NOW, until=END, limit=100
    ),
}
SESSIONS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: SessionRepository(scope).create(
        tx, names.session, user_agent="a", address="a", at=NOW, expires_at=END
    ),
    "list": lambda tx, scope, names: SessionRepository(scope).list(tx, at=NOW),
    "seen": lambda tx, scope, names: SessionRepository(scope).seen(tx, at=NOW),
    "touch": lambda tx, scope, names: SessionRepository(scope).touch(tx, names.session, at=NOW),
    "revoke": lambda tx, scope, names: SessionRepository(scope).revoke(tx, names.session, at=NOW),
    "revoke_all": lambda tx, scope, names: SessionRepository(scope).revoke_all(tx, at=NOW),
    "find_standing": lambda tx, scope, names: SessionRepository(scope).find_standing(tx, names.session),
}
# A digest is that of a secret which the server itself drew: nobody brings another's to be stored.
REFRESH_TOKENS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: family_of(scope, names).create(
        tx, Names.fresh().digest, generation=1, at=NOW, expires_at=END
    ),
    "use": lambda tx, scope, names: family_of(scope, names).use(tx, names.digest, at=NOW),
    "head": lambda tx, scope, names: family_of(scope, names).head(tx),
}
TICKETS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: TicketRepository(replace(scope, session_id=names.session)).create(
        tx, Names.fresh().digest, at=NOW, expires_at=END
    ),
}
USERS: Mapping[str, Call] = {
    "get": lambda tx, scope, names: UserRepository(scope).get(tx),
    "may_sign_in": lambda tx, scope, names: UserRepository(scope).may_sign_in(tx),
    "list_grants": lambda tx, scope, names: UserRepository(scope).list_grants(tx),
    "find_password_hash": lambda tx, scope, names: UserRepository(scope).find_password_hash(tx),
    "replace_password_hash": lambda tx, scope, names: UserRepository(scope).replace_password_hash(
        tx, found=MARK, wanted="a", at=NOW
    ),
}
MEMBERS: Mapping[str, Call] = {
    "create": lambda tx, scope, names: MemberRepository(scope).create(
        tx, email=names.email, name="a", role=Role.MEMBER, password_hash=DIGEST, at=NOW
    ),
    "set_password_hash": lambda tx, scope, names: MemberRepository(scope).set_password_hash(
        tx, names.user, "a", at=NOW
    ),
    "get": lambda tx, scope, names: MemberRepository(scope).get(tx, names.user),
    "get_by_email": lambda tx, scope, names: MemberRepository(scope).get_by_email(tx, names.email),
    "list": lambda tx, scope, names: MemberRepository(scope).list(tx, PAGE),
    "set_status": lambda tx, scope, names: MemberRepository(scope).set_status(tx, names.user, "disabled", at=NOW),
    "set_role": lambda tx, scope, names: MemberRepository(scope).set_role(tx, names.user, Role.MEMBER, at=NOW),
    "set_name": lambda tx, scope, names: MemberRepository(scope).set_name(tx, names.user, "a", at=NOW),
    "has_admin_besides": lambda tx, scope, names: MemberRepository(scope).has_admin_besides(tx, scope.user_id),
    "grant": lambda tx, scope, names: MemberRepository(scope).grant(tx, names.user, "a", at=NOW),
    "withdraw": lambda tx, scope, names: MemberRepository(scope).withdraw(tx, names.user, MARK),
}
TENANTS: Mapping[str, Call] = {"get": lambda tx, scope, names: TenantRepository(scope).get(tx)}
AUDIT: Mapping[str, Call] = {
    "append": lambda tx, scope, names: AuditRepository(scope).append(tx, "a", target=str(names.user), at=NOW),
    "list": lambda tx, scope, names: AuditRepository(scope).list(tx, PAGE),
}
CHECKUPS: Mapping[str, Call] = {
    "append": lambda tx, scope, names: CheckupRepository(scope).append(tx, is_ok=True, users=0, checks=[], at=NOW),
    "list": lambda tx, scope, names: CheckupRepository(scope).list(tx, limit=100),
}
TENANT_RUNS: Mapping[str, Call] = {
    "list": lambda tx, scope, names: TenantRunRepository(scope).list(tx, PAGE),
    "count_live": lambda tx, scope, names: TenantRunRepository(scope).count_live(tx),
    "get": lambda tx, scope, names: TenantRunRepository(scope).get(tx, names.run),
    "oldest_pending_at": lambda tx, scope, names: TenantRunRepository(scope).oldest_pending_at(tx),
}
SPAN = Span(since=NOW, until=END, piece=END - NOW)
RUN_FIGURES: Mapping[str, Call] = {
    "accepted": lambda tx, scope, names: RunFigureRepository(scope).accepted(tx, SPAN),
    "waits": lambda tx, scope, names: RunFigureRepository(scope).waits(tx, SPAN),
    "ended": lambda tx, scope, names: RunFigureRepository(scope).ended(tx, SPAN),
    "durations": lambda tx, scope, names: RunFigureRepository(scope).durations(tx, SPAN),
    "tokens": lambda tx, scope, names: RunFigureRepository(scope).tokens(tx, SPAN),
    "failures": lambda tx, scope, names: RunFigureRepository(scope).failures(tx, since=NOW, limit=100),
}
RUN_STORIES: Mapping[str, Call] = {
    "executions": lambda tx, scope, names: RunStoryRepository(scope).executions(tx, _member_run(scope, names)),
    "steps": lambda tx, scope, names: RunStoryRepository(scope).steps(tx, _member_run(scope, names)),
    "unknown_tools": lambda tx, scope, names: RunStoryRepository(scope).unknown_tools(tx, _member_run(scope, names)),
    "approvals": lambda tx, scope, names: RunStoryRepository(scope).approvals(tx, _member_run(scope, names)),
    "events": lambda tx, scope, names: RunStoryRepository(scope).events(
        tx, _member_run(scope, names), after=0, until=100, limit=100
    ),
    "log_begins_at": lambda tx, scope, names: RunStoryRepository(scope).log_begins_at(tx, _member_run(scope, names)),
}

FINDINGS: Mapping[str, Call] = {
    "of_live": lambda tx, scope, names: FindingRepository(scope).of_live(tx, before=END, limit=100),
    "of_ended": lambda tx, scope, names: FindingRepository(scope).of_ended(
        tx, RunPiece(RunMark(0, ""), LAST_RUN), limit=100
    ),
    "of_threads": lambda tx, scope, names: FindingRepository(scope).of_threads(tx, "", LAST_USER, since=NOW, limit=100),
    "find": lambda tx, scope, names: FindingRepository(scope).find(
        tx, FindingRef(kind=FindingKind.RUN_LOST, user_id=names.user, target=names.run), before=END
    ),
    "next_run": lambda tx, scope, names: FindingRepository(scope).next_run(tx, RunMark(0, "")),
    "next_user": lambda tx, scope, names: FindingRepository(scope).next_user(tx, ""),
}

BRANCHES: Mapping[str, Call] = {
    "create": lambda tx, scope, names: BranchRepository(scope).create(
        tx, ThreadId.new(), _message(names), title="a", at=NOW
    ),
    "list": lambda tx, scope, names: BranchRepository(scope).list(tx, names.thread),
}

STORIES: Mapping[str, Call] = {
    "said": lambda tx, scope, names: StoryRepository(scope).said(tx, names.thread, after=0, limit=100),
    "ended": lambda tx, scope, names: StoryRepository(scope).ended(tx, names.thread, after=0, until=100, limit=100),
    "called": lambda tx, scope, names: StoryRepository(scope).called(tx, names.thread, after=0, until=100, limit=100),
}
SEARCH: Mapping[str, Call] = {"search": lambda tx, scope, names: SearchRepository(scope).search(tx, MARK, 100)}

CALLS: Mapping[str, Mapping[str, Call]] = {
    "ApprovalRepository": APPROVALS,
    "AuditRepository": AUDIT,
    "BranchRepository": BRANCHES,
    "CheckupRepository": CHECKUPS,
    "EventRepository": EVENTS,
    "FindingRepository": FINDINGS,
    "MemberRepository": MEMBERS,
    "MessageRepository": MESSAGES,
    "RefreshTokenRepository": REFRESH_TOKENS,
    "RunFigureRepository": RUN_FIGURES,
    "RunRepository": RUNS,
    "SearchRepository": SEARCH,
    "RunStoryRepository": RUN_STORIES,
    "SessionRepository": SESSIONS,
    "StepRepository": STEPS,
    "StoryRepository": STORIES,
    "TenantRepository": TENANTS,
    "TenantRunRepository": TENANT_RUNS,
    "TenantUsageRepository": TENANT_USAGE,
    "ThreadRepository": THREADS,
    "TicketRepository": TICKETS,
    "UsageRepository": USAGE,
    "UserRepository": USERS,
}


class UndoneError(Exception):
    """Each call is looked at inside its transaction, and then undone."""


async def _rows_of(tx: Transaction, tenant_id: TenantId) -> dict[str, set[AnyRow]]:
    return {table: await rows_of_tenant(tx, table, tenant_id) for table in table_names()}


async def _answer(tx: Transaction, call: Call, scope: Scope, names: Names) -> str:
    """What the caller is told, without the names that the caller brought and those that were drawn meanwhile."""
    try:
        told = repr(await call(tx, scope, names))
    except ClocheError as error:
        told = f"{type(error).__name__} {error.code} {error.retryable} {error.message} {error.details}"
    except AssertionError as error:
        told = f"refused: {error}"
    for field in fields(names):
        if field.name != "epoch":
            told = told.replace(str(getattr(names, field.name)), "<id>")
    return re.sub(r"(?:[a-z0-9]+_)*[0-9a-hjkmnp-tv-z]{26}", "<id>", told)


async def _tried(
    deployment: Deployment, call: Call, caller: Scope, names: Names, owner: Scope
) -> tuple[str, list[str]]:
    """What the caller is told, and the tables in which a row of the owner's tenant is no more as it was."""
    outcome: list[tuple[str, list[str]]] = []

    async def work(tx: Transaction) -> None:
        outcome.clear()
        before = await _rows_of(tx, owner.tenant_id)
        told = await _answer(tx, call, caller, names)
        after = await _rows_of(tx, owner.tenant_id)
        own = str(caller.user_id) if caller.tenant_id == owner.tenant_id else None
        outcome.append((told, [table for table in before if not _is_untouched(own, before[table], after[table])]))
        raise UndoneError

    try:
        await deployment.other.write(work)
    except UndoneError:
        return outcome[0]
    except deployment.capabilities.key_error:
        return "taken", []
    raise AssertionError("the transaction was undone")


def _is_untouched(own: str | None, before: set[AnyRow], after: set[AnyRow]) -> bool:
    """Whether all rows are there that are not the caller's own, and no new ones that tell of the owner."""
    kept, found = [{row for row in rows if own not in row[:3]} if own else rows for rows in (before, after)]
    return kept <= found and not any(MARK in repr(row) for row in found - kept)


class TestIsolation:
    """A stranger who knows every id of a person learns nothing and changes nothing."""

    def test_every_method_of_every_repository_is_tried(self) -> None:
        """A repository or a method that is added without a line in ``CALLS`` fails here."""
        repositories = {repository.__name__: repository for repository in scoped_repositories()}
        found = {f"{name}.{method}" for name, kind in repositories.items() for method in public_methods(kind)}
        tried = {f"{name}.{method}" for name, calls in CALLS.items() for method in calls}

        assert found - tried == set()
        assert tried - found == set()
        assert set(repositories) >= OF_THE_TENANT

    async def test_the_owner_has_something_in_every_table(self, deployment: Deployment) -> None:
        """Or there would be nothing to hide: a table that is added without a row here fails."""
        owner, _ = await populated_owner(deployment.node)

        found = await deployment.other.read(lambda tx: _rows_of(tx, owner.tenant_id))

        assert {table for table, kept in found.items() if not kept} == WITHOUT_A_REPOSITORY

    @pytest.mark.parametrize("repository", sorted(CALLS))
    async def test_the_owner_is_served(self, deployment: Deployment, repository: str) -> None:
        """The calls are such that they show or change what the owner has, or hide nothing from anybody."""
        owner, names = await populated_owner(deployment.node)
        stranger = await newcomer(deployment.node)

        for method, call in CALLS[repository].items():
            served, _ = await _tried(deployment, call, owner, names, stranger)
            assert (repository, method, served.startswith("NotFoundError")) == (repository, method, False)

    @pytest.mark.parametrize(
        ("repository", "stranger"),
        [
            (repository, stranger)
            for repository in sorted(CALLS)
            for stranger in (["foreigner"] if repository in OF_THE_TENANT else sorted(STRANGERS))
        ],
    )
    async def test_another_s_object_is_one_that_does_not_exist(
        self, deployment: Deployment, repository: str, stranger: str
    ) -> None:
        """The same value or the same error, and what one alone in the world is told; the owner's rows stay."""
        owner, names = await populated_owner(deployment.node)
        caller = await STRANGERS[stranger](deployment.node, owner)
        hermit = await newcomer(deployment.node, role=Role.ADMIN)

        for method, call in CALLS[repository].items():
            told, changed = await _tried(deployment, call, caller, names, owner)
            unknown, _ = await _tried(deployment, call, caller, Names.fresh(), owner)
            alone, _ = await _tried(deployment, call, hermit, Names.fresh(), owner)
            assert (method, told) == (method, unknown)
            assert (method, told) == (method, alone)
            assert (method, MARK in told, changed) == (method, False, [])
