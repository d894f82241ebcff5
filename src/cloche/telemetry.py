"""What the program tells of itself: log lines with keys, figures, and spans where a tracer is given.

Figures are plain numbers that cost nanoseconds to change; the metrics page reads them when it is asked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line about a run, as the process remembers it: keys with ids, names, codes and numbers."""

    at: datetime
    level: str
    event: str
    fields: Mapping[str, Field]


MAX_REMEMBERED_LINES = 10_000
MAX_REMEMBERED_BYTES = 4 * 1024 * 1024
_MAX_TEXT = 200
_LINE_BYTES = 400  # what a line costs beside its texts
# What these hold is the program's own; of anything else that a line may say, nothing is remembered.
_REMEMBERED_KEYS = (
    "run",
    "thread",
    "agent",
    "tool",
    "attempt",
    "epoch",
    "losses",
    "state",
    "code",
    "outcome",
    "duration_s",
    "delay_s",
)


class LogMemory:
    """The newest log lines of this process that are about runs, for who looks at one of them.

    Guarantees: it never holds more than so many lines and bytes (as far as texts are counted); what is older is forgotten
    first.

    Args:
        now: the present.
        max_lines: how many lines it holds.
        max_bytes: how large they are together.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        *,
        max_lines: int = MAX_REMEMBERED_LINES,
        max_bytes: int = MAX_REMEMBERED_BYTES,
    ) -> None:
        self._now = now
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: deque[tuple[LogLine, int]] = deque()
        self._bytes = 0
        self._since = now()

    @property
    def since(self) -> datetime:
        """Every line about a run that came after this time is here."""
        return self._since

    def beside(self, sink: Sink) -> Sink:
        """A sink that remembers the lines about runs and gives every line on."""

        def remembering(level: str, event: str, fields: Mapping[str, object]) -> None:
            if "run" in fields:
                self._remember(level, event, fields)
            sink(level, event, fields)

        return remembering

    def of_run(self, run_id: str) -> list[LogLine]:
        """The lines about the run, oldest first."""
        return [line for line, _ in self._lines if line.fields["run"] == run_id]

    def _remember(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        kept = {key: _plain(fields[key]) for key in _REMEMBERED_KEYS if key in fields}
        error = fields.get("exc_info")
        if isinstance(error, BaseException):
            kept["error"] = type(error).__name__
        size = _LINE_BYTES + sum(len(value) for value in kept.values() if isinstance(value, str))
        self._lines.append((LogLine(at=self._now(), level=level, event=str(event), fields=kept), size))
        self._bytes += size
        while len(self._lines) > self._max_lines or self._bytes > self._max_bytes:
            line, freed = self._lines.popleft()
            self._bytes -= freed
            self._since = line.at


def _plain(value: object) -> Field:
    return value if isinstance(value, int | float | None) else str(value)[:_MAX_TEXT]


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
