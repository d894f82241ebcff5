"""What the program tells of itself: log lines with keys, figures, and spans where a tracer is given.

Figures are plain numbers that cost nanoseconds to change; the metrics page reads them when it is asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum

Field = str | int | float | bool | None


class LogEvent(StrEnum):
    """Every line that the log can hold: one for a change of state, none for a step."""

    SERVER_STARTED = "server.started"
    SERVER_DRAINING = "server.draining"
    SERVER_STOPPED = "server.stopped"
    SETUP_NEEDED = "setup.needed"
    MODEL_SCRIPTED = "model.scripted"
    REQUEST_DONE = "request.done"
    REQUEST_FAILED = "request.failed"
    CONNECTION_OPENED = "connection.opened"
    CONNECTION_CLOSED = "connection.closed"
    RUN_CLAIMED = "run.claimed"
    RUN_ENDED = "run.ended"
    RUN_SUSPENDED = "run.suspended"
    RUN_RELEASED = "run.released"
    RUN_RECOVERED = "run.recovered"
    RUN_LEASE_LOST = "run.lease_lost"
    RUN_WRITE_RETRIED = "run.write_retried"
    RUN_RAISED = "run.raised"
    RUN_ABANDONED = "run.abandoned"
    TOOL_CALLED = "tool.called"
    SWEEP_FAILED = "sweep.failed"
    RETENTION_SWEPT = "retention.swept"
    FINDING_REPAIRED = "finding.repaired"
    LOOP_LAGGED = "loop.lagged"


Sink = Callable[[str, str, Mapping[str, object]], None]
SpanMaker = Callable[[str, Mapping[str, str]], AbstractContextManager[object]]

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(slots=True)
class Histogram:
    """How often a duration in seconds fell below each bound; the last count is for everything above."""

    bounds: tuple[float, ...] = _BOUNDS
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """One more duration is counted."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Figures:
    """The numbers of this process since it started."""

    runs_accepted: int = 0
    runs_ended: dict[str, int] = field(default_factory=dict[str, int])
    run_duration: Histogram = field(default_factory=Histogram)
    first_event: Histogram = field(default_factory=Histogram)
    event_delivery: Histogram = field(default_factory=Histogram)
    tool_calls: dict[str, int] = field(default_factory=dict[str, int])
    events_appended: int = 0
    events_sent: int = 0
    frames_sent: int = 0
    connections_opened: int = 0
    connections_open: int = 0
    slow_consumers: int = 0
    requests: dict[str, int] = field(default_factory=dict[str, int])
    loop_lag_s: float = 0.0
    loop_lag_max_s: float = 0.0


def count(figure: dict[str, int], key: str) -> None:
    """One more under this key."""
    figure[key] = figure.get(key, 0) + 1


def _no_span(_name: str, _attributes: Mapping[str, str]) -> AbstractContextManager[object]:
    return nullcontext()


class Telemetry:
    """Log lines, figures and spans of one program; passed to the parts that have something to tell."""

    def __init__(self, sink: Sink, span_maker: SpanMaker | None = None) -> None:
        self._sink = sink
        self._span_maker = span_maker or _no_span
        self.figures = Figures()

    def info(self, event: LogEvent, **fields: Field) -> None:
        """A line about something that went as it should."""
        self._sink("info", event, fields)

    def warning(self, event: LogEvent, **fields: Field) -> None:
        """A line about something that an operator may want to look at."""
        self._sink("warning", event, fields)

    def error(self, event: LogEvent, error: BaseException, **fields: Field) -> None:
        """A line about something broken, with its traceback."""
        self._sink("error", event, {**fields, "exc_info": error})

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str]) -> Generator[None]:
        """A span around the block, when tracing is configured."""
        with self._span_maker(name, attributes):
            yield
