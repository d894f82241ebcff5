from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloche.api.wire.errors import MAX_REASON_BYTES
from cloche.api.wire.frames import (
    NEEDED_PERMISSION,
    OPERATIONS,
    AnyOperation,
    Auth,
    Cancel,
    Decide,
    Ping,
    ReadyLimits,
    Send,
    Subscribe,
    Unsubscribe,
    encode_frame,
)
from cloche.api.wire.strict_json import FRAME
from cloche.api.ws import protocol
from cloche.api.ws.protocol import position_reason, read_frame, refused
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.messages import TextPart
from cloche.domain.runs import OnBusy, OnPendingApproval
from cloche.errors import ClocheError, NotFoundError
from cloche.events.subscription import Opening
from cloche.ids import ApprovalId, RequestId, RunId, ThreadId, UserId, WebsocketId

# Written out: with -n each worker must collect the same parameters.
THREAD = ThreadId("thread_01m7yzhefwe3cr5m2qctyya87v")
RUN = RunId("run_01m7yzhgshfz3r1jw85567eypy")
APPROVAL = ApprovalId("approval_01m7yzhgshfz3r1jw8556s2ayf")
VALID: list[AnyOperation] = [
    Auth(ref=1, token="a.b.c"),
    Subscribe(ref="s", thread_id=THREAD),
    Subscribe(thread_id=THREAD, after=7, epoch=2),
    Unsubscribe(thread_id=THREAD),
    Send(client_message_id="m1", text="hello"),
    Send(
        ref="x" * 64,
        client_message_id="m2",
        thread_id=THREAD,
        parts=(TextPart(text="a"), TextPart(text="b")),
        agent="echo",
        on_busy=OnBusy.INTERRUPT,
        on_pending_approval=OnPendingApproval.CANCEL_APPROVAL,
    ),
    Cancel(run_id=RUN),
    Decide(approval_id=APPROVAL, decision=ApprovalDecision.APPROVE, arguments={"n": [1, None, {"é": "✓"}]}),
    Decide(approval_id=APPROVAL, decision=ApprovalDecision.DENY),
    Ping(ref=0),
]


def asked(**members: object) -> AnyOperation | ClocheError:
    return read_frame(json.dumps(members)).asked


def refusal(frame: str | bytes) -> dict[str, Any]:
    incoming = read_frame(frame)
    assert isinstance(incoming.asked, ClocheError)
    answer = json.loads(refused(incoming.ref, incoming.asked, RequestId.new()))
    assert answer["ok"] is False
    return answer


@pytest.mark.parametrize("operation", VALID)
def test_an_operation_is_read_as_it_was_written(operation: AnyOperation) -> None:
    incoming = read_frame(encode_frame(operation).decode())

    assert incoming.asked == operation
    assert incoming.ref == operation.ref


def test_every_operation_says_which_permission_it_needs() -> None:
    assert set(NEEDED_PERMISSION) == set(OPERATIONS)
    assert {kind for kind, needed in NEEDED_PERMISSION.items() if needed is None} == {Auth, Ping}


