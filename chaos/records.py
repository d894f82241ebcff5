"""The files of a case, which its processes leave and the oracle reads."""

from __future__ import annotations

import msgspec

PERSON = "person.json"
RECEIVED = "received.txt"
EFFECTS = "effects.txt"
POINTS = "points.json"
ACKED = b"acked "
EVENT = b"event "


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whose case it is."""

    tenant_id: str
    user_id: str
