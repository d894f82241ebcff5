"""The program's figures in the text format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cloche.domain.runs import ExecutionState
from cloche.telemetry import Figures, Histogram


class FiguresCollector(Collector):
    """The figures as they are at one moment. Labels are few and known beforehand: states, outcomes, route templates."""

    def __init__(
        self,
        figures: Figures,
        *,
        version: str,
        runs: Mapping[ExecutionState, int],
        writer: Mapping[str, float],
    ) -> None:
        self._figures = figures
        self._version = version
        self._runs = runs
        self._writer = writer

    def collect(self) -> Iterable[Metric]:
        """Every family."""
        figures = self._figures
        yield _gauge("build", "Always 1; the version is in the label.", {self._version: 1}, "version")
        yield _gauge("runs", "Runs that have not ended, by state.", self._runs, "state")
        yield _counter("runs_accepted", "Runs that were accepted.", figures.runs_accepted)
        yield _counters("runs_ended", "Runs that ended, by their last state.", figures.runs_ended, "state")
        yield _histogram("run_duration_seconds", "From the claim of a run to its end.", figures.run_duration)
        yield _histogram("first_event_seconds", "From a message to the start of its agent.", figures.first_event)
        yield _histogram("event_delivery_seconds", "From an event's commit to its client.", figures.event_delivery)
        yield _counters("tool_calls", "Tool calls, by outcome.", figures.tool_calls, "outcome")
        yield _counter("events_appended", "Events written to the log.", figures.events_appended)
        yield _counter("events_sent", "Events sent to clients.", figures.events_sent)
        yield _counter("frames_sent", "Frames sent to clients.", figures.frames_sent)
        yield _counter("connections_opened", "Live connections that were opened.", figures.connections_opened)
        yield GaugeMetricFamily("cloche_connections_open", "Live connections.", figures.connections_open)
        yield _counter("slow_consumers", "Connections that were closed for reading too slowly.", figures.slow_consumers)
        yield _requests(figures.requests)
        yield GaugeMetricFamily("cloche_loop_lag_seconds", "How late the event loop was, lately.", figures.loop_lag_s)
        yield GaugeMetricFamily("cloche_loop_lag_max_seconds", "How late it ever was.", figures.loop_lag_max_s)
        for name, value in self._writer.items():
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"cloche_{name}", "A figure of the storage or the dispatch of this process.", value)


def metrics_text(collector: Collector) -> bytes:
    """What the collector collects, as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"cloche_{name}", text, value)


def _counters(name: str, text: str, values: Mapping[str, int], label: str) -> Metric:
    family = CounterMetricFamily(f"cloche_{name}", text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([str(key)], value)
    return family


def _gauge(name: str, text: str, values: Mapping[ExecutionState, int] | Mapping[str, int], label: str) -> Metric:
    family = GaugeMetricFamily(f"cloche_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _requests(values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(
        "cloche_http_requests", "HTTP requests, by the route's template.", labels=["method", "route", "status"]
    )
    for key, value in sorted(values.items()):
        family.add_metric(key.split(" "), value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, amount in zip(bounds, histogram.counts, strict=True):
        below += amount
        buckets.append((bound, below))
    return HistogramMetricFamily(f"cloche_{name}", text, buckets=buckets, sum_value=histogram.total_s)
