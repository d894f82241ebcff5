"""Approvals on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, Field, model_validator

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.approvals import Approval, ApprovalDecision, ApprovalState
from cloche.ids import UserId
from cloche.storage.users import User


class DecideBody(RequestBody):
    """A person's yes or no; with a yes, the arguments may be edited."""

    decision: ApprovalDecision
    arguments: dict[str, object] | None = Field(default=None, description="what the tool gets instead")


class DelegateBody(RequestBody):
    """Who may decide, too: one of the two."""

    user_id: str | None = None
    email: str | None = None

    @model_validator(mode="after")
    def _is_named_once(self) -> Self:
        if (self.user_id is None) == (self.email is None):
            raise ValueError("either `user_id` or `email` names the user")
        return self


class PersonAnswer(BaseModel):
    """Somebody of the caller's tenant, as far as others are told."""

    user_id: str
    name: str
    email: str


class ApprovalAnswer(BaseModel):
    """A tool call that waits, or waited, for a person."""

    id: str
    asked_by: PersonAnswer = Field(description="whose run asks")
    delegate: PersonAnswer | None = Field(description="who may decide beside that user")
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


def approval_answer(approval: Approval, people: Mapping[UserId, User]) -> ApprovalAnswer:
    """The approval as the wire shows one; ``people`` holds everybody who is named in it."""
    delegate_id, edited = approval.delegate_id, approval.edited_arguments
    return ApprovalAnswer(
        id=approval.id,
        asked_by=_person(people[approval.user_id]),
        delegate=None if delegate_id is None else _person(people[delegate_id]),
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


def _person(user: User) -> PersonAnswer:
    return PersonAnswer(user_id=user.id, name=user.name, email=user.email)
