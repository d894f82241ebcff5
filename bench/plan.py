"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole measurement, or with ``quick`` a few seconds that only show whether everything works."""

    quick: bool = False
    users: tuple[int, ...] = (1, 16, 64)
    rounds: int = 2
    seconds: float = 3.0
    streams: tuple[int, ...] = (100, 500, 1000)
    subscribers: int = 500
    connections: tuple[int, ...] = (1000, 5000)


QUICK = Plan(quick=True, users=(2,), rounds=1, seconds=0.5, streams=(5,), subscribers=20, connections=(20, 40))
