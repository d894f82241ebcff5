"""The one run that everything here is measured with: one tool call, and fifty pieces of text in a burst.

The words are those with which ``scripted:demo`` reports a tool's result, so that both agents say the same.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cloche.domain.events import (
    AgentCompleted,
    AgentStarted,
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
from cloche.events.codec import draft
from cloche.ids import ExecutionId, MessageId, RunId, ThreadId, ToolId, TraceId, UserId

ASKED = "What is 6 * 7?"
EXPRESSION = "6 * 7"
TOOL = "calculator"
RESULT = " ".join(f"fact{number:02}" for number in range(36))
SAID = (
    "I am Cloche's scripted demonstration model, not a language model. "
    f"The tool {TOOL} answered: {RESULT}"
)  # fmt: skip
_WORDS = SAID.split(" ")
PIECES = (_WORDS[0], *(f" {word}" for word in _WORDS[1:]))
EVENTS = 57


def source_events() -> list[bytes]:
    """The events of the run as its source makes them, before the log joins deltas; the bytes of the wire."""
    thread_id, run_id, user_id = ThreadId.new(), RunId.new(), UserId.new()
    asked, said, call = MessageId.new(), MessageId.new(), ToolId.new()
    execution_id, trace_id, at = ExecutionId.new(), TraceId.new(), datetime.now(UTC)
    whole = TextPart(text=SAID)
    events: list[EventData] = [
        MessageCreated(
            message_id=asked, role="user", parts=(TextPart(text=ASKED),), by=user_id, client_message_id="burst-0000"
        ),
        RunQueued(position=0, reason="accepted"),
        AgentStarted(agent="burst", version="1", model="none", attempt=1),
        ToolExecuting(tool_call_id=call, tool=TOOL, arguments={"expression": EXPRESSION}, effect="none"),
        ToolCompleted(tool_call_id=call, tool=TOOL, ok=True, duration_ms=0, result=RESULT),
        *(MessageDelta(message_id=said, text=piece) for piece in PIECES),
        MessageCompleted(message_id=said, parts=(whole,)),
        AgentCompleted(message_id=said, usage=Usage(tool_calls=1), duration_ms=1),
    ]
    assert len(events) == EVENTS
    found: list[bytes] = []
    for seq, event in enumerate(events, 1):
        is_delta = isinstance(event, MessageDelta)
        made = draft(
            event,
            thread_id=thread_id,
            run_id=run_id,
            at=at,
            execution_id=None if is_delta else execution_id,
            agent=None if is_delta else "burst",
            trace_id=None if is_delta else trace_id,
        )
        found.append(b'{"seq":%d,' % seq + made.tail)
    return found
