"""Log lines with keys, figures that add up, and spans where they are wanted."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count as count_up

import pytest

from cloche.telemetry import Histogram, LogEvent, LogMemory, Telemetry, count
from support.world import LogBook


@pytest.fixture
def log_book() -> LogBook:
    return LogBook()


def test_a_line_has_a_level_a_name_and_keys(log_book: LogBook):
    telemetry, error = Telemetry(log_book), ValueError("why")

    telemetry.info(LogEvent.RUN_CLAIMED, run="r", attempt=1)
    telemetry.warning(LogEvent.RUN_LEASE_LOST, run="r")
    telemetry.error(LogEvent.RUN_RAISED, error, run="r")

    assert log_book.lines == [
        ("info", "run.claimed", {"run": "r", "attempt": 1}),
        ("warning", "run.lease_lost", {"run": "r"}),
        ("error", "run.raised", {"run": "r", "exc_info": error}),
    ]


@pytest.mark.parametrize(
    ("seconds", "place"), [(0.0, 0), (0.0005, 0), (0.0006, 1), (1.0, 10), (300.0, 16), (301.0, 17), (1e9, 17)]
)
def test_a_duration_is_counted_under_the_first_bound_that_holds_it(seconds: float, place: int):
    histogram = Histogram()

    histogram.observe(seconds)

    assert [index for index, number in enumerate(histogram.counts) if number] == [place]
    assert histogram.total_s == seconds
    assert len(histogram.counts) == len(histogram.bounds) + 1


def test_what_is_counted_adds_up_by_key():
    figure: dict[str, int] = {}

    for key in ("ok", "ok", "failed"):
        count(figure, key)

    assert figure == {"ok": 2, "failed": 1}


def test_each_program_has_figures_of_its_own(log_book: LogBook):
    one, other = Telemetry(log_book), Telemetry(log_book)

    count(one.figures.tool_calls, "ok")
    one.figures.run_duration.observe(1)

    assert other.figures.tool_calls == {}
    assert sum(other.figures.run_duration.counts) == 0


def test_a_span_surrounds_its_block_also_when_it_raises(log_book: LogBook):
    told: list[str] = []

    @contextmanager
    def span(name: str, attributes: Mapping[str, str]) -> Generator[None]:
        told.append(f"{name} {attributes}")
        try:
            yield
        finally:
            told.append("end")

    def block() -> None:
        with Telemetry(log_book, span).span("run", {"run_id": "r"}):
            told.append("inside")
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        block()

    assert told == ["run {'run_id': 'r'}", "inside", "end"]


def test_without_a_tracer_a_span_is_nothing(log_book: LogBook):
    with Telemetry(log_book).span("run", {}):
        pass

    assert log_book.lines == []


@pytest.fixture
def ticking() -> Iterator[datetime]:
    """A second later each time."""
    return (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=second) for second in count_up())


def test_lines_about_runs_are_remembered_without_what_may_be_anybody_s_words(
    log_book: LogBook, ticking: Iterator[datetime]
):
    memory = LogMemory(lambda: next(ticking))
    telemetry = Telemetry(memory.beside(log_book))

    telemetry.info(LogEvent.RUN_CLAIMED, run="one", attempt=1, text="a secret")
    telemetry.info(LogEvent.REQUEST_DONE, request="r")
    telemetry.error(LogEvent.RUN_RAISED, ValueError("a secret"), run="two", agent="x" * 1000)

    (claimed,), (raised,) = memory.of_run("one"), memory.of_run("two")
    assert (claimed.level, claimed.event, claimed.fields) == ("info", "run.claimed", {"run": "one", "attempt": 1})
    assert (raised.level, raised.fields["error"], len(str(raised.fields["agent"]))) == ("error", "ValueError", 200)
    assert "a secret" not in repr([claimed, raised])
    assert memory.since < claimed.at < raised.at
    assert (len(log_book.lines), memory.of_run("three")) == (3, [])


@pytest.mark.parametrize("limits", [{"max_lines": 2}, {"max_bytes": 1000}])
def test_what_is_older_is_forgotten_first_and_the_memory_says_since_when(
    log_book: LogBook, ticking: Iterator[datetime], limits: dict[str, int]
):
    memory = LogMemory(lambda: next(ticking), **limits)
    telemetry, began = Telemetry(memory.beside(log_book)), memory.since

    for number in range(5):
        telemetry.info(LogEvent.RUN_CLAIMED, run="one", attempt=number)

    lines = memory.of_run("one")
    assert [line.fields["attempt"] for line in lines] == [3, 4]
    assert memory.since == began + timedelta(seconds=3)
    assert all(line.at > memory.since for line in lines)
    assert len(log_book.lines) == 5
