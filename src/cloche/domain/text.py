"""Text that every part of the program can hold and send. A person's is refused where it is not; an agent's is mended."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import cast

REPLACEMENT = "\ufffd"
_find_unsound = re.compile("[\x00\ud800-\udfff]").search
MAX_FILE_NAME = 60
# What separates paths, what some file system refuses, and what a shell or a browser takes for more than a name.
_UNSAFE = re.compile(r"[/\\:*?\"'<>|%&;$`~.\x00-\x1f\x7f]+")
_TO_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_mend = re.compile("[\x00\ud800-\udfff]").sub


def is_sound(text: str) -> bool:
    """Whether the text has neither NUL nor half a character (a lone surrogate)."""
    return "\x00" not in text if text.isascii() else _find_unsound(text) is None


def sound_text(text: str) -> str:
    """The text with U+FFFD in place of every NUL and every half of a character.

    Guarantees: character by character, so pieces that are mended one by one add up to the mended whole.
    """
    return text if is_sound(text) else _mend(REPLACEMENT, text)


def lower_ascii(text: str) -> str:
    """The text with the letters A to Z in lower case, and every other character as it is."""
    return text.translate(_TO_LOWER)


def snippet(text: str, words: str, *, limit: int) -> str:
    """At most ``limit`` characters of the text in one line, around the first place where the words are.

    Upper and lower case are alike in ASCII only. Where the words are not, it is the beginning. ``…`` stands for the rest.
    """
    line, wanted = " ".join(text.split()), " ".join(words.split())
    if len(line) <= limit:
        return line
    found = max(lower_ascii(line).find(lower_ascii(wanted)), 0)
    # A third of what is around the words comes before them.
    start = max(min(found - max(limit - len(wanted), 0) // 3, len(line) - limit), 0)
    cut = line[start : start + limit]
    head, tail = "…" if start else "", "…" if start + limit < len(line) else ""
    return head + cut[len(head) : limit - len(tail)] + tail


def file_name(title: str) -> str:
    """A name that every file system takes, made from a title: without a path, an extension of its own or control characters.

    At most ``MAX_FILE_NAME`` characters; ``conversation`` when nothing else is left.
    """
    kept = "".join(character if character.isprintable() else " " for character in _UNSAFE.sub(" ", title))
    return " ".join(kept.split())[:MAX_FILE_NAME].strip(" .") or "conversation"


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
