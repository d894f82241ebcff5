"""Events as they come over the wire, for tests."""

from __future__ import annotations

import msgspec

from cloche.domain.events import (
    AgentCompleted,
    AgentStarted,
    AgentThinking,
    Envelope,
    EventData,
    MessageCompleted,
    MessageCreated,
    MessageDelta,
    RunQueued,
    ToolCompleted,
    ToolExecuting,
)
from cloche.domain.messages import TextPart
from cloche.domain.usage import Usage

AT = "2026-03-01T12:00:00.000Z"


def envelope(seq: int, event: EventData, *, run_id: str | None = "run_1", at: str = AT) -> Envelope:
    data = msgspec.Raw(msgspec.json.encode(event))
    return Envelope(seq=seq, type=event.type, thread_id="thread_1", run_id=run_id, at=at, data=data)


def created(sent: str | None = "mine", text: str = "hello") -> MessageCreated:
    return MessageCreated(message_id="m0", role="user", parts=(TextPart(text),), by="user_1", client_message_id=sent)


def completed() -> AgentCompleted:
    return AgentCompleted(
        message_id="m1", usage=Usage(input_tokens=3, output_tokens=4, model_calls=1, tool_calls=1), duration_ms=1234
    )


def golden_story(first_seq: int = 1) -> list[Envelope]:
    events: list[EventData] = [
        created(),
        RunQueued(position=0, reason="accepted"),
        AgentStarted(agent="assistant", version="1", model="scripted:demo", attempt=1),
        AgentThinking(text="hm", step=1),
        ToolExecuting(tool_call_id="c1", tool="clock", arguments={}, effect="none"),
        ToolCompleted(tool_call_id="c1", tool="clock", ok=True, duration_ms=2, result="noon"),
        MessageDelta(message_id="m1", text="It is "),
        MessageDelta(message_id="m1", text="noon."),
        MessageCompleted(message_id="m1", parts=(TextPart("It is noon."),)),
        completed(),
    ]
    return [envelope(seq, event) for seq, event in enumerate(events, first_seq)]
