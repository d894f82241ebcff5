"""Messages on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from cloche.api.wire.shapes import Moment, RequestBody
from cloche.domain.messages import MAX_CLIENT_MESSAGE_ID, MAX_PARTS, MAX_TEXT_BYTES, Message, MessageRole
from cloche.domain.runs import OnBusy, OnPendingApproval
from cloche.execution.intake import Accepted


class TextShape(RequestBody):
    """A piece of text."""

    type: Literal["text"]
    text: str


class MessageBody(RequestBody):
    """A person's message: either ``text`` or ``parts``. Text is taken as it is, up to its size limit."""

    text: str | None = Field(default=None, description=f"at most {MAX_TEXT_BYTES} bytes of UTF-8")
    parts: list[TextShape] | None = Field(default=None, description=f"at most {MAX_PARTS}")
    agent: str | None = Field(default=None, description="the agent's name; the server's default one when left out")
    client_message_id: str | None = Field(
        default=None,
        description=f"1 to {MAX_CLIENT_MESSAGE_ID} characters, unique per thread: the same body under the same id is one message",
    )
    on_busy: OnBusy = OnBusy.ENQUEUE
    on_pending_approval: OnPendingApproval = OnPendingApproval.REJECT


class AcceptedAnswer(BaseModel):
    """The message is durable and its run will be executed. ``seq`` is the run's first event.

    That event tells of the message, or, of a run that is tried again, that it was queued.
    """

    thread_id: str
    message_id: str
    run_id: str
    seq: int
    replayed: bool = Field(description="it had been accepted before; nothing new was started")


def accepted_answer(accepted: Accepted) -> AcceptedAnswer:
    """What the one who asked for the run is told."""
    return AcceptedAnswer(
        thread_id=accepted.thread_id,
        message_id=accepted.message_id,
        run_id=accepted.run_id,
        seq=accepted.seq,
        replayed=accepted.replayed,
    )


class PartAnswer(BaseModel):
    """A piece of a message."""

    type: Literal["text"] = "text"
    text: str


class MessageAnswer(BaseModel):
    """One message of a thread."""

    id: str
    thread_id: str
    run_id: str | None
    seq: int
    role: MessageRole
    parts: list[PartAnswer]
    client_message_id: str | None
    created_at: Moment


class MessagePage(BaseModel):
    """Messages, newest first."""

    items: list[MessageAnswer]
    next_cursor: str | None


def message_answer(message: Message) -> MessageAnswer:
    """The message as the wire shows one."""
    return MessageAnswer(
        id=message.id,
        thread_id=message.thread_id,
        run_id=message.run_id,
        seq=message.seq,
        role=message.role,
        parts=[PartAnswer(text=part.text) for part in message.parts],
        client_message_id=message.client_message_id,
        created_at=message.created_at,
    )
