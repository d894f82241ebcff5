"""Pages of lists: an opaque cursor, and what it says."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from cloche.errors import InvalidCursorError, InvalidInputError

T = TypeVar("T")

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items of a list, and where the next ones begin (None: there are no more)."""

    items: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """How many items, after which place. Newest first: ``before`` is (number, id) of the last item seen."""

    limit: int = DEFAULT_LIMIT
    before: tuple[int, str] | None = None


def page_request(kind: str, *, limit: int | None = None, cursor: str | None = None) -> PageRequest:
    """A checked request for a page of the list ``kind``.

    Raises:
        InvalidInputError: the limit is not between 1 and ``MAX_LIMIT``.
        InvalidCursorError: the cursor is none of this list's.
    """
    wanted = DEFAULT_LIMIT if limit is None else limit
    if not 1 <= wanted <= MAX_LIMIT:
        raise InvalidInputError(f"limit must be between 1 and {MAX_LIMIT}", details={"place": "limit"})
    return PageRequest(limit=wanted, before=None if cursor is None else _decoded(kind, cursor))


def cursor_of(kind: str, number: int, identity: str) -> str:
    """The cursor that continues after the item with this number and id."""
    return base64.urlsafe_b64encode(f"{kind}|{number}|{identity}".encode()).decode().rstrip("=")


def _decoded(kind: str, cursor: str) -> tuple[int, str]:
    refused = InvalidCursorError("the cursor was not made for this list", details={"place": "cursor"})
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        found, number, identity = text.split("|")
        if found != kind or not number.isascii() or not number.isdigit() or len(number) > 18:
            raise refused
        return int(number), identity
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise refused from error
