"""An owner who has something everywhere, and strangers who know what it is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from cloche.domain.messages import MessageRole, TextPart
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope
from cloche.domain.steps import Step, StepKind, StepState
from cloche.domain.usage import Usage
from cloche.ids import ApprovalId, MessageId, RunId, SessionId, ThreadId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.audit import AuditRepository
from cloche.storage.checkups import CheckupRepository, KeptCheck
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft
from cloche.storage.messages import MessageRepository
from cloche.storage.runs import RunRepository
from cloche.storage.sessions import RefreshTokenRepository, SessionRepository
from cloche.storage.steps import StepRepository
from cloche.storage.tickets import TicketRepository
from cloche.storage.usage import UsageRepository
from cloche.storage.users import MemberRepository
from cloche.testing.contracts.population import (
    NOW,
    SECOND,
    add_thread,
    append_events,
    claim,
    newcomer,
    open_approval,
    pending_run,
)

MARK = "orchid"  # in everything that the owner wrote, and in nothing else
END = NOW + 600 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a caller may name: the ids and keys of things."""

    thread: ThreadId
    message: MessageId
    run: RunId
    approval: ApprovalId
    session: SessionId
    user: UserId
    tool_call: str
    client_message: str
    key: str
    email: str
    digest: bytes
    epoch: int = 1

    @classmethod
    def fresh(cls) -> Names:
        """Names of things that do not exist."""
        unknown = str(MessageId.new())
        return cls(
            thread=ThreadId.new(),
            message=MessageId.new(),
            run=RunId.new(),
            approval=ApprovalId.new(),
            session=SessionId.new(),
            user=UserId.new(),
            tool_call=unknown,
            client_message=unknown,
            key=unknown,
            email=f"{unknown}@example.org",
            digest=unknown.encode(),
        )


def marked_step(epoch: int = 1) -> Step:
    """A step of the owner's run."""
    return Step(
        index=1,
        kind=StepKind.TOOL,
        name=MARK,
        input_digest=b"",
        state=StepState.DONE,
        result=MARK.encode(),
        reference=MARK,
        epoch=epoch,
        started_at=NOW,
        ended_at=NOW,
    )


def family_of(scope: Scope, names: Names) -> RefreshTokenRepository:
    """The refresh tokens of the session that is named."""
    return RefreshTokenRepository(replace(scope, session_id=names.session))


async def populated_owner(database: Database) -> tuple[Scope, Names]:
    """An administrator who has a row in every table, with the mark in each, and the names of these rows."""
    scope = await newcomer(database, role=Role.ADMIN, name=MARK)
    thread_id = await add_thread(database, scope, title=MARK)
    run = pending_run(scope, thread_id)
    approval = open_approval(run, tool_call_id=MARK)
    names = Names(
        thread=thread_id,
        message=run.message_id,
        run=run.id,
        approval=approval.id,
        session=SessionId.new(),
        user=scope.user_id,
        tool_call=MARK,
        client_message=MARK,
        key=MARK,
        email=f"{MARK}.{scope.user_id}@example.org",
        digest=f"{MARK}.{scope.user_id}".encode(),
    )
    await append_events(database, scope, thread_id, [EventDraft(MARK, str(run.id), f'"text":"{MARK}"}}'.encode())])

    async def work(tx: Transaction) -> None:
        await RunRepository(scope).create(tx, replace(run, agent=MARK, model=MARK), is_admitted=True)
        await MessageRepository(scope).create(
            tx,
            run.message_id,
            thread_id=thread_id,
            run_id=run.id,
            seq=1,
            role=MessageRole.USER,
            parts=(TextPart(text=MARK),),
            at=NOW,
            client_message_id=MARK,
            body_digest=MARK.encode(),
        )
        await MessageRepository(scope).keep_answer(tx, MARK, MARK.encode(), MARK.encode(), at=NOW)
        await StepRepository(scope).put(tx, run.id, marked_step())
        await ApprovalRepository(scope).create(
            tx, replace(approval, tool=MARK, question=MARK, arguments={"a": MARK}, schema={"a": MARK})
        )
        await UsageRepository(scope).record(
            tx, run.id, agent=MARK, model=MARK, step=1, usage=Usage(input_tokens=1), at=NOW
        )
        await SessionRepository(scope).create(tx, names.session, user_agent=MARK, address=MARK, at=NOW, expires_at=END)
        await family_of(scope, names).create(tx, names.digest, generation=1, at=NOW, expires_at=END)
        await TicketRepository(scope).create(tx, names.digest, at=NOW, expires_at=END)
        await MemberRepository(scope).grant(tx, scope.user_id, MARK, at=NOW)
        await MemberRepository(scope).set_password_hash(tx, scope.user_id, MARK, at=NOW)
        await AuditRepository(scope).append(tx, MARK, target=MARK, at=NOW, detail={"a": MARK})
        check = KeptCheck(name=MARK, ok=False, detail=MARK)
        await CheckupRepository(scope).append(tx, is_ok=False, users=0, checks=[check], at=NOW)
        await tx.execute(
            "UPDATE users SET email = ? WHERE tenant_id = ? AND id = ?",
            names.email,
            str(scope.tenant_id),
            str(scope.user_id),
        )

    await database.write(work)
    await claim(database, run.ref)
    return scope, names


async def colleague_of(database: Database, owner: Scope) -> Scope:
    """Another user of the owner's tenant."""
    return await newcomer(database, tenant_id=owner.tenant_id, role=Role.ADMIN)


async def foreigner_to(database: Database, owner: Scope) -> Scope:
    """A user of another tenant."""
    stranger = await newcomer(database, role=Role.ADMIN)
    assert stranger.tenant_id != owner.tenant_id
    return stranger


async def namesake_of(database: Database, owner: Scope) -> Scope:
    """A user of another tenant who has the very id of the owner there."""
    stranger = await newcomer(database, role=Role.ADMIN)

    async def work(tx: Transaction) -> None:
        for sql in (
            "UPDATE users SET id = ? WHERE tenant_id = ? AND id = ?",
            "UPDATE identities SET user_id = ? WHERE tenant_id = ? AND user_id = ?",
        ):
            await tx.execute(sql, str(owner.user_id), str(stranger.tenant_id), str(stranger.user_id))

    await database.write(work)
    return replace(stranger, user_id=owner.user_id)


STRANGERS: Mapping[str, Callable[[Database, Scope], Awaitable[Scope]]] = {
    "colleague": colleague_of,
    "foreigner": foreigner_to,
    "namesake": namesake_of,
}
