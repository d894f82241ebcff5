"""Approvals: a run waits for a person's yes, no or edited arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cloche.ids import ApprovalId, RunId, ThreadId, UserId

DEFAULT_EXPIRY = timedelta(days=7)


class ApprovalState(StrEnum):
    """Where an approval stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ApprovalDecision(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One question to a person.

    Attributes:
        user_id: whose run asks.
        delegate_id: who may answer beside that user.
        edited_arguments: set when the person who answered changed them.
    """

    id: ApprovalId
    user_id: UserId
    delegate_id: UserId | None
    thread_id: ThreadId
    run_id: RunId
    tool_call_id: str
    tool: str
    question: str
    arguments: Mapping[str, object]
    schema: Mapping[str, object]
    state: ApprovalState
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    edited_arguments: Mapping[str, object] | None
