from __future__ import annotations

import io

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from cloche.cli.repairs import FindingFacts, RepairView, add_repair_metrics, aged, repair_members, repair_table
from cloche.domain.findings import FindingKind

FINDING = FindingFacts(
    id="run_lost:user_1:run_1",
    kind="run_lost",
    user_id="user_1",
    thread_id="thread_1",
    run_id="run_1",
    approval_id=None,
    age_s=7200.0,
    what="the run is [red]running",
    would="offer it",
    repairable=True,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.0, "59 s"), (60.0, "1 m"), (7200.0, "2 h"), (86_400.0 * 3, "3 d")]
)
def test_an_age_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert aged(seconds) == text


def test_a_view_is_well_when_nothing_is_left_and_nothing_is_hidden() -> None:
    assert RepairView().is_ok
    assert RepairView(repaired=(FINDING,)).is_ok
    assert not RepairView(left=(FINDING,)).is_ok
    assert not RepairView(more=True).is_ok
    assert not RepairView(trouble="nobody answers").is_ok


def test_the_table_names_where_it_is_and_what_would_be_done() -> None:
    written = io.StringIO()

    Console(file=written, width=120).print(repair_table([FINDING], is_done=False))

    text = written.getvalue()
    assert text.splitlines()[1].split()[:4] == ["run", "lost", "2", "h"]
    assert all(word in text for word in ("run_1", "thread_1", "user_1", "the run is [red]running:", "offer it"))


def test_the_view_is_ready_for_json() -> None:
    members = repair_members(RepairView(left=(FINDING,), more=True))

    assert members["ok"] is False
    assert members["more"] is True
    assert members["left"] == [
        {
            "id": "run_lost:user_1:run_1",
            "kind": "run_lost",
            "user_id": "user_1",
            "thread_id": "thread_1",
            "run_id": "run_1",
            "approval_id": None,
            "age_s": 7200.0,
            "what": "the run is [red]running",
            "would": "offer it",
            "repairable": True,
        }
    ]


def test_the_metrics_count_every_kind_also_those_of_a_later_server() -> None:
    registry = CollectorRegistry()
    later = FindingFacts(
        id="x:user_1:run_2",
        kind="something_to_come",
        user_id="user_1",
        thread_id="thread_1",
        run_id="run_2",
        approval_id=None,
        age_s=1.0,
        what="",
        would="",
        repairable=False,
    )

    add_repair_metrics(registry, "http://a", RepairView(left=(FINDING, later), repaired=(FINDING,)))

    text = generate_latest(registry).decode()
    assert 'cloche_doctor_findings{kind="run_lost",url="http://a"} 1.0' in text
    assert 'cloche_doctor_findings{kind="something_to_come",url="http://a"} 1.0' in text
    assert 'cloche_doctor_repaired{kind="run_lost",url="http://a"} 1.0' in text
    assert 'cloche_doctor_findings_seen{url="http://a"} 1.0' in text
    assert text.count("cloche_doctor_findings{") == len(FindingKind) + 1
