"""Deciding an approval: once, by the user whose run waits or by one to whom it was given; and then the run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.approvals import Approval, ApprovalDecision, ApprovalState
from cloche.domain.events import ApprovalDelegated, ApprovalResolved, EventData
from cloche.domain.permissions import Permission, decide, permissions_of
from cloche.domain.runs import ExecutionState
from cloche.domain.schemas import check_fits
from cloche.domain.scope import Scope
from cloche.errors import AlreadyDecidedError, InvalidInputError, NotFoundError, PermissionDeniedError
from cloche.events.codec import draft
from cloche.events.log import EventLog
from cloche.ids import ApprovalId, UserId
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.audit import AuditRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.users import MemberRepository, User, UserRepository

_STATES = {ApprovalDecision.APPROVE: ApprovalState.APPROVED, ApprovalDecision.DENY: ApprovalState.DENIED}


class Decisions:
    """The decisions of persons."""

    def __init__(self, *, database: Database, log: EventLog, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._bus = bus
        self._clock = clock

    async def decide(
        self,
        scope: Scope,
        approval_id: ApprovalId,
        decision: ApprovalDecision,
        *,
        arguments: Mapping[str, object] | None = None,
    ) -> Approval:
        """The approval has this outcome, and its run is offered to a worker again.

        The run goes on as its own user's, with that user's permissions, whoever decided.

        Guarantees: of several deciders the first one counts; decision, event and the run's move are one transaction.

        Raises:
            PermissionDeniedError: this principal may not decide.
            NotFoundError: this user has no such approval, and was given none.
            AlreadyDecidedError: it was decided before; ``details`` holds that decision.
            InvalidInputError: arguments were edited together with a no, or do not fit the approval's schema; it stays open.
        """
        scope.require(Permission.APPROVALS_DECIDE)
        if arguments is not None:
            await self._check_edited(scope, approval_id, decision, arguments)

        async def work(tx: Transaction) -> Approval:
            now = self._clock.now()
            approval = await ApprovalRepository(scope).get(tx, approval_id)
            if approval.user_id != scope.user_id:
                await _require_standing(tx, scope)
                told = {"decision": decision.value, "for": str(approval.user_id)}
                await AuditRepository(scope).append(tx, "approval.decided", target=approval_id, at=now, detail=told)
            owner = _owner_of(approval, scope)
            approvals, runs = ApprovalRepository(owner), RunRepository(owner)
            won = approval.expires_at > now and await approvals.resolve(
                tx, approval_id, _STATES[decision], by=scope.user_id, edited=arguments, at=now
            )
            if not won:
                raise _already(await approvals.get(tx, approval_id))
            event = ApprovalResolved(
                approval_id=approval_id, decision=decision.value, by=scope.user_id, arguments=arguments
            )
            self._log.note_approvals(tx, owner.tenant_id, approval.delegate_id)
            await self._tell(tx, owner, approval, event, now, is_own=approval.user_id == scope.user_id)
            run = await runs.get(tx, approval.run_id)
            if run.state is ExecutionState.WAITING:
                await runs.move(tx, run.id, ExecutionState.PENDING, at=now, epoch=None)
            tx.after_commit(lambda: self._bus.offer(run.ref))
            return await approvals.get(tx, approval_id)

        return await self._database.write(work)

    async def delegate(
        self, scope: Scope, approval_id: ApprovalId, *, user_id: UserId | None = None, email: str | None = None
    ) -> Approval:
        """Another user of the tenant, named by id or by e-mail address, may decide the open approval, too.

        Whoever could before, but for its own user, cannot any more. Giving it to the same user again changes nothing.

        Raises:
            PermissionDeniedError: this principal may not decide, or was given the approval and cannot pass it on.
            NotFoundError: this user has no such approval.
            AlreadyDecidedError: there is nothing left to decide.
            InvalidInputError: there is no such user in the tenant, or that user is disabled or may not decide (one answer
                for all of these), or it is the caller.
        """
        scope.require(Permission.APPROVALS_DECIDE)

        async def work(tx: Transaction) -> Approval:
            approval = await _own(tx, scope, approval_id)
            return await self._give(tx, scope, approval, await _delegate_named(tx, scope, user_id=user_id, email=email))

        return await self._database.write(work)

    async def take_back(self, scope: Scope, approval_id: ApprovalId) -> Approval:
        """Nobody but the user whose run waits may decide the open approval; nobody else could, that stays so.

        Raises:
            PermissionDeniedError: this principal may not decide, or was given the approval.
            NotFoundError: this user has no such approval.
            AlreadyDecidedError: there is nothing left to decide.
        """
        scope.require(Permission.APPROVALS_DECIDE)

        async def work(tx: Transaction) -> Approval:
            return await self._give(tx, scope, await _own(tx, scope, approval_id), None)

        return await self._database.write(work)

    async def _check_edited(
        self, scope: Scope, approval_id: ApprovalId, decision: ApprovalDecision, arguments: Mapping[str, object]
    ) -> None:
        if decision is ApprovalDecision.DENY:
            raise InvalidInputError("a denied call has no arguments", details={"place": "$.arguments"})

        # Outside of the transaction that decides, which others wait for. What was asked never changes.
        approval = await self._database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))
        if _is_open(approval, self._clock.now()):
            check_fits(arguments, approval.schema, place="$.arguments")

    async def _give(self, tx: Transaction, scope: Scope, approval: Approval, to: User | None) -> Approval:
        approvals, now = ApprovalRepository(scope), self._clock.now()
        to_id = None if to is None else to.id
        is_same = to_id == approval.delegate_id
        if not _is_open(approval, now) or not (is_same or await approvals.delegate(tx, approval.id, to_id)):
            raise _already(await approvals.get(tx, approval.id))
        if is_same:
            return approval
        event = ApprovalDelegated(
            approval_id=approval.id, by=scope.user_id, to=to_id, to_name=None if to is None else to.name
        )
        await self._tell(tx, scope, approval, event, now, is_own=True)
        for delegate_id in (approval.delegate_id, to_id):
            self._log.note_approvals(tx, scope.tenant_id, delegate_id)
        action, detail = "approval.delegated", {"to": str(to_id)}
        if to is None:
            action, detail = "approval.taken_back", {"from": str(approval.delegate_id)}
        await AuditRepository(scope).append(tx, action, target=approval.id, at=now, detail=detail)
        return await approvals.get(tx, approval.id)

    async def _tell(
        self, tx: Transaction, owner: Scope, approval: Approval, event: EventData, now: datetime, *, is_own: bool
    ) -> None:
        drafted = draft(event, thread_id=approval.thread_id, run_id=approval.run_id, at=now)
        await self._log.append(tx, owner, approval.thread_id, [drafted], at=now, own=int(is_own))


def _is_open(approval: Approval, now: datetime) -> bool:
    return approval.state is ApprovalState.PENDING and approval.expires_at > now


def _already(approval: Approval) -> AlreadyDecidedError:
    told = "the approval expired" if approval.state is ApprovalState.PENDING else f"the approval is {approval.state}"
    return AlreadyDecidedError(told, details={"state": str(approval.state), "decided_by": approval.decided_by})


async def _own(tx: Transaction, scope: Scope, approval_id: ApprovalId) -> Approval:
    """The approval of the user's own run.

    Raises:
        NotFoundError: this user has no such approval.
        PermissionDeniedError: it was given to the user.
    """
    approval = await ApprovalRepository(scope).get(tx, approval_id)
    if approval.user_id != scope.user_id:
        raise PermissionDeniedError("an approval is given to others by the user whose run waits")
    return approval


async def _delegate_named(tx: Transaction, scope: Scope, *, user_id: UserId | None, email: str | None) -> User:
    """The other user of the tenant, who may decide.

    Raises:
        InvalidInputError: there is none; or it is the scope's own user.
    """
    assert (user_id is None) != (email is None), "a delegate is named in one way"
    place = "$.user_id" if email is None else "$.email"
    members = MemberRepository(scope)
    try:
        found = await (members.get(tx, user_id) if user_id is not None else members.get_by_email(tx, str(email)))
        await _require_standing(tx, _scope_like(scope, found.id))
    except (NotFoundError, PermissionDeniedError):
        raise InvalidInputError("nobody of this name in the tenant can decide", details={"place": place}) from None
    if found.id == scope.user_id:
        raise InvalidInputError("this is your own approval: name somebody else", details={"place": place})
    return found


async def _require_standing(tx: Transaction, scope: Scope) -> None:
    """Return when the rows of this transaction say that the scope's user may decide for others.

    Raises:
        PermissionDeniedError: the user is disabled, or may not decide.
    """
    users = UserRepository(scope)
    if not await users.may_sign_in(tx):
        raise PermissionDeniedError("the user is disabled")
    granted = permissions_of((await users.get(tx)).role, await users.list_grants(tx))
    decision = decide(granted, Permission.APPROVALS_DECIDE)
    if not decision.allowed:
        raise PermissionDeniedError(decision.reason, details={"permission": str(Permission.APPROVALS_DECIDE)})


def _owner_of(approval: Approval, scope: Scope) -> Scope:
    """Whose run waits: the caller's tenant is that of the row."""
    return scope if approval.user_id == scope.user_id else _scope_like(scope, approval.user_id)


def _scope_like(scope: Scope, user_id: UserId) -> Scope:
    return Scope(tenant_id=scope.tenant_id, user_id=user_id)