@pytest.mark.parametrize(
    ("frame", "code", "place"),
    [
        ("", "invalid_input", "byte 0"),
        ("nonsense", "invalid_input", "byte 0"),
        ("[]", "invalid_input", "$"),
        ("null", "invalid_input", "$"),
        ('"ping"', "invalid_input", "$"),
        (b'{"op":"ping"}', "protocol_violation", "$"),
        ('{"op":"ping","x":NaN}', "invalid_input", "$.x"),
        ('{"op":"ping","op":"ping"}', "invalid_input", "$.op"),
        ('{"op":"send","client_message_id":"m","text":"\\u0000"}', "invalid_input", "$.text"),
        ('{"op":"send","client_message_id":"m","text":"\\ud800"}', "invalid_input", "$.text"),
        ("{}", "invalid_input", "$.op"),
        ('{"op":7}', "invalid_input", "$.op"),
        ('{"op":"subscribed"}', "unknown_operation", "$.op"),
        ('{"op":"__proto__"}', "unknown_operation", "$.op"),
        ('{"op":"ping","role":"admin"}', "invalid_input", "$.role"),
        ('{"op":"ping","ref":true}', "invalid_input", "$.ref"),
        ('{"op":"ping","ref":1.5}', "invalid_input", "$.ref"),
        ('{"op":"ping","ref":[]}', "invalid_input", "$.ref"),
        (f'{{"op":"ping","ref":"{"x" * 65}"}}', "invalid_input", "$.ref"),
        ('{"op":"subscribe"}', "invalid_input", "$.thread_id"),
        ('{"op":"subscribe","thread_id":null}', "invalid_id", "$.thread_id"),
        ('{"op":"subscribe","thread_id":"1 or 1=1"}', "invalid_id", "$.thread_id"),
        (f'{{"op":"subscribe","thread_id":"{RUN}"}}', "invalid_id", "$.thread_id"),
        (f'{{"op":"subscribe","thread_id":"{THREAD}","after":-1}}', "invalid_input", "$.after"),
        (f'{{"op":"subscribe","thread_id":"{THREAD}","after":"7"}}', "invalid_input", "$.after"),
        (f'{{"op":"subscribe","thread_id":"{THREAD}","after":true}}', "invalid_input", "$.after"),
        (f'{{"op":"cancel","run_id":"{THREAD}"}}', "invalid_id", "$.run_id"),
        (f'{{"op":"decide","approval_id":"{APPROVAL}","decision":"maybe"}}', "invalid_input", "$.decision"),
        (
            f'{{"op":"decide","approval_id":"{APPROVAL}","decision":"deny","arguments":[]}}',
            "invalid_input",
            "$.arguments",
        ),
        ('{"op":"send","client_message_id":"m"}', "invalid_input", "$.text"),
        ('{"op":"send","client_message_id":"m","text":"a","parts":[]}', "invalid_input", "$.text"),
        ('{"op":"send","client_message_id":"m","text":" \\n"}', "invalid_input", "$.text"),
        ('{"op":"send","client_message_id":"m","text":{"a":1}}', "invalid_input", "$.text"),
        ('{"op":"send","client_message_id":"m","parts":[{"type":"image"}]}', "invalid_input", "$.parts[0].type"),
        (
            '{"op":"send","client_message_id":"m","parts":[{"type":"text","text":1}]}',
            "invalid_input",
            "$.parts[0].text",
        ),
        ('{"op":"send","text":"a"}', "invalid_input", "$.client_message_id"),
        ('{"op":"send","client_message_id":5,"text":"a"}', "invalid_input", "$.client_message_id"),
        ('{"op":"send","client_message_id":"m","text":"a","on_busy":"wait"}', "invalid_input", "$.on_busy"),
        (f'{{"op":"send","client_message_id":"m","text":"{"x" * 60_001}"}}', "payload_too_large", "$.text"),
        ('{"op":"auth"}', "invalid_input", "$.token"),
        ('{"op":"auth","token":["secret"]}', "invalid_input", "$.token"),
        (" " * (64 * 1024) + "{}", "payload_too_large", "$"),
        ("[" * 5_000, "invalid_input", "byte 32"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(frame: str | bytes, code: str, place: str) -> None:
    error = refusal(frame)["error"]

    assert (error["code"], error["details"]["place"]) == (code, place)


def test_a_wrong_kind_of_id_is_told_apart() -> None:
    error = refusal(json.dumps({"op": "cancel", "run_id": THREAD}))["error"]

    assert error["message"] == "expected a run id, got a thread id"


def test_the_known_operations_are_listed_for_who_names_another() -> None:
    error = refusal('{"op":"subscribed","ref":9}')

    assert error["ref"] == 9
    assert set(error["error"]["details"]["known"]) == {
        *("auth", "subscribe", "unsubscribe", "watch", "unwatch", "send", "cancel", "decide", "ping")
    }


@pytest.mark.parametrize("frame", ["[]", '{"op":"ping","ref":{}}', b"\xff", "x"])
def test_without_a_usable_ref_the_answer_has_none(frame: str | bytes) -> None:
    assert refusal(frame)["ref"] is None


def test_a_ref_is_kept_for_the_refusal_of_the_rest() -> None:
    assert refusal('{"ref":"r1","op":"ping","x":1}')["ref"] == "r1"


def test_a_refusal_shows_little_of_what_was_sent() -> None:
    for members in ({"op": "x" * 50_000}, {"op": "ping", "x" * 50_000: 1}, {"op": "cancel", "run_id": "x" * 50_000}):
        assert len(json.dumps(refusal(json.dumps(members)))) < 1_000
    secret = refusal(json.dumps({"op": "auth", "token": ["hunter2"]}))
    assert "hunter2" not in json.dumps(secret)


@pytest.mark.parametrize(
    "text", ["é", "👩‍👩‍👧", "\u202e", "<script>", "{{7*7}}", "'; DROP TABLE users; --", "\x01\t\r\n x", "ﷺ" * 100]
)
def test_what_people_write_is_taken_as_it_is(text: str) -> None:
    operation = asked(op="send", client_message_id="m", text=text)

    assert isinstance(operation, Send)
    assert operation.text == text


def test_a_part_may_say_more_than_we_know() -> None:
    operation = asked(op="send", client_message_id="m", parts=[{"type": "text", "text": "a", "annotations": []}])

    assert isinstance(operation, Send)
    assert operation.parts == (TextPart(text="a"),)


MEMBER = st.sampled_from(
    [*("op", "ref", "thread_id", "after", "epoch", "text", "parts", "client_message_id", "run_id", "token", "decision")]
)
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([THREAD, RUN, APPROVAL, "ping", "send", "subscribe", "approve", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBER | st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OP = st.sampled_from(
    ["auth", "subscribe", "unsubscribe", "watch", "unwatch", "send", "cancel", "decide", "ping", "none"]
)


def check_any_frame(frame: str | bytes) -> None:
    """Whatever comes is an operation or a refusal that can be printed."""
    incoming = read_frame(frame, FRAME)
    if isinstance(incoming.asked, ClocheError):
        answer = json.loads(refused(incoming.ref, incoming.asked))
        assert answer["ok"] is False
        assert answer["ref"] == incoming.ref
        assert incoming.asked.code != "internal_error"
        assert "place" in incoming.asked.details
    else:
        assert isinstance(incoming.asked, OPERATIONS)
        assert read_frame(encode_frame(incoming.asked).decode()).asked == incoming.asked


@settings(deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=50))
@example("\ud800")
@example('{"op":"send","client_message_id":"m","text":"\ufeff"}')
def test_no_text_breaks_the_reader(frame: str | bytes) -> None:
    check_any_frame(frame)


@settings(deadline=None)
@given(OP, st.dictionaries(MEMBER, VALUE, max_size=6))
def test_no_combination_of_members_breaks_the_reader(op: str, members: dict[str, object]) -> None:
    check_any_frame(json.dumps({**members, "op": op}))
    check_any_frame(json.dumps(members))


def test_the_notices() -> None:
    limits = ReadyLimits(frame_bytes=1, subscriptions=2, ops_per_second=3)
    websocket, user = WebsocketId.new(), UserId.new()

    ready = json.loads(protocol.connection_ready(websocket, user, heartbeat_s=20, limits=limits))
    opened = json.loads(
        protocol.stream_opened(Opening(thread_id=THREAD, recovered=True, from_seq=3, head_seq=9, epoch=1), None)
    )
    closed = json.loads(protocol.stream_closed(THREAD, NotFoundError("gone")))

    assert ready == {
        "notice": "connection_ready",
        "websocket_id": websocket,
        "user_id": user,
        "heartbeat_s": 20,
        "limits": {"frame_bytes": 1, "subscriptions": 2, "ops_per_second": 3},
    }
    assert opened == {
        "notice": "stream_opened",
        "thread_id": THREAD,
        "recovered": True,
        "from_seq": 3,
        "head_seq": 9,
        "epoch": 1,
    }
    assert (closed["notice"], closed["error"]["code"]) == ("stream_closed", "not_found")
    assert json.loads(protocol.draining({THREAD: 4})) == {"notice": "draining", "positions": {THREAD: 4}}
    assert json.loads(protocol.ok("r", thread_id=THREAD)) == {"ref": "r", "ok": True, "thread_id": THREAD}


@given(st.integers(0, 12), st.integers(0, 2**53))
def test_a_reason_holds_as_many_positions_as_fit(count: int, seq: int) -> None:
    positions = {ThreadId.new(): seq for _ in range(count)}
    reason = position_reason(positions, MAX_REASON_BYTES)

    assert len(reason.encode()) <= MAX_REASON_BYTES
    found = json.loads(reason)
    assert found.items() <= positions.items()
    assert min(count, 2) <= len(found) <= 3


def test_what_has_no_json_form_is_noticed() -> None:
    with pytest.raises(TypeError):
        encode_frame(object())
