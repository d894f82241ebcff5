"""What the installation is doing, as an operator of one tenant may see it: load figures, and counts of the own tenant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, Field

from cloche.api.wire.health import CheckAnswer
from cloche.api.wire.parts import NodeState
from cloche.api.wire.shapes import Moment, seconds_between
from cloche.domain.runs import ExecutionState
from cloche.llm.probe import ProbeResult
from cloche.storage.run_figures import FailureGroup, Span, Times, Tokens


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


class TimesAnswer(BaseModel):
    """What half of the runs, and 95 of 100 of them, did not exceed; exactly, by nearest rank."""

    p50: float
    p95: float


class ThroughputLine(BaseModel):
    """A piece of time that begins ``at``."""

    at: Moment
    accepted: int
    ended: dict[ExecutionState, int]
    wait_ms: TimesAnswer | None = Field(description="from acceptance to the first start, of runs accepted here")
    duration_ms: TimesAnswer | None = Field(description="from the first start to the end, of runs that ended here")
    input_tokens: int
    output_tokens: int


class ThroughputAnswer(BaseModel):
    """The tenant's runs by time. Pieces in which nothing happened are there too."""

    since: Moment
    until: Moment
    bucket_s: int
    items: list[ThroughputLine]


class FailureLine(BaseModel):
    """Runs that ended in the same way for the same reason; what an agent or a tool said about it is their owners'."""

    code: str
    agent: str
    state: ExecutionState
    runs: int
    retryable: bool = Field(description="whether the same may succeed later, of any of them")
    last_at: Moment
    last_run_id: str


class FailuresAnswer(BaseModel):
    """Why runs did not end well, the most frequent reason first; ``total`` is how many runs."""

    since: Moment
    items: list[FailureLine]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What was counted in a span, by the number of the piece."""

    accepted: Mapping[int, int]
    waits: Mapping[int, Times]
    ended: Mapping[int, Mapping[ExecutionState, int]]
    durations: Mapping[int, Times]
    tokens: Mapping[int, Tokens]


def throughput_answer(span: Span, found: Throughput) -> ThroughputAnswer:
    """The counts as the wire shows them, every piece of the span in its order."""
    pieces = -((span.since - span.until) // span.piece)
    return ThroughputAnswer(
        since=span.since,
        until=span.until,
        bucket_s=int(span.piece.total_seconds()),
        items=[_line(span, found, place) for place in range(pieces)],
    )


def _line(span: Span, found: Throughput, place: int) -> ThroughputLine:
    tokens = found.tokens.get(place, Tokens())
    return ThroughputLine(
        at=span.since + place * span.piece,
        accepted=found.accepted.get(place, 0),
        ended=dict(found.ended.get(place, {})),
        wait_ms=_times(found.waits.get(place)),
        duration_ms=_times(found.durations.get(place)),
        input_tokens=tokens.input,
        output_tokens=tokens.output,
    )


def _times(found: Times | None) -> TimesAnswer | None:
    millisecond = timedelta(milliseconds=1)
    return found and TimesAnswer(p50=found.p50 / millisecond, p95=found.p95 / millisecond)


def failure_line(group: FailureGroup) -> FailureLine:
    """The group as the wire shows one."""
    return FailureLine(
        code=group.code,
        agent=group.agent,
        state=group.state,
        runs=group.runs,
        retryable=group.is_retryable,
        last_at=group.last_at,
        last_run_id=group.last_run_id,
    )


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
