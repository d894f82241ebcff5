"""What the installation is doing, as an operator of one tenant may see it: load figures, and counts of the own tenant."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from cloche.api.wire.health import CheckAnswer
from cloche.api.wire.parts import NodeState
from cloche.api.wire.shapes import Moment, seconds_between
from cloche.domain.runs import ExecutionState
from cloche.llm.probe import ProbeResult


class NodeAnswer(BaseModel):
    """One process of the installation: how loaded it is, by all tenants together."""

    name: str
    version: str
    started_at: Moment
    uptime_s: float
    is_draining: bool
    runs_working: int
    runs_concurrency: int = Field(description="how many runs it executes at most at the same time")
    queue_depth: int = Field(description="how many runs wait for a place")
    storage_waiting: int = Field(description="how many transactions wait for the writer")
    connections_open: int
    loop_lag_s: float = Field(description="how late the event loop was, lately")
    loop_lag_max_s: float = Field(description="how late it ever was")
    memory_bytes: int | None = Field(description="null where the system does not tell")


class ModelStateAnswer(BaseModel):
    """What is known of a model in use; ``ok`` is null while nothing is."""

    name: str
    ok: bool | None
    detail: str
    latency_ms: float | None
    checked_at: Moment | None


class OperationsAnswer(BaseModel):
    """What is going on now. ``live`` and ``oldest_pending_s`` are of the caller's tenant; the rest is everybody's."""

    at: Moment
    nodes: list[NodeAnswer]
    live: dict[ExecutionState, int]
    oldest_pending_s: float | None = Field(description="how long a run has been waiting for a worker")
    status: str
    checks: dict[str, CheckAnswer]
    models: list[ModelStateAnswer]


def node_answer(node: NodeState, now: datetime) -> NodeAnswer:
    """The process as the wire shows one."""
    return NodeAnswer(
        name=node.name,
        version=node.version,
        started_at=node.started_at,
        uptime_s=seconds_between(node.started_at, now),
        is_draining=node.is_draining,
        runs_working=node.runs_working,
        runs_concurrency=node.runs_concurrency,
        queue_depth=node.queue_depth,
        storage_waiting=node.storage_waiting,
        connections_open=node.connections_open,
        loop_lag_s=node.loop_lag_s,
        loop_lag_max_s=node.loop_lag_max_s,
        memory_bytes=node.memory_bytes,
    )


def model_state_answer(name: str, found: ProbeResult) -> ModelStateAnswer:
    """The model as the wire shows one."""
    return ModelStateAnswer(
        name=name, ok=found.ok, detail=found.detail, latency_ms=found.latency_ms, checked_at=found.checked_at
    )
