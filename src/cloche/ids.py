"""Every id of this program: one grammar, one generator, one class per kind.

``[label_]type_suffix``. The suffix is a UUIDv7 in TypeID's lower-case base 32, 26 characters. The type is the word
just before the suffix, by position, so a label may hold any word. Labels are for people who read logs; nothing may
depend on one. An id is a name, not a credential: who holds one may do nothing with it yet.

Source: https://github.com/jetify-com/typeid/tree/main/spec · https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
"""

from __future__ import annotations

import os
import re
import threading
import time
from array import array
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final, Self
from uuid import UUID

from cloche.errors import InvalidIdError

if TYPE_CHECKING:
    from collections.abc import Callable


class IDType(StrEnum):
    """What an id names; the value is the word inside the id."""

    USER = "user"
    SESSION = "session"
    REQUEST = "request"
    AGENT = "agent"
    TOOL = "tool"
    TRANSACTION = "transaction"
    WEBSOCKET = "websocket"
    EXECUTION = "execution"
    TRACE = "trace"
    METRIC = "metric"
    THREAD = "thread"
    RUN = "run"
    TENANT = "tenant"
    MESSAGE = "message"
    APPROVAL = "approval"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedId:
    """What can be read off an id of this program; ``created_at_ms`` is milliseconds since 1970, UTC."""

    type: IDType
    label: str | None
    suffix: str
    uuid: UUID
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredId:
    """What can be read off an older system's id; ``created_at_ms`` only where the id carries milliseconds."""

    type: IDType
    counter: int
    created_at_ms: int | None


_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = tuple(left + right for left in _ALPHABET for right in _ALPHABET)
_TO_PYTHON_DIGITS: Final = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_MAX_MS: Final = (1 << 48) - 1
_HALF_BITS: Final = 30
_HALF_MAX: Final = (1 << _HALF_BITS) - 1

_TYPE: Final = f"(?:{'|'.join(IDType)})"
_LABEL: Final = "[a-z][a-z0-9_]{0,30}"
_FOREIGN: Final = "[A-Za-z][A-Za-z0-9_-]{0,63}"
_DIGIT: Final = f"[{_ALPHABET}]"
# The 11th and the 14th character hold the UUID's version 7 and variant 10, so the pattern checks both.
_SUFFIX: Final = f"[0-7]{_DIGIT}{{9}}[ef]{_DIGIT}{{2}}[89abrstv]{_DIGIT}{{12}}"
# One group per place of the type word, none for the label: a group there would double the cost of a match.
_match_id: Final = re.compile(f"(?:({_TYPE})|{_LABEL}_({_TYPE}))_{_SUFFIX}").fullmatch
_match_label: Final = re.compile(_LABEL).fullmatch
_match_uuid: Final = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch
_match_structured: Final = re.compile(
    f"(?:({_TYPE})|({_TYPE})_{_FOREIGN}_[0-9]{{13}}|{_FOREIGN}_({_TYPE}))_[0-9]{{1,18}}_[0-9a-f]{{8}}"
).fullmatch


