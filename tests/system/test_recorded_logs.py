"""The logs that the page's tests read are those that a server writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloche.domain.event_order import check_gapless, check_run
from cloche.domain.events import EVENT_BY_TYPE, Envelope
from support.recorded import SCENES, order_cases, outline, record, same_each_time

pytestmark = pytest.mark.system

LOGS = json.loads((Path(__file__).parents[2] / "web" / "tests" / "logs.json").read_text(encoding="utf-8"))
HOW = "record them again: PYTHONPATH=tests .venv/bin/python scripts/record_logs.py"


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_the_recorded_logs_are_what_the_server_writes_now(tmp_path: Path):
    told = await record(tmp_path)

    assert outline(told) == outline(LOGS["recorded"]), HOW


def test_the_recorded_cases_are_those_of_the_checker():
    assert {kind: LOGS[kind] for kind in ("right", "wrong")} == order_cases(), HOW


def test_each_scene_is_recorded_and_together_they_tell_of_nearly_every_kind_of_event():
    told = {event["type"] for log in LOGS["recorded"] for event in log["events"]}

    assert [log["name"] for log in LOGS["recorded"]] == list(SCENES)
    assert set(EVENT_BY_TYPE) - told == {"subagent_started", "subagent_completed"}


@pytest.mark.parametrize("log", LOGS["recorded"], ids=lambda log: log["name"])
def test_each_recorded_log_is_in_order(log: dict[str, Any]):
    events = [_envelope(event) for event in log["events"]]
    runs = {event.run_id for event in events} - {None}

    broken = [check_run([event for event in events if event.run_id == run]) for run in runs]

    assert broken == [[]] * len(runs)
    assert check_gapless([event.seq for event in events], after=log["thread"]["first_seq"] - 1) == []


def test_another_field_or_another_order_is_noticed():
    log = LOGS["recorded"][0]
    first, second, *rest = log["events"]

    assert outline([{**log, "events": [second, first, *rest]}]) != outline([log])
    assert outline([{**log, "events": [{**first, "data": {**first["data"], "more": 1}}, second, *rest]}]) != outline(
        [log]
    )
    assert outline([{**log, "thread": {**log["thread"], "title": None}}]) != outline([log])


def test_a_log_is_the_same_whatever_its_ids_and_times():
    ids = ("thread_01m7zzfy7jerxsntekatfktjgb", "thread_01m7zzfxwxf50s6f9ktkysqrfv")
    logs = [
        {"of": one, "with": [other, one], "at": f"{year}-01-01T00:00:00.5Z", "then": f"{year + 1}-01-01T00:00:00Z"}
        for one, other, year in ((*ids, 2026), (*reversed(ids), 2030))
    ]

    same, other = (same_each_time(log) for log in logs)

    assert same == other
    assert same == {
        "of": "thread_1",
        "with": ["thread_2", "thread_1"],
        "at": "2031-01-01T00:00:00.000Z",
        "then": "2031-01-01T00:00:01.000Z",
    }


def _envelope(event: dict[str, Any]) -> Envelope:
    raw = json.dumps(event["data"]).encode()
    known = {name: event[name] for name in ("seq", "type", "thread_id", "run_id", "at")}
    return Envelope(**known, data=msgspec.Raw(raw))
