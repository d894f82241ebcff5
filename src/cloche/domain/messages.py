"""Messages and their parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

from cloche.domain.text import is_sound
from cloche.errors import InvalidInputError, PayloadTooLargeError
from cloche.ids import MessageId, RunId, ThreadId

MAX_TEXT_BYTES = 60_000
MAX_PARTS = 32
MAX_CLIENT_MESSAGE_ID = 128


class MessageRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


class TextPart(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """A piece of text, as Markdown where the reader renders it."""

    text: str


Part = TextPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a thread."""

    id: MessageId
    thread_id: ThreadId
    run_id: RunId | None
    seq: int
    role: MessageRole
    parts: tuple[Part, ...]
    client_message_id: str | None
    created_at: datetime

    @property
    def text(self) -> str:
        """The text of all parts, joined by blank lines."""
        return "\n\n".join(part.text for part in self.parts)


def user_parts(*, text: object = None, parts: object = None) -> tuple[Part, ...]:
    """The parts of a person's message, from either ``text`` or ``parts``.

    Text content is taken as it is, up to the size limit; only its kind, soundness and size are checked.

    Raises:
        InvalidInputError: neither or both are given, a part is none that this server knows, or a text has NUL or half a
            character in it.
        PayloadTooLargeError: the text is larger than ``MAX_TEXT_BYTES`` or there are more than ``MAX_PARTS``.
    """
    if (text is None) == (parts is None):
        raise InvalidInputError("give either text or parts", details={"place": "$.text"})
    if text is not None:
        if not isinstance(text, str):
            raise InvalidInputError("text must be a string", details={"place": "$.text"})
        found: tuple[Part, ...] = (TextPart(text=text),)
    else:
        try:
            found = msgspec.convert(parts, tuple[Part, ...])
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"parts: {error}", details={"place": "$.parts"}) from error
    if len(found) > MAX_PARTS:
        raise PayloadTooLargeError(f"a message has at most {MAX_PARTS} parts", details={"place": "$.parts"})
    if not all(is_sound(part.text) for part in found):
        raise InvalidInputError("the text has NUL or half a character in it", details={"place": "$.text"})
    size = sum(len(part.text.encode()) for part in found)
    if size > MAX_TEXT_BYTES:
        raise PayloadTooLargeError(
            f"the message has {size} bytes of text; at most {MAX_TEXT_BYTES} are taken",
            details={"place": "$.text", "limit_bytes": MAX_TEXT_BYTES},
        )
    if not any(part.text.strip() for part in found):
        raise InvalidInputError("the message is empty", details={"place": "$.text"})
    return found
