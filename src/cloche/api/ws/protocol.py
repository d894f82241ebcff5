"""The live protocol without I/O: client frames in, operations out; answers and notices in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cloche.api.wire.errors import error_body
from cloche.api.wire.frames import (
    MAX_REF,
    OPERATIONS,
    AnyOperation,
    ApprovalsChanged,
    ConnectionReady,
    Draining,
    ErrorMembers,
    ReadyLimits,
    Ref,
    Send,
    StreamClosed,
    ThreadsChanged,
    encode_frame,
    opened,
)
from cloche.api.wire.strict_json import FRAME, JsonLimits, JsonValue, parse, require_object
from cloche.domain.messages import user_parts
from cloche.errors import (
    ClocheError,
    InvalidIdError,
    InvalidInputError,
    ProtocolViolationError,
    UnknownOperationError,
)
from cloche.events.feed import ThreadState
from cloche.events.snapshot import Snapshot
from cloche.events.subscription import Opening
from cloche.ids import RequestId, ThreadId, TypedId, UserId, WebsocketId

_BY_NAME: Mapping[str, type[AnyOperation]] = {str(kind.__struct_config__.tag): kind for kind in OPERATIONS}
_FIELDS: Mapping[type[AnyOperation], frozenset[str]] = {
    kind: frozenset({"op", *kind.__struct_fields__}) for kind in OPERATIONS
}
_REQUIRED: Mapping[type[AnyOperation], tuple[str, ...]] = {
    kind: tuple(field.name for field in msgspec.structs.fields(kind) if field.required) for kind in OPERATIONS
}
_MAX_SHOWN = 40
_MAX_WHAT = 200
_match_place = re.compile(r"(?P<what>.*?)(?: - at `(?P<place>\$[^`]*)`)?", re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One client frame: what is asked, or why that cannot be told, and the ``ref`` to answer with."""

    ref: Ref
    asked: AnyOperation | ClocheError


def read_frame(frame: str | bytes, limits: JsonLimits = FRAME) -> Incoming:
    """The operation of a client's frame, or the error to answer it with. Never raises, whatever the frame.

    Args:
        frame: the text of a text frame; the bytes of a binary one, which is always refused.
        limits: what its JSON may cost.
    """
    ref: Ref = None
    try:
        if isinstance(frame, bytes):
            raise ProtocolViolationError("frames are text, this one is binary", details={"place": "$"})
        members = require_object(parse(frame, limits))
        ref = _ref(members)
        return Incoming(ref=ref, asked=_operation(members))
    except ClocheError as error:
        return Incoming(ref=ref, asked=error)


def ok(ref: Ref, **fields: object) -> bytes:
    """The answer to an operation that was done."""
    return encode_frame({"ref": ref, "ok": True, **fields})


def refused(ref: Ref, error: ClocheError, request_id: RequestId | None = None) -> bytes:
    """The answer to an operation that was not done."""
    return encode_frame({"ref": ref, "ok": False, **error_body(error, request_id)})


def connection_ready(websocket_id: WebsocketId, user_id: UserId, *, heartbeat_s: float, limits: ReadyLimits) -> bytes:
    """The first notice on a connection that is somebody's."""
    return encode_frame(
        ConnectionReady(websocket_id=websocket_id, user_id=user_id, heartbeat_s=heartbeat_s, limits=limits)
    )


def stream_opened(opening: Opening, snapshot: Snapshot | None) -> bytes:
    """The notice before a thread's events; with the snapshot where history is lost."""
    return encode_frame(opened(opening, snapshot))


def stream_closed(thread_id: ThreadId, error: ClocheError) -> bytes:
    """The notice that a thread is followed no more."""
    members = msgspec.convert(error_body(error, None)["error"], ErrorMembers)
    return encode_frame(StreamClosed(thread_id=thread_id, error=members))


def threads_changed(threads: Sequence[ThreadState]) -> bytes:
    """The notice of threads that a list shows otherwise now."""
    return encode_frame(ThreadsChanged(threads=tuple(threads)))


def approvals_changed(pending: int) -> bytes:
    """The notice of how many approvals wait for the user."""
    return encode_frame(ApprovalsChanged(pending=pending))


def draining(positions: Mapping[ThreadId, int]) -> bytes:
    """The last notice of a server that goes away."""
    return encode_frame(Draining(positions={str(thread_id): seq for thread_id, seq in positions.items()}))


def position_reason(positions: Mapping[ThreadId, int], limit: int) -> str:
    """As many of the positions as fit into ``limit`` bytes, as compact JSON; the first ones first."""
    entries: list[str] = []
    room = limit - 2
    for thread_id, seq in positions.items():
        entry = f'"{thread_id}":{seq}'
        room -= len(entry) + bool(entries)
        if room < 0:
            break
        entries.append(entry)
    return f"{{{','.join(entries)}}}"


def _ref(members: dict[str, JsonValue]) -> Ref:
    ref = members.get("ref")
    if ref is None or (isinstance(ref, str) and len(ref) <= MAX_REF):
        return ref
    if isinstance(ref, int) and not isinstance(ref, bool):
        return ref
    raise InvalidInputError(f"ref is a text of up to {MAX_REF} characters, or an integer", details={"place": "$.ref"})


def _operation(members: dict[str, JsonValue]) -> AnyOperation:
    kind = _kind(members.get("op"))
    for key in members:
        if key not in _FIELDS[kind]:
            raise InvalidInputError(f"there is no {_shown(key)} in this operation", details={"place": f"$.{_cut(key)}"})
    for name in _REQUIRED[kind]:
        if name not in members:
            raise InvalidInputError(f"{name} is missing", details={"place": f"$.{name}"})
    try:
        operation = msgspec.convert(members, kind, dec_hook=_typed_id)
    except msgspec.ValidationError as error:
        raise _mismatch(str(error)) from None
    if isinstance(operation, Send):
        user_parts(text=operation.text, parts=operation.parts)
    return operation


def _kind(name: JsonValue) -> type[AnyOperation]:
    if not isinstance(name, str):
        raise InvalidInputError("op must name an operation", details={"place": "$.op", "known": list(_BY_NAME)})
    kind = _BY_NAME.get(name)
    if kind is None:
        raise UnknownOperationError(
            f"there is no operation {_shown(name)}", details={"place": "$.op", "known": list(_BY_NAME)}
        )
    return kind


def _typed_id(kind: type, value: object) -> object:
    if not issubclass(kind, TypedId):
        return value  # arguments hold any JSON
    try:
        return kind.parse(value)
    except InvalidIdError as error:
        # Every id stands in the field that is called after its kind.
        raise InvalidIdError(error.message, details={**error.details, "place": f"$.{kind.kind}_id"}) from None


def _mismatch(text: str) -> InvalidInputError:
    found = _match_place(text)
    assert found is not None, "the pattern takes every text"
    place = found["place"] or "$"
    return InvalidInputError(f"{found['what'][:_MAX_WHAT]} ({place})", details={"place": place})


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _shown(text: str) -> str:
    return ascii(_cut(text))
