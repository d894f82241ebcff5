"""Text that every part of the program can hold and send. A person's is refused where it is not; an agent's is mended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

REPLACEMENT = "\ufffd"
_find_unsound = re.compile("[\x00\ud800-\udfff]").search
_mend = re.compile("[\x00\ud800-\udfff]").sub


def is_sound(text: str) -> bool:
    """Whether the text has neither NUL nor half a character (a lone surrogate)."""
    return "\x00" not in text if text.isascii() else _find_unsound(text) is None


def sound_text(text: str) -> str:
    """The text with U+FFFD in place of every NUL and every half of a character.

    Guarantees: character by character, so pieces that are mended one by one add up to the mended whole.
    """
    return text if is_sound(text) else _mend(REPLACEMENT, text)


def sound_value(value: object) -> object:
    """The JSON value with every text in it mended, names included."""
    if isinstance(value, str):
        return sound_text(value)
    if isinstance(value, Mapping):
        return {
            sound_text(name) if isinstance(name, str) else name: sound_value(inner)
            for name, inner in cast("Mapping[object, object]", value).items()
        }
    if isinstance(value, list | tuple):
        return [sound_value(inner) for inner in cast("list[object]", value)]
    return value
