"""What the server says of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class HealthAnswer(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str


class CheckAnswer(BaseModel):
    """One thing that the server needs, and whether it works."""

    ok: bool
    detail: str
    latency_ms: float | None


class ReadinessAnswer(BaseModel):
    """Whether the server can do its work now, and each thing that it needs for that."""

    status: Literal["ready", "not_ready", "draining"]
    checks: dict[str, CheckAnswer]
