"""The only way in for JSON: what passes here is safe to store, to forward and to print again.

``json.loads`` takes far more than JSON: NaN, numbers that become infinity, keys given twice, halves of characters,
NUL, any depth. Each of these fails later, in a place that cannot say what was wrong. Here each is a typed refusal
that names the place. What the members *mean* is not known here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from cloche.errors import ClocheError, ConfigurationError, InvalidInputError, PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLimits:
    """What one document may cost.

    Attributes:
        max_bytes: of the encoded document, in UTF-8.
        max_depth: of arrays and objects inside each other, 1 to 100. The parser below recurses once per level.
        max_items: array elements and object members in the whole document; an empty container counts as one more.
    """

    max_bytes: int = 1024 * 1024
    max_depth: int = 32
    max_items: int = 10_000

    def __post_init__(self) -> None:
        if not 1 <= self.max_depth <= 100 or self.max_bytes < 1 or self.max_items < 1:
            raise ConfigurationError("JSON limits: max_depth must be 1 to 100, max_bytes and max_items at least 1")


DEFAULT = JsonLimits()
FRAME = JsonLimits(max_bytes=64 * 1024)

_MAX_INTEGER = 2**63 - 1
_MAX_INTEGER_LENGTH = len(f"-{_MAX_INTEGER}")
_MAX_FLOAT_LENGTH = 400
_SHOWN_KEY_LENGTH = 40
_ALLOWED_BLANKS = " \t\r\n"

# A string that never ends is one token up to the end of the text: tried again at each quote, it would cost n².
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]')
_SUSPICIOUS_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_BAD_CHARACTER = re.compile(r"[\x00\ud800-\udfff]")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SENTENCES = {
    "size": "the document is too large",
    "empty": "there is no JSON here",
    "encoding": "JSON is UTF-8, and this is not",
    "bom": "JSON starts without a byte order mark",
    "malformed": "this is not JSON",
    "trailing": "something follows the JSON value",
    "control_character": "a control character stands unescaped in a string",
    "nul": "a text may not hold U+0000",
    "lone_surrogate": "a text may not hold half a surrogate pair",
    "not_finite": "a number must be finite",
    "integer_range": "an integer must lie within ±(2^63-1)",
    "number_length": f"a number has at most {_MAX_FLOAT_LENGTH} characters",
    "duplicate_key": "a key is given twice",
    "depth": "arrays and objects are nested too deeply",
    "too_many_items": "there are too many members",
    "not_an_object": "a JSON object is wanted here",
}


def parse(body: bytes | str, limits: JsonLimits = DEFAULT) -> JsonValue:
    """Return the one JSON value that ``body`` is, or refuse it.

    Ordinary text of every language passes unchanged. Integers keep their exact value; no text in the result holds
    NUL or a lone surrogate; no float is infinite or NaN; every key stood once in its object.

    Args:
        body: a request body as bytes, or the text of a WebSocket frame.
        limits: what it may cost; size, depth and the number of members are checked before anything is built.

    Raises:
        InvalidInputError: ``details`` holds ``reason`` and ``place``: a JSONPath (``$.parts[0].text``), or
            ``byte 17`` where the text is no JSON or was refused before it was parsed.
        PayloadTooLargeError: it is larger than ``limits.max_bytes``.

    Guarantees: no other exception, whatever the input; time and memory are linear in the size.

    Source: https://www.rfc-editor.org/rfc/rfc8259 and https://www.rfc-editor.org/rfc/rfc7493 (I-JSON)
    """
    text = _decode(body, limits)
    if "\x00" in text:
        raise _refusal("nul", _byte(text, text.index("\x00")))
    containers = text.count("[") + text.count("{")
    if containers > limits.max_depth or containers + text.count(",") > limits.max_items:
        _check_structure(text, limits)
    try:
        value = cast("JsonValue", _STOPPING.decode(text))
    except (json.JSONDecodeError, _FaultError):
        raise _explanation(text) from None
    if "\\u" in text and _SUSPICIOUS_ESCAPE.search(text):
        _check_parsed(value)
    return value


def require_object(value: JsonValue) -> dict[str, JsonValue]:
    """Return ``value``, which is a JSON object.

    Raises:
        InvalidInputError: it is anything else.
    """
    if not isinstance(value, dict):
        raise _refusal("not_an_object", "$")
    return value


class _FaultError(Exception):
    """A value that is not acceptable: raised by the one decoder, left in the value's place by the other."""

    def __init__(self, reason: str, key: str | None = None) -> None:
        self.reason = reason
        self.key = key
        super().__init__(reason)


def _refusal(reason: str, place: str) -> ClocheError:
    return InvalidInputError(f"{_SENTENCES[reason]} ({place})", details={"place": place, "reason": reason})


def _byte(text: str, index: int) -> str:
    return f"byte {len(text[:index].encode())}"


