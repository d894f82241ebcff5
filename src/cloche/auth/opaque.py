"""Opaque secrets: refresh tokens, tickets and the set-up secret. Only their digests are stored.

``<kind>.<tenant id>.<256 random bits>``: the tenant comes first in every look-up; the kind keeps one from being used
as another and lets a scanner find leaked ones. All characters are legal in a WebSocket subprotocol.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from cloche.errors import InvalidIdError, NotAuthenticatedError
from cloche.ids import TenantId

_match = re.compile(r"(c[rts])\.([a-z0-9_]{1,96})\.[A-Za-z0-9_-]{43}").fullmatch


class SecretKind(StrEnum):
    """What a secret is good for; the value is its first word."""

    REFRESH = "cr"
    TICKET = "ct"
    SET_UP = "cs"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaqueSecret:
    """A secret as it is looked up: the tenant, and the SHA-256 of the whole text."""

    tenant_id: TenantId
    digest: bytes = field(repr=False)


def make_secret(kind: SecretKind, tenant_id: TenantId) -> tuple[str, OpaqueSecret]:
    """A new text that nobody can guess, for its holder, and what to store of it."""
    text = f"{kind.value}.{tenant_id}.{secrets.token_urlsafe(32)}"
    return text, OpaqueSecret(tenant_id=tenant_id, digest=_digest(text))


def read_secret(kind: SecretKind, text: object) -> OpaqueSecret:
    """What to look up for a text that a caller gave.

    Raises:
        NotAuthenticatedError: it is no text of this kind.
    """
    match = _match(text) if isinstance(text, str) else None
    if match is None or match[1] != kind:
        raise NotAuthenticatedError
    try:
        tenant_id = TenantId.parse(match[2])
    except InvalidIdError:
        raise NotAuthenticatedError from None
    return OpaqueSecret(tenant_id=tenant_id, digest=_digest(match[0]))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
