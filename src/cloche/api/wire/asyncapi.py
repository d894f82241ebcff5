"""The contract of the live edges as an AsyncAPI document, made from the shapes that the program itself uses.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from cloche.api.wire.errors import ERROR_TABLE, INTERNAL_ERROR, SERVICE_RESTART
from cloche.api.wire.frames import (
    NEEDED_PERMISSION,
    OPERATIONS,
    SUBPROTOCOL,
    ApprovalsChanged,
    ConnectionReady,
    Done,
    Draining,
    Refused,
    StreamClosed,
    StreamOpened,
    ThreadsChanged,
)
from cloche.domain.events import EVENTS, Envelope, EventData
from cloche.ids import TypedId

JsonObject = dict[str, object]

_SCHEMAS = "#/components/schemas/"
_NOTICES = (ConnectionReady, StreamOpened, StreamClosed, ThreadsChanged, ApprovalsChanged, Draining)
_COME_BACK = frozenset({INTERNAL_ERROR, SERVICE_RESTART})
_DESCRIPTION = f"""The live protocol of Cloche. One WebSocket for each client, subprotocol `{SUBPROTOCOL}`; every frame is one
JSON object in a text frame. Each operation gets exactly one answer with its `ref`. Events of a followed thread come in
the order of `seq`, without a gap; after a lost connection, subscribe again after the last `seq` that you have seen."""


def asyncapi_document(version: str) -> JsonObject:
    """The document for this version of the program; the same for each call."""
    schemas = _schemas()
    messages: dict[str, JsonObject] = {}
    for kind in (*OPERATIONS, *_NOTICES, Done, Refused):
        messages[kind.__name__] = _message(kind.__name__, kind.__doc__)
    messages["Events"] = _message("Events", "Events of one followed thread, in order.")
    messages["Event"] = _message("Event", "One event.")
    asked = [kind.__name__ for kind in OPERATIONS]
    told = [*(kind.__name__ for kind in _NOTICES), "Events"]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Cloche", "version": version, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": {
            "live": {
                "address": "/v1/ws",
                "messages": _message_refs([*asked, *told, "Done", "Refused"]),
                "bindings": {"ws": {"method": "GET"}},
            },
            "thread_events": _stream_channel("/v1/threads/{id}/events", "a thread"),
            "run_events": _stream_channel("/v1/runs/{id}/events", "a run; the stream ends with the run"),
        },
        "operations": {
            **{_name(kind): _receiving(kind) for kind in OPERATIONS},
            "tell": _sending("live", told),
            "stream_thread": _sending("thread_events", ["StreamOpened", "StreamClosed", "Event"]),
            "stream_run": _sending("run_events", ["StreamOpened", "StreamClosed", "Event"]),
        },
        "components": {"messages": messages, "schemas": schemas},
        "x-close-codes": _close_codes(),
    }


def _schemas() -> JsonObject:
    """Every shape by name, and one whole envelope for each kind of event."""
    kinds = (*OPERATIONS, *_NOTICES, Done, Refused, Envelope, *EVENTS)
    _, found = msgspec.json.schema_components(kinds, schema_hook=_id_schema, ref_template=_SCHEMAS + "{name}")
    schemas: JsonObject = dict(found)
    envelope = found[Envelope.__name__]
    for event in EVENTS:
        schemas[_envelope_name(event)] = _envelope(envelope, event)
    schemas["Event"] = {"oneOf": [_ref(_envelope_name(event)) for event in EVENTS]}
    schemas["Events"] = {
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "items": _ref("Event")}},
    }
    # What an operation's answer holds besides these members is the operation's own.
    schemas[Done.__name__] = {**found[Done.__name__], "additionalProperties": True}
    return schemas


def _envelope(envelope: dict[str, Any], event: type[EventData]) -> JsonObject:
    properties = {**envelope["properties"], "type": {"const": event.type}, "data": _ref(event.__name__)}
    return {**envelope, "title": event.type, "description": event.__doc__, "properties": properties}


def _id_schema(kind: type) -> JsonObject:
    if not issubclass(kind, TypedId):
        return {"description": "any JSON value"}
    word = kind.kind.value
    pattern = f"^([a-z][a-z0-9_]{{0,30}}_)?{word}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
    return {"type": "string", "description": f"a {word} id", "pattern": pattern}


def _message(name: str, text: str | None) -> JsonObject:
    return {"name": name, "summary": (text or "").split("\n", 1)[0], "payload": _ref(name)}


def _receiving(kind: type[msgspec.Struct]) -> JsonObject:
    needed = next(permission for asked, permission in NEEDED_PERMISSION.items() if asked is kind)
    return {
        "action": "receive",
        "channel": {"$ref": "#/channels/live"},
        "summary": (kind.__doc__ or "").split("\n", 1)[0],
        "messages": [{"$ref": f"#/channels/live/messages/{kind.__name__}"}],
        "reply": {
            "channel": {"$ref": "#/channels/live"},
            "messages": [{"$ref": f"#/channels/live/messages/{name}"} for name in ("Done", "Refused")],
        },
        "x-permission": None if needed is None else needed.value,
    }


def _sending(channel: str, names: Iterable[str]) -> JsonObject:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _stream_channel(address: str, what: str) -> JsonObject:
    return {
        "address": address,
        "description": f"Server-sent events of {what}. The `id` of each is its `seq`; `Last-Event-ID` or `?after=` resumes.",
        "parameters": {"id": {"description": "the id in the path"}},
        "messages": _message_refs(["StreamOpened", "StreamClosed", "Event"]),
    }


def _message_refs(names: Iterable[str]) -> JsonObject:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _close_codes() -> list[JsonObject]:
    causes: defaultdict[int, list[str]] = defaultdict(list)
    for kind, row in ERROR_TABLE.items():
        causes[row.close_code].append(kind.code)
    return [
        {"code": code, "come_back": 4000 <= code <= 4499 or code in _COME_BACK, "errors": sorted(errors)}
        for code, errors in sorted(causes.items())
    ]


def _name(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def _envelope_name(event: type[EventData]) -> str:
    return f"{event.__name__}Event"


def _ref(name: str) -> JsonObject:
    return {"$ref": _SCHEMAS + name}
