"""Approvals on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.approvals import Approval, ApprovalDecision, ApprovalState


class DecideBody(RequestBody):
    """A person's yes or no; with a yes, the arguments may be edited."""

    decision: ApprovalDecision
    arguments: dict[str, object] | None = Field(default=None, description="what the tool gets instead")


class ApprovalAnswer(BaseModel):
    """A tool call that waits, or waited, for a person."""

    id: str
    thread_id: str
    run_id: str
    tool_call_id: str
    tool: str
    question: str
    arguments: dict[str, object]
    argument_schema: dict[str, object] = Field(description="the JSON Schema that edited arguments must fit")
    state: ApprovalState
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None
    decided_by: str | None
    edited_arguments: dict[str, object] | None


class ApprovalPage(BaseModel):
    """Approvals, newest first."""

    items: list[ApprovalAnswer]
    next_cursor: str | None


def approval_answer(approval: Approval) -> ApprovalAnswer:
    """The approval as the wire shows one."""
    edited = approval.edited_arguments
    return ApprovalAnswer(
        id=approval.id,
        thread_id=approval.thread_id,
        run_id=approval.run_id,
        tool_call_id=approval.tool_call_id,
        tool=approval.tool,
        question=approval.question,
        arguments=dict(approval.arguments),
        argument_schema=dict(approval.schema),
        state=approval.state,
        created_at=approval.created_at,
        expires_at=approval.expires_at,
        decided_at=approval.decided_at,
        decided_by=approval.decided_by,
        edited_arguments=None if edited is None else dict(edited),
    )
