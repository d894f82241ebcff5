"""Bodies and frames that must be refused with a typed error: never a 500, never a dropped connection.

``MALFORMED`` is not acceptable as JSON, wherever it is sent. ``WRONG_SHAPE`` is acceptable JSON that is no request:
``NOT_OBJECTS`` and ``WRONG_EVERYWHERE`` at any route that takes at least one of the known fields and as a frame,
``WRONG_FRAMES`` as a WebSocket frame, ``WRONG_BODIES`` at a route that takes a message. Some are no UTF-8 and some
are larger than a frame may be; a test that needs text takes ``as_text``.
"""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Iterable
from typing import NamedTuple


class Nasty(NamedTuple):
    """One hostile input. ``name`` is unique over all lists and fit to be a test id."""

    name: str
    body: bytes

    @property
    def as_text(self) -> str | None:
        """The body as text, or None where it is no UTF-8 and so cannot be a text frame."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return None


MIB = 1024 * 1024
THREAD_ID = "thread_01h455vb4pex5vsknk084sn02q"
RUN_ID = "run_01h455vb4pex5vsknk084sn02q"
APPROVAL_ID = "approval_01h455vb4pex5vsknk084sn02q"

_SEND_WITHOUT_TEXT = b'{"op":"send","ref":"1","thread_id":"%s","client_message_id":"c1",' % THREAD_ID.encode()
_SEND = _SEND_WITHOUT_TEXT + b'"text":'


def _in_places(kind: str, value: bytes) -> list[Nasty]:
    """A bad value at the top, as a member that routes read, in an array, deep inside and in an ignored member."""
    return [
        Nasty(f"{kind}-top", value),
        Nasty(f"{kind}-text", _SEND + value + b"}"),
        Nasty(f"{kind}-array", b"[1," + value + b"]"),
        Nasty(f"{kind}-part", _SEND_WITHOUT_TEXT + b'"parts":[{"type":"text","text":' + value + b"}]}"),
        Nasty(f"{kind}-extra", _SEND + b'"x","metadata":{"a":{"b":[' + value + b"]}}}"),
    ]


def _named(kind: str, values: Iterable[bytes]) -> list[Nasty]:
    return [Nasty(f"{kind}-{number}", value) for number, value in enumerate(values)]


_HALVES = (b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\\ud83d", b"a\\uD83Db", b"\\ud83d\\ud83d\\ude00", b"\\uDBFF\\n")
_NUMBERS = (
    b"01 +1 .5 1. 1.e5 1e 1e+ - -- --1 -a 0x10 0b1 1_000 1,5 1e5.5 1e1e1 00 -01 0.0.0 1f 1L 1n ++1 1- 1+1".split()
)
_BROKEN = (
    b"{ [ \" } ] [[] [][] , : {,} [,] [1,] [1,,2] [,1] {1:2} {a:1} {'a':1} 'a' nul tru True None "
    b"undefined TRUE fals nulll"
).split()
_BROKEN_WHOLE = (
    b'{"a"}',
    b'{"a":}',
    b'{"a":1,}',
    b'{"a":1,,"b":2}',
    b'{"a" 1}',
    b'{"a"::1}',
    b'{"a":1 "b":2}',
    b"{:1}",
    b'{"a":1]',
    b"[1}",
    b"[1 2]",
    b'["a" "b"]',
    b'["a]',
    b'{"a":"b}',
    b'"\\"',
    b'"\\x41"',
    b'"\\u12"',
    b'"\\u12G4"',
    b'"\\u 123"',
    b'"\\u-123"',
    b'"\\U00000041"',
    b'"\\a"',
    b'"\\\'"',
    b'"\\',
    b"// a\n{}",
    b"{} // a",
    b"/* a */ {}",
    b"# a\n{}",
    b'{"a":1 /* b */}',
    b"<xml/>",
    b"a=1&b=2",
    b"--boundary\r\nContent-Disposition: form-data\r\n\r\n",
    b")]}',\n{}",
    b"callback({})",
    b"{}\x0c",
    b"\x0b{}",
    b"{}\xc2\xa0",
    b"\xe2\x80\xa8{}",
    b"{}{}",
    b"{}\n{}",
    b"{},",
    b"{};",
    b"1 1",
    b'{"op":"ping","ref":"1"}{"op":"ping","ref":"2"}',
    b'{"op":"ping","ref":"1"}\n{"op":"ping","ref":"2"}\n',
    b'{"op":"ping","ref":"1"',
    b'{"op":"ping","ref":',
    b'{"op":"ping","ref"',
    b'{"op":"ping",',
    b'{"op"',
    b"[\xef\xbc\x91]",
    b"[\xd9\xa1]",
    b"\xe2\x80\x9ca\xe2\x80\x9d",
    b"event: x\ndata: {}\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
)
_NOT_UTF8 = (
    b"\xff",
    b"\x80",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe2\x82",
    b"caf\xe9",
    b"\xc3(",
)


def _encodings() -> Iterable[Nasty]:
    text = '{"op":"ping","ref":"1"}'
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        yield Nasty(f"encoding-{encoding}", text.encode(encoding))
        yield Nasty(f"encoding-{encoding}-scalar", "1".encode(encoding))
    for name in ("UTF8", "UTF16_LE", "UTF16_BE", "UTF32_LE", "UTF32_BE"):
        mark: bytes = getattr(codecs, f"BOM_{name}")
        yield Nasty(f"bom-{name}", mark + text.encode())
        yield Nasty(f"bom-{name}-alone", mark)
    yield Nasty("encoding-utf7", b"+AHs-+AH0-")
    yield Nasty("encoding-ebcdic", text.encode("cp500"))
    yield Nasty("encoding-gzip", gzip.compress(text.encode(), mtime=0))
    yield Nasty("encoding-msgpack", b"\x82\xa2op\xa4ping\xa3ref\xa11")
    yield Nasty("encoding-random", bytes(range(255, -1, -1)))


def _repeated_keys() -> Iterable[Nasty]:
    for key in ("op", "ref", "text", "thread_id", "client_message_id"):
        yield Nasty(f"duplicate-{key}", _SEND + b'"x","%s":"y"}' % key.encode())
    yield Nasty("duplicate-escaped", b'{"op":"ping","\\u006fp":"send"}')
    yield Nasty("duplicate-same-value", b'{"a":1,"a":1}')
    yield Nasty("duplicate-empty-key", b'{"":1,"":2}')
    yield Nasty("duplicate-nested", _SEND + b'"x","metadata":{"a":[{"b":1,"b":2}]}}')
    yield Nasty("duplicate-proto", b'{"__proto__":{},"__proto__":{}}')
    yield Nasty("duplicate-million", b"{" + b'"":0,' * 999_999 + b'"":0}')


def _deep() -> Iterable[Nasty]:
    for depth in (33, 100, 1_000, 100_000):
        yield Nasty(f"depth-array-{depth}", b"[" * depth + b"]" * depth)
        yield Nasty(f"depth-object-{depth}", b'{"a":' * depth + b"1" + b"}" * depth)
        yield Nasty(f"depth-open-array-{depth}", b"[" * depth)
        yield Nasty(f"depth-open-object-{depth}", b'{"a":' * depth)
    yield Nasty("depth-mixed", b'[{"a":' * 17 + b"1" + b"}]" * 17)
    yield Nasty("depth-member", _SEND + b'"x","metadata":' + b'{"a":' * 32 + b"1" + b"}" * 33)
    yield Nasty("depth-behind-brackets-in-text", b'["]]]]]]]]]]",' + b"[" * 32 + b"]" * 33)


def _many() -> Iterable[Nasty]:
    yield Nasty("many-elements", b"[" + b"0," * 20_000 + b"0]")
    yield Nasty("many-empty-arrays", b"[" + b"[]," * 20_000 + b"[]]")
    yield Nasty("many-keys", b"{" + b",".join(b'"k%d":0' % number for number in range(20_000)) + b"}")
    yield Nasty("many-members", _SEND + b'"x","metadata":{"a":[' + b"{}," * 20_000 + b"{}]}}")
    yield Nasty("size-million-elements", b"[" + b"0," * 999_999 + b"0]")
    yield Nasty("size-text", _SEND + b'"' + b"a" * MIB + b'"}')
    yield Nasty("size-blanks", b" " * MIB + b"{}")
    yield Nasty("size-key", b'{"' + b"k" * MIB + b'":1}')
    yield Nasty("many-quotes", b'"' * 60_001)
    yield Nasty("many-escaped-quotes", b'"' + b'\\"' * 30_000)
    yield Nasty("many-escaped-quotes-behind-brackets", b"[" + b"[]," * 33 + b'"' + b'\\"' * 30_000)
    yield Nasty("many-strings-behind-brackets", b"[" + b"[]," * 33 + b'""' * 30_000)
    yield Nasty("many-backslashes", b'"' + b"\\" * 60_001)
    yield Nasty("many-commas", b"," * 60_000)
    yield Nasty("many-minus", b"-" * 60_000)


def _malformed() -> Iterable[Nasty]:
    for name, text in (("empty", b""), ("space", b" "), ("newline", b"\n"), ("blanks", b" \t\r\n" * 100)):
        yield Nasty(f"nothing-{name}", text)
    for name, constant in (("nan", b"NaN"), ("inf", b"Infinity"), ("minus-inf", b"-Infinity"), ("minus-nan", b"-NaN")):
        yield from _in_places(name, constant)
    yield from _in_places("overflow", b"1e999")
    yield from _in_places("overflow-negative", b"-1e999")
    yield from _in_places("overflow-exponent", b"1e" + b"9" * 1_000)
    yield from _in_places("overflow-digits", b"1" * 400 + b".0")
    yield from _in_places("integer-2-63", b"9223372036854775808")
    yield from _in_places("integer-minus-2-63", b"-9223372036854775808")
    yield from _in_places("integer-5000-digits", b"1" * 5_000)
    yield from _in_places("integer-50000-digits", b"-" + b"9" * 50_000)
    yield from _in_places("nul-escaped", b'"a\\u0000b"')
    yield from _in_places("nul-raw", b'"a\x00b"')
    yield Nasty("nul-key-escaped", b'{"a\\u0000":1}')
    yield Nasty("nul-key-raw", b'{"a\x00":1}')
    yield Nasty("nul-outside", b'{"a":1}\x00')
    yield Nasty("nul-before", b'\x00{"a":1}')
    yield Nasty("nul-between", b'{"a":\x001}')
    for number, half in enumerate(_HALVES):
        yield from _in_places(f"surrogate-{number}", b'"' + half + b'"')
        yield Nasty(f"surrogate-{number}-key", b'{"' + half + b'":1}')
    for code in range(1, 0x20):
        yield Nasty(f"control-{code:02x}", _SEND + b'"a' + bytes([code]) + b'b"}')
    yield from _named("number", _NUMBERS)
    yield from _named("broken", _BROKEN)
    yield from _named("broken-whole", _BROKEN_WHOLE)
    for number, raw in enumerate(_NOT_UTF8):
        yield Nasty(f"not-utf8-{number}", raw)
        yield Nasty(f"not-utf8-{number}-text", _SEND + b'"' + raw + b'"}')
    yield from _encodings()
    yield from _repeated_keys()
    yield from _deep()
    yield from _many()


MALFORMED: list[Nasty] = list(_malformed())


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_WRONG_VALUES: dict[str, object] = {
    "null": None,
    "true": True,
    "number": 5,
    "zero": 0,
    "float": 1.5,
    "array": [],
    "array-of-text": ["x"],
    "object": {},
    "proto": {"__proto__": {"admin": True}},
}
_GOOD_MESSAGE: dict[str, object] = {"client_message_id": "c1", "text": "x"}
_GOOD_SEND: dict[str, object] = {"op": "send", "ref": "1", "thread_id": THREAD_ID, **_GOOD_MESSAGE}
_WRONG_IDS = {
    "other-kind": RUN_ID,
    "empty": "",
    "blank": " ",
    "short": "thread_",
    "label-only": "thread",
    "wrong-alphabet": "thread_01h455vb4pex5vsknk084sn0u!",
    "upper": THREAD_ID.upper(),
    "path": "../../etc/passwd",
    "sql": "' OR 1=1 --",
    "long": "thread_" + "0" * 5_000,
    "newline": THREAD_ID + "\n",
    "percent": "%00",
    "wide": THREAD_ID.replace("0", "\uff10"),
}
_WRONG_POSITIONS: dict[str, object] = {
    "text": "5",
    "minus": -1,
    "float": 1.5,
    "true": True,
    "array": [],
    "object": {},
}

NOT_OBJECTS: list[Nasty] = [
    Nasty(f"top-{name}", body)
    for name, body in {
        "null": b"null",
        "true": b"true",
        "false": b"false",
        "zero": b"0",
        "minus-zero": b"-0",
        "number": b"17",
        "float": b"1.5",
        "large": b"9223372036854775807",
        "text": b'"send"',
        "empty-text": b'""',
        "text-holding-json": b'"{\\"op\\":\\"ping\\",\\"ref\\":\\"1\\"}"',
        "array": b"[]",
        "array-of-null": b"[null]",
        "array-of-objects": b"[{}]",
        "array-of-frames": b'[{"op":"ping","ref":"1"},{"op":"ping","ref":"2"}]',
        "pairs": b'[["op","ping"],["ref","1"]]',
        "deep-array": b"[" * 32 + b"]" * 32,
    }.items()
]


def _wrong_ops() -> Iterable[Nasty]:
    for name, value in _WRONG_VALUES.items():
        yield Nasty(f"op-{name}", _json({**_GOOD_SEND, "op": value}))
        yield Nasty(f"ref-{name}-in-unknown-op", _json({"op": "nothing", "ref": value}))
    names = (
        *("nothing", "", " ", "SEND", "Send", " send", "send ", "send\n", "__proto__", "constructor", "__class__"),
        *("connect", "auth2", "s\u0435nd", "\U0001f600", "a" * 10_000),
    )
    for number, name in enumerate(names):
        yield Nasty(f"op-unknown-{number}", _json({**_GOOD_SEND, "op": name}))


def _wrong_frames() -> Iterable[Nasty]:
    yield Nasty("frame-empty-object", b"{}")
    yield Nasty("frame-without-op", _json({key: value for key, value in _GOOD_SEND.items() if key != "op"}))
    yield Nasty("frame-without-ref", _json({key: value for key, value in _GOOD_SEND.items() if key != "ref"}))
    yield Nasty("frame-only-proto", b'{"__proto__":{"op":"ping","ref":"1"}}')
    yield Nasty("frame-json-rpc", b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    yield Nasty("frame-wrapped", b'{"data":{"op":"ping","ref":"1"}}')
    yield Nasty("frame-key-case", b'{"OP":"ping","REF":"1"}')
    for op in ("auth", "subscribe", "unsubscribe", "send", "cancel", "decide"):
        yield Nasty(f"{op}-bare", _json({"op": op, "ref": "1"}))
    yield from _wrong_ops()
    for op, field in (("subscribe", "thread_id"), ("unsubscribe", "thread_id"), ("cancel", "run_id")):
        for name, value in _WRONG_VALUES.items():
            yield Nasty(f"{op}-{field}-{name}", _json({"op": op, "ref": "1", field: value}))
    for name, value in _WRONG_POSITIONS.items():
        yield Nasty(
            f"subscribe-after-{name}", _json({"op": "subscribe", "ref": "1", "thread_id": THREAD_ID, "after": value})
        )
    for name, value in {**_WRONG_VALUES, "maybe": "maybe", "empty": ""}.items():
        yield Nasty(
            f"decide-decision-{name}",
            _json({"op": "decide", "ref": "1", "approval_id": APPROVAL_ID, "decision": value}),
        )
    for name, value in _WRONG_VALUES.items():
        if value is not None:
            yield Nasty(f"send-thread_id-{name}", _json({**_GOOD_SEND, "thread_id": value}))
    for name, wrong in _WRONG_IDS.items():
        yield Nasty(f"send-id-{name}", _json({**_GOOD_SEND, "thread_id": wrong}))
        yield Nasty(f"subscribe-id-{name}", _json({"op": "subscribe", "ref": "1", "thread_id": wrong}))
        yield Nasty(
            f"cancel-id-{name}", _json({"op": "cancel", "ref": "1", "run_id": wrong.replace(RUN_ID, THREAD_ID)})
        )
    send = {"op": "send", "ref": "1", "thread_id": THREAD_ID}
    for name, members in _wrong_messages():
        yield Nasty(f"send-{name}", _json({**send, **members}))


def _wrong_parts() -> Iterable[tuple[str, dict[str, object]]]:
    wrong: dict[str, object] = {
        **{name: value for name, value in _WRONG_VALUES.items() if name != "null"},
        "text": "x",
        "null-part": [None],
        "number-part": [5],
        "untyped": [{"text": "x"}],
        "unknown-type": [{"type": "nothing", "text": "x"}],
        "type-number": [{"type": 5, "text": "x"}],
        "text-missing": [{"type": "text"}],
        "text-null": [{"type": "text", "text": None}],
        "text-number": [{"type": "text", "text": 5}],
        "text-array": [{"type": "text", "text": ["x"]}],
        "nested": [[{"type": "text", "text": "x"}]],
        "second-wrong": [{"type": "text", "text": "x"}, 5],
        "too-many": [{"type": "text", "text": "x"}] * 1_000,
        "all-empty": [{"type": "text", "text": ""}],
    }
    for name, value in wrong.items():
        yield f"parts-{name}", {"client_message_id": "c1", "parts": value}


def _wrong_messages() -> Iterable[tuple[str, dict[str, object]]]:
    for field in _GOOD_MESSAGE:
        for name, value in _WRONG_VALUES.items():
            if field == "text" or value is not None:
                yield f"{field}-{name}", {**_GOOD_MESSAGE, field: value}
    for name, text in {"empty": "", "blank": " ", "long": "a" * 60_001, "long-wide": "\u20ac" * 20_001}.items():
        yield f"text-{name}", {**_GOOD_MESSAGE, "text": text}
    yield "text-missing", {"client_message_id": "c1"}
    yield "text-and-parts", {**_GOOD_MESSAGE, "parts": [{"type": "text", "text": "x"}]}
    yield "client-message-id-long", {**_GOOD_MESSAGE, "client_message_id": "a" * 10_000}
    yield "agent-number", {**_GOOD_MESSAGE, "agent": 5}
    yield "agent-unknown", {**_GOOD_MESSAGE, "agent": "no_such_agent_anywhere"}
    yield "on-busy-unknown", {**_GOOD_MESSAGE, "on_busy": "explode"}
    yield "on-busy-number", {**_GOOD_MESSAGE, "on_busy": 5}
    yield from _wrong_parts()


_KNOWN_FIELDS = (
    *("op", "ref", "text", "parts", "thread_id", "run_id", "approval_id", "client_message_id", "agent", "on_busy"),
    *("title", "metadata", "email", "password", "refresh_token", "token", "decision", "name", "scopes", "tenant_id"),
    *("after", "arguments", "role", "external_id", "expires_at"),
)
_WRONG_FOR_EVERY_FIELD: dict[str, object] = {
    "true": True,
    "number": -5,
    "float": 1.5,
    "array": [5],
    "nested": [[{}]],
}

WRONG_FRAMES: list[Nasty] = list(_wrong_frames())
WRONG_BODIES: list[Nasty] = [Nasty(f"message-{name}", _json(members)) for name, members in _wrong_messages()]
WRONG_EVERYWHERE: list[Nasty] = [
    Nasty(f"every-field-{name}", _json(dict.fromkeys(_KNOWN_FIELDS, value)))
    for name, value in _WRONG_FOR_EVERY_FIELD.items()
]

WRONG_SHAPE: list[Nasty] = NOT_OBJECTS + WRONG_FRAMES + WRONG_BODIES + WRONG_EVERYWHERE
