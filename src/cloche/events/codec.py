"""Events as bytes: encoded once, stored as they are, sent as they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from cloche.clock import to_text
from cloche.domain.events import Envelope, EventData
from cloche.domain.text import sound_value
from cloche.ids import RunId, ThreadId, TypedId
from cloche.storage.events import EventDraft, StoredEvent


class _Tail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An envelope without its number, in the order of the wire."""

    type: str
    thread_id: str
    run_id: str | None
    at: str
    data: EventData
    execution_id: str | None = None
    agent: str | None = None
    trace_id: str | None = None


def _plain(value: object) -> str:
    if isinstance(value, TypedId):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_DECODER = msgspec.json.Decoder(Envelope)


def draft(
    data: EventData,
    *,
    thread_id: ThreadId,
    run_id: RunId | None,
    at: datetime,
    execution_id: str | None = None,
    agent: str | None = None,
    trace_id: str | None = None,
) -> EventDraft:
    """The event, encoded but for its number, which the log gives. Half a character in it becomes U+FFFD.

    Raises:
        TypeError: a value of ``data`` has no JSON form.
    """
    tail = _Tail(
        type=data.type,
        thread_id=thread_id,
        run_id=run_id,
        at=to_text(at),
        data=data,
        execution_id=execution_id,
        agent=agent,
        trace_id=trace_id,
    )
    try:
        encoded = _ENCODER.encode(tail)
    except UnicodeEncodeError:
        encoded = _ENCODER.encode(sound_value(msgspec.to_builtins(tail, enc_hook=_plain)))
    return EventDraft(data.type, run_id, encoded[1:])


def decode(body: bytes) -> Envelope:
    """The envelope of stored bytes.

    Raises:
        msgspec.DecodeError: the bytes are no envelope.
    """
    return _DECODER.decode(body)


def frame(events: Sequence[StoredEvent]) -> bytes:
    """One frame with all of these events: ``{"events": [ … ]}``."""
    return b'{"events":[' + b",".join(event.body for event in events) + b"]}"


def sse(events: Sequence[StoredEvent]) -> bytes:
    """The events as server-sent events, each with its number as ``id``.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    return b"".join(b"id: %d\ndata: %b\n\n" % (event.seq, event.body) for event in events)
