"""Events are encoded once: what is stored is what is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.clock import SystemClock
from cloche.domain.event_order import decoded
from cloche.domain.events import AgentStarted, AgentThinking, MessageDelta, ToolCompleted
from cloche.domain.scope import Scope
from cloche.domain.text import sound_text
from cloche.events.codec import decode, draft, frame, sse
from cloche.events.hub import Hub
from cloche.events.log import EventLog
from cloche.ids import RunId, ThreadId
from cloche.storage.events import EventDraft, StoredEvent
from cloche.storage.sqlite import SqliteDatabase
from support.logs import append, make_thread

AT = datetime(2031, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NASTY = [
    'quotes " \\ /',
    "emoji 😀 \U0010ffff",
    "lines \u2028 and \u2029 \r\n\r data: x\n\n",
    "nul \x00 and bell \x07",
    "\ufeff byte order mark",
    "</script><!--",
    "x" * 100_000,
]
ordinary = st.text(st.characters(exclude_categories=("Cs",)))


def stored(event: EventDraft, seq: int = 1) -> StoredEvent:
    return StoredEvent(seq, b'{"seq":%d,' % seq + event.tail)


def thought(text: str) -> EventDraft:
    return draft(AgentThinking(text=text, step=0), thread_id=ThreadId("thread_1"), run_id=RunId("run_1"), at=AT)


def test_an_envelope_on_the_wire_is_compact_and_in_its_order():
    started = AgentStarted(agent="a", version="1", model="none", attempt=1)
    event = stored(
        draft(
            started,
            thread_id=ThreadId("thread_1"),
            run_id=RunId("run_1"),
            at=AT,
            execution_id="execution_1",
            agent="a",
            trace_id="trace_1",
        ),
        7,
    )

    assert event.body == (
        b'{"seq":7,"type":"agent_started","thread_id":"thread_1","run_id":"run_1","at":"2031-01-02T03:04:05.678Z",'
        b'"data":{"agent":"a","version":"1","model":"none","attempt":1},"execution_id":"execution_1","agent":"a",'
        b'"trace_id":"trace_1"}'
    )


def test_what_does_not_apply_is_left_out():
    told = json.loads(stored(thought("hm")).body)

    assert sorted(told) == ["at", "data", "run_id", "seq", "thread_id", "type"]


@given(ordinary)
def test_any_text_comes_back_as_it_was(text: str):
    event = stored(thought(text))

    envelope = decode(event.body)
    assert decoded(envelope) == AgentThinking(text=text, step=0)
    assert json.loads(event.body)["data"]["text"] == text
    assert b"\n" not in event.body


@given(st.text(st.characters(exclude_categories=())))
def test_half_a_character_becomes_a_replacement_and_breaks_nothing(text: str):
    [data] = [decoded(decode(stored(thought(text)).body))]

    assert isinstance(data, AgentThinking)
    assert sound_text(data.text) == sound_text(text)
    data.text.encode()


def test_half_a_character_deep_in_a_result_becomes_a_replacement():
    event = ToolCompleted(tool_call_id="t", tool="it", ok=True, duration_ms=1, result=[{"a\ud800": ["\udfff"]}])

    told = json.loads(stored(draft(event, thread_id=ThreadId("thread_1"), run_id=None, at=AT)).body)

    assert told["data"]["result"] == [{"a\ufffd": ["\ufffd"]}]


def test_ids_of_every_kind_are_texts_on_the_wire():
    event = MessageDelta(message_id=RunId("message_1"), text="x")

    assert b'"message_id":"message_1"' in draft(event, thread_id=ThreadId("thread_1"), run_id=None, at=AT).tail


def test_what_has_no_json_form_is_refused():
    event = ToolCompleted(tool_call_id="t", tool="it", ok=True, duration_ms=1, result=object())

    with pytest.raises(TypeError, match="no JSON form"):
        draft(event, thread_id=ThreadId("thread_1"), run_id=None, at=AT)


def test_bytes_that_are_no_envelope_are_refused():
    for body in (b"", b"{", b"[]", b"{}", b'{"seq":"x"}'):
        with pytest.raises(msgspec.DecodeError):
            decode(body)


@given(st.lists(ordinary, max_size=5))
def test_a_frame_holds_the_stored_bytes_unchanged(texts: list[str]):
    events = [stored(thought(text), seq) for seq, text in enumerate(texts, 1)]

    sent = frame(events)

    assert json.loads(sent) == {"events": [json.loads(event.body) for event in events]}
    for event in events:
        assert event.body in sent


@given(st.lists(ordinary, max_size=5))
def test_server_sent_events_hold_the_stored_bytes_unchanged(texts: list[str]):
    events = [stored(thought(text), seq) for seq, text in enumerate(texts, 1)]

    blocks = sse(events).split(b"\n\n")

    assert blocks.pop() == b""
    assert blocks == [b"id: %d\ndata: %b" % (event.seq, event.body) for event in events]
    assert b"\r" not in sse(events)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ordinary | st.sampled_from(NASTY), min_size=1, max_size=4))
async def test_what_is_published_is_what_is_stored_and_read_again(
    database: SqliteDatabase, clock: SystemClock, scope: Scope, texts: list[str]
):
    log = EventLog(database, Hub())
    thread_id = await make_thread(database, clock, scope)
    subscription, _, _ = await log.subscribe(scope, thread_id)

    with subscription:
        written = await append(database, log, scope, thread_id, texts, at=clock.now())
        live = list(subscription._topic.tail)
    replayed, _, _ = await log.subscribe(scope, thread_id)
    with replayed:
        read: list[StoredEvent] = []
        while len(read) < len(written):
            read += await replayed.take()

    assert read == written
    assert live == written[-len(live) :] if live else True
    assert [json.loads(event.body)["data"]["text"] for event in read] == texts
