"""Approvals in the database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from cloche.clock import from_micros, to_micros
from cloche.domain.approvals import Approval, ApprovalState
from cloche.domain.scope import Scope
from cloche.errors import NotFoundError
from cloche.ids import ApprovalId, RunId, ThreadId, UserId
from cloche.storage.database import Transaction
from cloche.storage.pages import Page, PageRequest, cursor_of

_COLUMNS = (
    "id, user_id, delegate_id, thread_id, run_id, tool_call_id, tool, question, arguments, schema, state, created_at, "
    "expires_at, decided_at, decided_by, edited_arguments"
)
_OWN = "tenant_id = ? AND user_id = ?"
_GIVEN = "tenant_id = ? AND delegate_id = ?"


class ApprovalRow(NamedTuple):
    """What the database holds of an approval; JSON columns are still bytes."""

    id: str
    user_id: str
    delegate_id: str | None
    thread_id: str
    run_id: str
    tool_call_id: str
    tool: str
    question: str
    arguments: bytes
    schema: bytes
    state: str
    created_at: int
    expires_at: int
    decided_at: int | None
    decided_by: str | None
    edited_arguments: bytes | None


class _CountRow(NamedTuple):
    pending: int


class ApprovalRepository:
    """The approvals of one user's runs, and those of others that were given to the user to decide."""

    def __init__(self, scope: Scope) -> None:
        self._tenant = str(scope.tenant_id)
        self._user = str(scope.user_id)

    async def create(self, tx: Transaction, approval: Approval) -> None:
        """The approval is open."""
        await tx.execute(
            "INSERT INTO approvals (tenant_id, user_id, id, thread_id, run_id, tool_call_id, tool, question, arguments, "
            "schema, state, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._tenant,
            self._user,
            str(approval.id),
            str(approval.thread_id),
            str(approval.run_id),
            approval.tool_call_id,
            approval.tool,
            approval.question,
            msgspec.json.encode(approval.arguments),
            msgspec.json.encode(approval.schema),
            str(approval.state),
            to_micros(approval.created_at),
            to_micros(approval.expires_at),
        )

    async def get(self, tx: Transaction, approval_id: ApprovalId) -> Approval:
        """The approval, of the user's own run or given to the user.

        Raises:
            NotFoundError: this user has none of that id.
        """
        for whose in (_OWN, _GIVEN):
            row = await tx.first(
                ApprovalRow,
                f"SELECT {_COLUMNS} FROM approvals WHERE {whose} AND id = ?",
                self._tenant,
                self._user,
                str(approval_id),
            )
            if row is not None:
                return _approval(row)
        raise NotFoundError("there is no such approval")

    async def list(self, tx: Transaction, page: PageRequest, *, pending_only: bool) -> Page[Approval]:
        """The user's approvals and those given to the user, newest first."""
        number, identity = page.before or (2**62, "~")
        wanted = "AND state = 'pending' " if pending_only else ""
        rows: list[ApprovalRow] = []
        for whose in (_OWN, _GIVEN):
            rows += await tx.fetch(
                ApprovalRow,
                f"SELECT {_COLUMNS} FROM approvals WHERE {whose} {wanted}"
                "AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?",
                self._tenant,
                self._user,
                number,
                identity,
                page.limit + 1,
            )
        rows.sort(key=lambda row: (row.created_at, row.id), reverse=True)
        kept = rows[: page.limit]
        cursor = cursor_of("approvals", kept[-1].created_at, kept[-1].id) if len(rows) > page.limit else None
        return Page(items=[_approval(row) for row in kept], next_cursor=cursor)

    async def count_pending(self, tx: Transaction) -> int:
        """How many open approvals the user may decide: the user's own and those given to the user."""
        # What was given is looked for among what is open in the tenant: that is little, what was ever given is not.
        found = await tx.first(
            _CountRow,
            f"SELECT (SELECT COUNT(*) FROM approvals WHERE {_OWN} AND state = 'pending') "
            "+ (SELECT COUNT(*) FROM approvals WHERE tenant_id = ? AND COALESCE(delegate_id, '') = ? AND state = 'pending')",
            self._tenant,
            self._user,
            self._tenant,
            self._user,
        )
        return 0 if found is None else found.pending

    async def open_of_thread(self, tx: Transaction, thread_id: ThreadId) -> list[Approval]:
        """The open approvals of a thread's runs, oldest first."""
        rows = await tx.fetch(
            ApprovalRow,
            f"SELECT {_COLUMNS} FROM approvals WHERE {_OWN} AND thread_id = ? AND state = 'pending' ORDER BY id",
            self._tenant,
            self._user,
            str(thread_id),
        )
        return [_approval(row) for row in rows]

    async def of_call(self, tx: Transaction, run_id: RunId, tool_call_id: str) -> Approval | None:
        """The approval that this call of the run asked for, the last one if there are several; or None."""
        row = await tx.first(
            ApprovalRow,
            f"SELECT {_COLUMNS} FROM approvals WHERE {_OWN} AND run_id = ? AND tool_call_id = ? "
            "ORDER BY created_at DESC, id DESC LIMIT 1",
            self._tenant,
            self._user,
            str(run_id),
            tool_call_id,
        )
        return None if row is None else _approval(row)

    async def delegate(self, tx: Transaction, approval_id: ApprovalId, to: UserId | None) -> bool:
        """That user may decide the approval of the user's own run, or nobody else; False when it is not open."""
        return bool(
            await tx.execute(
                f"UPDATE approvals SET delegate_id = ? WHERE {_OWN} AND id = ? AND state = 'pending'",
                None if to is None else str(to),
                self._tenant,
                self._user,
                str(approval_id),
            )
        )

    async def resolve(
        self,
        tx: Transaction,
        approval_id: ApprovalId,
        state: ApprovalState,
        *,
        by: str | None,
        edited: Mapping[str, object] | None,
        at: datetime,
    ) -> bool:
        """The approval of the user's own run has its outcome; False when it had one already, which stays."""
        return bool(
            await tx.execute(
                f"UPDATE approvals SET state = ?, decided_by = ?, decided_at = ?, edited_arguments = ? "
                f"WHERE {_OWN} AND id = ? AND state = 'pending'",
                str(state),
                by,
                to_micros(at),
                None if edited is None else msgspec.json.encode(edited),
                self._tenant,
                self._user,
                str(approval_id),
            )
        )


def _approval(row: ApprovalRow) -> Approval:
    return Approval(
        id=ApprovalId(row.id),
        user_id=UserId(row.user_id),
        delegate_id=None if row.delegate_id is None else UserId(row.delegate_id),
        thread_id=ThreadId(row.thread_id),
        run_id=RunId(row.run_id),
        tool_call_id=row.tool_call_id,
        tool=row.tool,
        question=row.question,
        arguments=msgspec.json.decode(row.arguments, type=dict[str, object]),
        schema=msgspec.json.decode(row.schema, type=dict[str, object]),
        state=ApprovalState(row.state),
        created_at=from_micros(row.created_at),
        expires_at=from_micros(row.expires_at),
        decided_at=None if row.decided_at is None else from_micros(row.decided_at),
        decided_by=row.decided_by,
        edited_arguments=None
        if row.edited_arguments is None
        else msgspec.json.decode(row.edited_arguments, type=dict[str, object]),
    )
