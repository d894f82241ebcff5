"""E-mail addresses as names of accounts: one spelling for each."""

from __future__ import annotations

from cloche.errors import InvalidInputError

MAX_EMAIL = 254
"""Source: https://www.rfc-editor.org/errata/eid1690"""


def normalise_email(text: object) -> str:
    """The address without the blanks around it and without letter case.

    Raises:
        InvalidInputError: not a text with exactly one @ between two non-empty, printable sides, or too long.
    """
    email = text.strip().casefold() if isinstance(text, str) else ""
    name, at, domain = email.partition("@")
    if not (name and at and domain) or "@" in domain:
        raise _refusal("an e-mail address has one @ with something on each side")
    if len(email) > MAX_EMAIL:
        raise _refusal(f"an e-mail address has at most {MAX_EMAIL} characters")
    if not email.isprintable() or any(character.isspace() for character in email):
        raise _refusal("an e-mail address holds no blanks and only printable characters")
    return email


def _refusal(message: str) -> InvalidInputError:
    return InvalidInputError(message, details={"place": "$.email"})