def _decode(body: bytes | str, limits: JsonLimits) -> str:
    _check_size(len(body), limits)
    if isinstance(body, str):
        return _checked_text(body, limits)
    found = json.detect_encoding(body)
    if found != "utf-8":
        raise _refusal("bom" if found == "utf-8-sig" else "encoding", "byte 0")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _refusal("encoding", f"byte {error.start}") from None


def _checked_text(text: str, limits: JsonLimits) -> str:
    if text.isascii():
        return text
    try:
        _check_size(len(text.encode()), limits)
    except UnicodeEncodeError as error:
        raise _refusal("lone_surrogate", _byte(text, error.start)) from None
    if text.startswith("\ufeff"):
        raise _refusal("bom", "byte 0")
    return text


def _check_size(size: int, limits: JsonLimits) -> None:
    if size > limits.max_bytes:
        raise PayloadTooLargeError(
            f"{_SENTENCES['size']}: at most {limits.max_bytes} bytes are taken",
            details={"place": "$", "reason": "size", "limit_bytes": limits.max_bytes},
        )


def _check_structure(text: str, limits: JsonLimits) -> None:
    depth = items = 0
    for number, token in enumerate(_TOKEN.finditer(text)):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            items += 1
        elif mark in "]}":
            depth -= 1
        elif mark == ",":
            items += 1
        if depth > limits.max_depth:
            raise _refusal("depth", _byte(text, token.start()))
        # Valid JSON has at most five tokens per member; strings in a row without commas end here too.
        if items > limits.max_items or number > 5 * limits.max_items + 3:
            raise _refusal("too_many_items", _byte(text, token.start()))


def _decoder(on_fault: Callable[[_FaultError], object]) -> json.JSONDecoder:
    def integer(text: str) -> object:
        # int() takes quadratic time and refuses 4,301 digits, so the length is looked at first.
        if len(text) > _MAX_INTEGER_LENGTH or abs(value := int(text)) > _MAX_INTEGER:
            return on_fault(_FaultError("integer_range"))
        return value

    def real(text: str) -> object:
        if len(text) > _MAX_FLOAT_LENGTH:
            return on_fault(_FaultError("number_length"))
        if math.isinf(value := float(text)):
            return on_fault(_FaultError("not_finite"))
        return value

    def constant(_text: str) -> object:
        return on_fault(_FaultError("not_finite"))

    def members(pairs: list[tuple[str, object]]) -> object:
        found = dict(pairs)
        if len(found) != len(pairs):
            return on_fault(_FaultError("duplicate_key", _first_repeated(key for key, _ in pairs)))
        return found

    return json.JSONDecoder(object_pairs_hook=members, parse_float=real, parse_int=integer, parse_constant=constant)


def _stop(fault: _FaultError) -> object:
    raise fault


def _leave_in_place(fault: _FaultError) -> object:
    return fault


# Decoders hold no state between calls.
_STOPPING = _decoder(_stop)
_MARKING = _decoder(_leave_in_place)


def _first_repeated(keys: Iterable[str]) -> str:
    return next(key for key, count in Counter(keys).items() if count > 1)


def _explanation(text: str) -> ClocheError:
    """What is wrong with a text that the first decoder refused; only here is the place worked out."""
    try:
        value = _MARKING.decode(text)
    except json.JSONDecodeError as error:
        return _refusal(_syntax_reason(text, error), _byte(text, error.pos))
    steps: list[str | int] = []
    return _refusal(_find_fault(value, steps) or "malformed", _json_path(steps))


def _syntax_reason(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip(_ALLOWED_BLANKS):
        return "empty"
    if error.msg.startswith("Invalid control character"):
        return "control_character"
    return "trailing" if error.msg == "Extra data" else "malformed"


def _check_parsed(value: JsonValue) -> None:
    steps: list[str | int] = []
    if reason := _find_fault(value, steps):
        raise _refusal(reason, _json_path(steps))


def _find_fault(value: object, steps: list[str | int]) -> str | None:
    """The reason of the first fault inside, with ``steps`` leading to it. Recurses at most ``max_depth`` times."""
    if isinstance(value, str):
        return _character_fault(value)
    if isinstance(value, _FaultError):
        if value.key is not None:
            steps.append(value.key)
        return value.reason
    for step, child in _children(value):
        steps.append(step)
        reason = (_character_fault(step) if isinstance(step, str) else None) or _find_fault(child, steps)
        if reason:
            return reason
        steps.pop()
    return None


def _children(value: object) -> Iterable[tuple[str | int, object]]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).items()
    if isinstance(value, list):
        return enumerate(cast("list[object]", value))
    return ()


def _character_fault(text: str) -> str | None:
    found = _BAD_CHARACTER.search(text)
    if found is None:
        return None
    return "nul" if found.group() == "\x00" else "lone_surrogate"


def _json_path(steps: list[str | int]) -> str:
    return "$" + "".join(map(_json_path_step, steps))


def _json_path_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    shown = step if len(step) <= _SHOWN_KEY_LENGTH else step[:_SHOWN_KEY_LENGTH] + "…"
    return f".{shown}" if _PLAIN_KEY.fullmatch(shown) else f"[{json.dumps(shown)}]"
