"""The event log: append in the caller's transaction, follow from a position."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime

from cloche.domain.events import (
    TERMINAL_TYPES,
    AgentStarted,
    ApprovalDelegated,
    ApprovalRequested,
    ApprovalResolved,
    MessageCreated,
    RunQueued,
    ThreadUpdated,
)
from cloche.domain.scope import Scope
from cloche.errors import PositionLostError
from cloche.events.feed import Feed
from cloche.events.hub import Hub
from cloche.events.snapshot import Snapshot, read_snapshot
from cloche.events.subscription import Opening, Subscription
from cloche.ids import RunId, TenantId, ThreadId, UserId
from cloche.storage.database import Database, Transaction
from cloche.storage.events import EventDraft, EventRepository, LogBounds, StoredEvent
from cloche.storage.runs import RunRepository

READ_LIMIT = 500
APPROVAL_TYPES = frozenset(event.type for event in (ApprovalRequested, ApprovalDelegated, ApprovalResolved))
LISTED_TYPES = (
    frozenset(event.type for event in (MessageCreated, RunQueued, AgentStarted, ThreadUpdated))
    | APPROVAL_TYPES
    | TERMINAL_TYPES
)
"""Events that change a thread as a list shows it, whoever has read how far."""


class EventLog:
    """The threads' logs."""

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub

    async def append(
        self,
        tx: Transaction,
        scope: Scope,
        thread_id: ThreadId,
        drafts: Sequence[EventDraft],
        *,
        at: datetime,
        moves_thread: bool = True,
        own: int = 0,
    ) -> list[StoredEvent]:
        """The events are the next of the thread, in the caller's transaction; followers hear once it is durable.

        With ``moves_thread`` the thread is among the last changed of its user. The first ``own`` events are written by
        that user: they do not make a thread unread that was read.

        Guarantees: numbers without a gap; an event is seen by nobody before it is durable.

        Raises:
            NotFoundError: this user has no such thread.
        """
        events = await EventRepository(scope).append(tx, thread_id, drafts, at=at, moves_thread=moves_thread, own=own)
        tx.after_commit(lambda: self._publish(scope, thread_id, drafts, events))
        return events

    def note_thread(self, tx: Transaction, scope: Scope, thread_id: ThreadId) -> None:
        """Who watches the user's threads hears, once it is durable, that this one changed otherwise than by an event."""
        key = (scope.tenant_id, scope.user_id)
        tx.after_commit(lambda: self._hub.move_thread(key, thread_id))

    def note_approvals(self, tx: Transaction, tenant_id: TenantId, user_id: UserId | None) -> None:
        """Who watches the user's approvals hears, once it is durable, that some changed. Of nobody's nobody hears.

        The user whose run asks hears of the events of the approval; this is for those to whom it was given.
        """
        if user_id is not None:
            key = (tenant_id, user_id)
            tx.after_commit(lambda: self._hub.move_approvals(key))

    def watch(self, scope: Scope, on_moved: Callable[[], None]) -> Feed:
        """What the scope's user sees in a list of threads, from now on; ``on_moved`` is called when it may have changed."""
        return Feed(self._database, self._hub, scope, on_moved)

    def _publish(
        self, scope: Scope, thread_id: ThreadId, drafts: Sequence[EventDraft], events: Sequence[StoredEvent]
    ) -> None:
        self._hub.publish((scope.tenant_id, thread_id), events)
        key = (scope.tenant_id, scope.user_id)
        if not self._hub.is_watched(key):
            return
        types = {draft.type for draft in drafts}
        self._hub.move_thread(key, thread_id, is_listed=not types.isdisjoint(LISTED_TYPES))
        if not types.isdisjoint(APPROVAL_TYPES):
            self._hub.move_approvals(key)

    async def subscribe(
        self,
        scope: Scope,
        thread_id: ThreadId,
        *,
        after: int | None = None,
        epoch: int | None = None,
        on_moved: Callable[[], None] | None = None,
    ) -> tuple[Subscription, Opening, Snapshot | None]:
        """A subscription that begins after ``after`` (None: at the beginning), its opening, and a snapshot if needed.

        The scope is checked anew each time: a position is not a capability.

        Raises:
            NotFoundError: this user has no such thread.
        """
        subscription = Subscription(self._database, self._hub, scope, thread_id, on_moved)
        try:

            async def work(tx: Transaction) -> tuple[LogBounds, Snapshot | None]:
                bounds = await EventRepository(scope).bounds(tx, thread_id)
                if _reaches(bounds, after, epoch):
                    return bounds, None
                return bounds, await read_snapshot(tx, scope, thread_id)

            bounds, snapshot = await self._database.read(work)
        except BaseException:
            subscription.close()
            raise
        position = (after or 0) if snapshot is None else snapshot.seq
        subscription.start_at(position, bounds.head_seq)
        opening = Opening(
            thread_id=thread_id,
            recovered=snapshot is None,
            from_seq=position + 1,
            head_seq=bounds.head_seq,
            epoch=bounds.log_epoch,
        )
        return subscription, opening, snapshot

    async def follow(self, scope: Scope, thread_id: ThreadId, *, after: int = 0) -> AsyncGenerator[list[StoredEvent]]:
        """The thread's events after that number, as they come, for ever.

        Raises:
            NotFoundError: this user has no such thread.
            PositionLostError: the log does not reach back to ``after``, or was trimmed beyond it meanwhile.
        """
        subscription, opening, _ = await self.subscribe(scope, thread_id, after=after)
        with subscription:
            if not opening.recovered:
                raise PositionLostError(details={"position": after, "head_seq": opening.head_seq})
            while True:
                yield await subscription.next()

    async def read_run(self, scope: Scope, run_id: RunId, *, after: int = 0) -> tuple[list[StoredEvent], bool]:
        """Up to ``READ_LIMIT`` events of the run after that number, and whether the run has ended with them.

        Raises:
            NotFoundError: this user has no such run.
            PositionLostError: the log does not reach back to that number any more.
        """

        async def work(tx: Transaction) -> tuple[list[StoredEvent], bool]:
            run = await RunRepository(scope).get(tx, run_id)
            await EventRepository(scope).bounds(tx, run.thread_id)
            until = run.last_seq if run.state.is_terminal else 2**62
            start = max(after, run.first_seq - 1)
            bounds = await EventRepository(scope).bounds(tx, run.thread_id)
            if start + 1 < bounds.first_seq and start < until:
                raise PositionLostError(details={"position": start, "first_seq": bounds.first_seq})
            events = await EventRepository(scope).read_run(
                tx, run.thread_id, run_id, after=start, until=until, limit=READ_LIMIT
            )
            last = events[-1].seq if events else start
            return events, run.state.is_terminal and last >= run.last_seq

        return await self._database.read(work)


def _reaches(bounds: LogBounds, after: int | None, epoch: int | None) -> bool:
    """Whether the log still holds everything after the position, and the position is one of this log's."""
    if epoch is not None and epoch != bounds.log_epoch:
        return False
    position = after or 0
    return bounds.first_seq - 1 <= position <= bounds.head_seq
