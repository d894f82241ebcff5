"""What happened on a thread, read in pieces along the numbers of its log."""

from __future__ import annotations

from typing import NamedTuple

from cloche.domain.events import ToolCompleted
from cloche.domain.runs import ExecutionState
from cloche.domain.scope import Scope
from cloche.ids import ThreadId
from cloche.storage.database import Transaction

_TERMINAL = ", ".join(f"'{state}'" for state in ExecutionState if state.is_terminal)
_ENDED_AT = (
    "COALESCE(CASE state "
    + " ".join(f"WHEN '{state}' THEN {state}_at" for state in ExecutionState if state.is_terminal)
    + " END, ended_at)"
)


class SaidByRow(NamedTuple):
    """A message, and the agent that wrote it; the parts are still JSON."""

    seq: int
    id: str
    role: str
    parts: str
    run_id: str | None
    created_at: int
    agent: str | None


class EndedRow(NamedTuple):
    """How a run ended, at the number of its last event."""

    last_seq: int
    id: str
    message_id: str
    agent: str
    state: str
    failure_code: str | None
    failure_message: str | None
    failure_retryable: int | None
    retry_of: str | None
    ended_at: int


class CallRow(NamedTuple):
    """The event that tells how a call of a tool ended."""

    seq: int
    body: bytes


class StoryRepository:
    """The stories of one user's threads. Each method gives at most ``limit`` rows after one number up to another."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def said(self, tx: Transaction, thread_id: ThreadId, *, after: int, limit: int) -> list[SaidByRow]:
        """The messages, in order."""
        return await tx.fetch(
            SaidByRow,
            "SELECT messages.seq, messages.id, messages.role, messages.parts, messages.run_id, messages.created_at, "
            "runs.agent FROM messages LEFT JOIN runs ON runs.tenant_id = messages.tenant_id "
            "AND runs.user_id = messages.user_id AND runs.id = messages.run_id "
            "WHERE messages.tenant_id = ? AND messages.user_id = ? AND messages.thread_id = ? AND messages.seq > ? "
            "ORDER BY messages.seq LIMIT ?",
            self._tenant,
            self._user,
            str(thread_id),
            after,
            limit,
        )

    async def ended(
        self, tx: Transaction, thread_id: ThreadId, *, after: int, until: int, limit: int
    ) -> list[EndedRow]:
        """The runs that ended, in the order of their ends."""
        return await tx.fetch(
            EndedRow,
            "SELECT last_seq, id, message_id, agent, state, failure_code, failure_message, failure_retryable, retry_of, "
            f"{_ENDED_AT} FROM runs WHERE tenant_id = ? AND user_id = ? AND thread_id = ? AND last_seq > ? "
            f"AND last_seq <= ? AND ended_at IS NOT NULL AND state IN ({_TERMINAL}) ORDER BY last_seq LIMIT ?",
            self._tenant,
            self._user,
            str(thread_id),
            after,
            until,
            limit,
        )

    async def called(
        self, tx: Transaction, thread_id: ThreadId, *, after: int, until: int, limit: int
    ) -> list[CallRow]:
        """The calls of tools that ended, as far as the log still has them, in order."""
        return await tx.fetch(
            CallRow,
            "SELECT seq, body FROM events WHERE tenant_id = ? AND thread_id = ? AND seq > ? AND seq <= ? AND user_id = ? "
            f"AND type = '{ToolCompleted.type}' ORDER BY seq LIMIT ?",
            self._tenant,
            str(thread_id),
            after,
            until,
            self._user,
            limit,
        )