class SuffixSource:
    """Makes suffixes, each greater than the one before, from any thread, whatever the wall clock does.

    A millisecond starts at 74 fresh random bits; inside it each suffix is a random step of 1 to 2**25 further on.
    While the clock stands still or goes back, the source stays in its last millisecond; should the random bits run
    out there, it moves on to the next. The arguments are the clock, in nanoseconds since 1970, and what draws that
    many unforeseeable bytes.
    """

    def __init__(self, now_ns: Callable[[], int] = time.time_ns, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._now_ns = now_ns
        self._draw = draw
        self._ms = -1
        self._next_ms_ns = 0
        self._head = self._middle = ""
        self.restart()

    def restart(self) -> None:
        """Forget all random bits: a forked child must not go on with those of its parent."""
        self._lock = threading.Lock()
        self._steps: list[int] = []
        # With nothing left, the next suffix begins a millisecond.
        self._high = self._low = _HALF_MAX

    def next(self) -> str:
        """A suffix greater than every one before; safe from any thread, and never waits for the clock."""
        with self._lock:
            now_ns = self._now_ns()
            if now_ns >= self._next_ms_ns:
                self._begin(now_ns // 1_000_000)
            else:
                if not self._steps:
                    self._steps = [(bits >> 7) + 1 for bits in array("I", self._draw(4096))]
                self._low += self._steps.pop()
                if self._low > _HALF_MAX:
                    self._carry()
            low = self._low
            return f"{self._middle}{_PAIRS[low >> 20]}{_PAIRS[low >> 10 & 1023]}{_PAIRS[low & 1023]}"

    def _begin(self, ms: int) -> None:
        bits = int.from_bytes(self._draw(10)) >> 6
        self._ms = ms
        self._next_ms_ns = (ms + 1) * 1_000_000
        self._head = _encode(_uuid_bits(ms, bits) >> 2 * _HALF_BITS, 14)
        self._high = bits >> _HALF_BITS & _HALF_MAX
        self._low = bits & _HALF_MAX
        self._middle = self._head + _encode(self._high, 6)

    def _carry(self) -> None:
        self._low &= _HALF_MAX
        self._high += 1
        if self._high > _HALF_MAX:
            self._begin(self._ms + 1)
        else:
            self._middle = self._head + _encode(self._high, 6)


def _uuid_bits(ms: int, random_bits: int) -> int:
    """UUIDv7 of 48 bits of time and 74 random bits: time, version 7, 12 bits, variant 10, 62 bits."""
    return ms << 80 | 7 << 76 | (random_bits >> 62) << 64 | 2 << 62 | random_bits & ((1 << 62) - 1)


def _encode(bits: int, length: int) -> str:
    return "".join(_PAIRS[bits >> shift & 1023] for shift in range(5 * length - 10, -1, -10))


# The one module-level instance of the program: two sources in one process could not keep its ids in order.
_suffixes: Final = SuffixSource()
_next_suffix: Final = _suffixes.next
os.register_at_fork(after_in_child=_suffixes.restart)


def generate_id(id_type: IDType, prefix: str | None = None) -> str:
    """A new id, greater as text than every earlier one of this process with the same type and prefix.

    ``RunId.new()`` and its siblings give the same, with the kind known to the type checker.

    Raises:
        InvalidIdError: the prefix is no label.
        TypeError: the kind is not an ``IDType``, or the prefix not a text.
    """
    if id_type.__class__ is not IDType:
        raise TypeError(f"an IDType is needed, got {id_type!a}")
    if prefix is None:
        return "_".join((id_type, _next_suffix()))
    if not _match_label(prefix):
        raise InvalidIdError(f"a label is a letter a-z and up to 30 of a-z, 0-9 and _, got {_shown(prefix)}")
    return "_".join((prefix, id_type, _next_suffix()))


def id_at(kind: IDType, at_ms: int) -> str:
    """A new id that says it was made at another time, for taking over what older systems made.

    Guarantees: unique by its 74 random bits. *Not* monotonic: two ids of the same millisecond come in any order.

    Args:
        kind: what the id will name.
        at_ms: milliseconds since 1970, 0 to 2**48 - 1.

    Raises:
        InvalidIdError: the time is out of bounds.
    """
    if not 0 <= at_ms <= _MAX_MS:
        raise InvalidIdError(f"the time of an id lies between 0 and {_MAX_MS} ms, got {at_ms}")
    return f"{kind.value}_{_encode(_uuid_bits(at_ms, int.from_bytes(os.urandom(10)) >> 6), 26)}"


def parse_id(text: object) -> ParsedId:
    """The parts of an id of this program.

    Raises:
        InvalidIdError: not a text, or not such an id.
    """
    if not isinstance(text, str) or not _match_id(text):
        raise _refusal("an id", text)
    head, _, suffix = text.rpartition("_")
    label, _, word = head.rpartition("_")
    bits = int(suffix.translate(_TO_PYTHON_DIGITS), 32)
    return ParsedId(
        type=IDType(word), label=label or None, suffix=suffix, uuid=UUID(int=bits), created_at_ms=bits >> 80
    )


def is_valid_id_format(text: object) -> bool:
    """Whether this is an id of this program's grammar. Says nothing about whether such a thing exists."""
    return isinstance(text, str) and _match_id(text) is not None


def is_valid_id_format_compatible(text: object, type: IDType | None = None) -> bool:  # noqa: A002 - the agreed name
    """Whether this is an id of this program, a UUID, or a structured id of an older system.

    With a type, the type word inside the id must be that one; a UUID carries none and fits every type.
    """
    if not isinstance(text, str):
        return False
    match = _match_structured(text) if text[-9:-8] == "_" else _match_id(text)
    if match is None:
        return _match_uuid(text) is not None
    return type is None or match[match.lastindex or 0] == type


def find_structured_id(text: str) -> StructuredId | None:
    """The parts of an older id, ``[prefix_]type_counter_8hex`` or ``type_operation_milliseconds_counter_8hex``."""
    match = _match_structured(text)
    if match is None:
        return None
    _, ms, counter, _ = f"_{text}".rsplit("_", 3)
    kind = IDType(match[match.lastindex or 0])
    return StructuredId(type=kind, counter=int(counter), created_at_ms=int(ms) if match[2] else None)


def generate_user_context_ids(user_id: UserId, operation: str) -> tuple[ThreadId, RunId, RequestId]:
    """The ids of one new context, labelled with the operation.

    What belongs to whom is stored in rows: the user's id never becomes a part of another id.

    Raises:
        InvalidIdError: there is no user, or the operation is no label.
    """
    if _is_blank(user_id):
        raise _refusal("a user id", user_id)
    return ThreadId.new(operation), RunId.new(operation), RequestId.new(operation)


def _is_blank(value: object) -> bool:
    return not isinstance(value, str) or not value.strip()


def _refusal(expected: str, value: object) -> InvalidIdError:
    got = "text that is no id" if isinstance(value, str) else "a value that is no text"
    return InvalidIdError(f"expected {expected}, got {got} ({_shown(value)})")


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return value.__class__.__name__
    return ascii(value[:40]) + ("…" if len(value) > 40 else "")


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'ae' else 'a'} {kind} id"


class TypedId(str):
    """A text that names one kind of thing. The constructor does not check: it is for rows of our own database."""

    __slots__ = ()
    kind: ClassVar[IDType]

    def __init_subclass__(cls, *, kind: IDType) -> None:
        cls.kind = kind

    @classmethod
    def new(cls, label: str | None = None) -> Self:
        """A new id of this kind, ordered as ``generate_id`` orders; InvalidIdError when the label is not one."""
        return cls(generate_id(cls.kind, label))

    @classmethod
    def parse(cls, text: object) -> Self:
        """The same text as an id of this kind.

        Raises:
            InvalidIdError: not a text, not an id, or the id of another kind; the message says which.
        """
        match = _match_id(text) if isinstance(text, str) else None
        if match is None:
            raise _refusal(_with_article(cls.kind), text)
        word = match[match.lastindex or 0]
        if word != cls.kind:
            raise InvalidIdError(
                f"expected {_with_article(cls.kind)}, got {_with_article(word)}",
                details={"expected": cls.kind.value, "got": word},
            )
        return cls(match[0])


class UserId(TypedId, kind=IDType.USER):
    """Names a person in a tenant."""

    __slots__ = ()


class SessionId(TypedId, kind=IDType.SESSION):
    """Names a sign-in of a user."""

    __slots__ = ()


class RequestId(TypedId, kind=IDType.REQUEST):
    """Names one request at an edge."""

    __slots__ = ()


class AgentId(TypedId, kind=IDType.AGENT):
    """Names an agent."""

    __slots__ = ()


class ToolId(TypedId, kind=IDType.TOOL):
    """Names a tool, or one call of it."""

    __slots__ = ()


class TransactionId(TypedId, kind=IDType.TRANSACTION):
    """Names an entry of the ledger."""

    __slots__ = ()


class WebsocketId(TypedId, kind=IDType.WEBSOCKET):
    """Names one live connection."""

    __slots__ = ()


class ExecutionId(TypedId, kind=IDType.EXECUTION):
    """Names one attempt at a run."""

    __slots__ = ()


class TraceId(TypedId, kind=IDType.TRACE):
    """Names a trace through the logs."""

    __slots__ = ()


class MetricId(TypedId, kind=IDType.METRIC):
    """Names one measurement."""

    __slots__ = ()


class ThreadId(TypedId, kind=IDType.THREAD):
    """Names a conversation."""

    __slots__ = ()


class RunId(TypedId, kind=IDType.RUN):
    """Names what a user asked an agent for."""

    __slots__ = ()


class TenantId(TypedId, kind=IDType.TENANT):
    """Names the owner of data and limits."""

    __slots__ = ()


class MessageId(TypedId, kind=IDType.MESSAGE):
    """Names a piece of a conversation."""

    __slots__ = ()


class ApprovalId(TypedId, kind=IDType.APPROVAL):
    """Names a question to a person that a run waits for."""

    __slots__ = ()


class KeyId(TypedId, kind=IDType.KEY):
    """Names an API key; it is not the key."""

    __slots__ = ()
