"""Which new id each id of an older system gets. Decides only: reading and writing the rows is the caller's."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from cloche.errors import InvalidIdError
from cloche.ids import IDType, find_structured_id, generate_id, id_at, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_FOREIGN_ID_CHARACTERS = 256
# Control and invisible characters, lone surrogates, line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class UnmappedReason(StrEnum):
    """Why an old id has no new one."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    CONTROL_CHARACTERS = "control_characters"
    OTHER_TYPE = "other_type"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmappedId:
    """An old id, as it was given, that needs a person; ``found`` is the type that it carries instead."""

    value: str
    reason: UnmappedReason
    found: IDType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdMapping:
    """Old id to new id, and what has none; both in the order given, keyed by the text exactly as it was given."""

    kind: IDType
    mapped: Mapping[str, str]
    unmapped: tuple[UnmappedId, ...]


def map_foreign_ids(values: Iterable[str], kind: IDType) -> IdMapping:
    """A new id of the kind for every old id that can have one, and the reason for every other.

    An old id that carries milliseconds keeps them, and such ids keep their order: by time, then by counter. The others
    get ids of now, in the order given. What is an id of this program and kind already stays as it is, so a second
    pass over the result changes nothing. Surrounding white space is no part of an id; of several values that differ
    in nothing else, the first is mapped and the others are duplicates.
    """
    mapped: dict[str, str] = {}
    unmapped: list[UnmappedId] = []
    dated: list[tuple[int, int, str]] = []
    seen: set[str] = set()
    for value in values:
        text = value.strip()
        carried = _carried_type(text)
        reason = _why_not(text, carried, kind, seen)
        if reason is not None:
            found = carried if reason is UnmappedReason.OTHER_TYPE else None
            unmapped.append(UnmappedId(value=value, reason=reason, found=found))
            continue
        seen.add(text)
        older = find_structured_id(text)
        if older is None:
            mapped[value] = text if carried else generate_id(kind)
        elif older.created_at_ms is None:
            mapped[value] = generate_id(kind)
        else:
            mapped[value] = ""
            dated.append((older.created_at_ms, older.counter, value))
    dated.sort()
    at_their_times = sorted(id_at(kind, at_ms) for at_ms, _, _ in dated)
    mapped.update(zip((value for _, _, value in dated), at_their_times, strict=True))
    return IdMapping(kind=kind, mapped=MappingProxyType(mapped), unmapped=tuple(unmapped))


def _carried_type(text: str) -> IDType | None:
    older = find_structured_id(text)
    if older is not None:
        return older.type
    try:
        return parse_id(text).type
    except InvalidIdError:
        return None


def _why_not(text: str, carried: IDType | None, kind: IDType, seen: set[str]) -> UnmappedReason | None:
    if not text:
        return UnmappedReason.EMPTY
    if len(text) > MAX_FOREIGN_ID_CHARACTERS:
        return UnmappedReason.TOO_LONG
    if not text.isprintable() and any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in text):
        return UnmappedReason.CONTROL_CHARACTERS
    if carried not in (None, kind):
        return UnmappedReason.OTHER_TYPE
    if text in seen:
        return UnmappedReason.DUPLICATE
    return None
