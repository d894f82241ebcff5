"""Races planted into the core, each of which the schedules must find: the proof that they look at something."""

# A plant takes the place of a method, whatever that is called with.
# ruff: noqa: ANN401, SLF001

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from cloche.domain.approvals import ApprovalState
from cloche.domain.runs import ExecutionState, RunRef
from cloche.errors import AlreadyDecidedError, StorageError
from cloche.events.log import EventLog
from cloche.events.subscription import Opening, Subscription
from cloche.execution.decisions import Decisions
from cloche.execution.endings import RunEndings
from cloche.execution.executor import Executor
from cloche.execution.writer import RunWriter
from cloche.storage.approvals import ApprovalRepository
from cloche.storage.events import EventRepository
from cloche.storage.runs import RunRepository
from cloche.storage.steps import StepRepository

Patch = tuple[type, str, Any]


def _unfenced_writer() -> list[Patch]:
    """What an execution writes is not held to its epoch."""

    async def write(self: Any, tx: Any, entries: Any) -> None:
        await self.append(tx, await self.prepare(tx, entries))

    return [(RunWriter, "_write", write)]


def _late_admission() -> list[Patch]:
    """The thread's next run is admitted after the transaction in which the one before it ended."""
    making, ending = Executor.__init__, Executor._end

    class LateEndings(RunEndings):
        async def admit_next(self, tx: Any, scope: Any, run: Any) -> RunRef | None:
            return None

    def make(self: Any, **parts: Any) -> None:
        making(self, **parts)
        self._endings = LateEndings(parts["log"], parts["clock"])

    async def end(self: Any, run: Any, work: Any, **options: Any) -> None:
        await ending(self, run, work, **options)
        scope = run.ref  # tenant and user are all that is asked of it
        following = None
        with suppress(StorageError):
            following = await self._database.write(lambda tx: RunEndings.admit_next(self._endings, tx, scope, run))
        if following is not None:
            self._bus.offer(following)

    return [(Executor, "__init__", make), (Executor, "_end", end)]


def _early_publication() -> list[Patch]:
    """Followers hear of events inside the transaction, before it is kept."""

    async def append(
        self: Any, tx: Any, scope: Any, thread_id: Any, drafts: Any, *, at: Any, moves_thread: bool = True, own: int = 0
    ) -> Any:
        events = await EventRepository(scope).append(tx, thread_id, drafts, at=at, moves_thread=moves_thread, own=own)
        self._hub.publish((scope.tenant_id, thread_id), events)
        return events

    return [(EventLog, "append", append)]


def _late_subscription() -> list[Patch]:
    """A follower reads where the log stands, and only then asks to be told of what comes."""

    async def subscribe(
        self: Any, scope: Any, thread_id: Any, *, after: Any = None, epoch: Any = None, on_moved: Any = None
    ) -> Any:
        bounds = await self._database.read(lambda tx: EventRepository(scope).bounds(tx, thread_id))
        subscription = Subscription(self._database, self._hub, scope, thread_id, on_moved)
        subscription.start_at(after or 0, bounds.head_seq)
        opening = Opening(
            thread_id=thread_id,
            recovered=True,
            from_seq=(after or 0) + 1,
            head_seq=bounds.head_seq,
            epoch=bounds.log_epoch,
        )
        return subscription, opening, None

    return [(EventLog, "subscribe", subscribe)]


def _loose_decision() -> list[Patch]:
    """Whether an approval is open is looked up in one transaction, and the decision written in the next."""
    deciding = Decisions.decide

    async def decide(self: Any, scope: Any, approval_id: Any, decision: Any, *, arguments: Any = None) -> Any:
        found = await self._database.read(lambda tx: ApprovalRepository(scope).get(tx, approval_id))
        if found.state is not ApprovalState.PENDING:
            raise AlreadyDecidedError("it was decided before")
        return await deciding(self, scope, approval_id, decision, arguments=arguments)

    async def resolve(self: Any, tx: Any, approval_id: Any, state: Any, *, by: Any, edited: Any, at: Any) -> bool:
        statement = "UPDATE approvals SET state = ?, decided_by = ? WHERE tenant_id = ? AND user_id = ? AND id = ?"
        return bool(await tx.execute(statement, str(state), by, self._tenant, self._user, str(approval_id)))

    return [(Decisions, "decide", decide), (ApprovalRepository, "resolve", resolve)]


def _forgetful_journal() -> list[Patch]:
    """The next execution of a run does not read what the one before it did."""

    async def list_steps(self: Any, tx: Any, run_id: Any) -> list[Any]:
        return []

    return [(StepRepository, "list", list_steps)]


def _missed_cancel() -> list[Patch]:
    """What a person cancelled is completed when the agent was done first."""

    async def fence(self: Any, tx: Any, run_id: Any, epoch: int) -> ExecutionState:
        state = await fencing(self, tx, run_id, epoch)
        if state is not ExecutionState.CANCELLING:
            return state
        await tx.execute("UPDATE runs SET state = 'running' WHERE id = ?", str(run_id))
        return ExecutionState.RUNNING

    fencing = RunRepository.fence
    return [(RunRepository, "fence", fence)]


PLANTS: dict[str, Callable[[], list[Patch]]] = {
    "unfenced-writer": _unfenced_writer,
    "late-admission": _late_admission,
    "early-publication": _early_publication,
    "late-subscription": _late_subscription,
    "loose-decision": _loose_decision,
    "forgetful-journal": _forgetful_journal,
    "missed-cancel": _missed_cancel,
}


@contextmanager
def planted(name: str | None) -> Generator[None]:
    """The core has this fault inside the block."""
    patches = [] if name is None else PLANTS[name]()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in patches]
    for owner, attribute, value in patches:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)
