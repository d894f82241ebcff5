from datetime import UTC, datetime, timedelta

import pytest

from cloche.auth.revocations import Revocations
from cloche.ids import SessionId
from cloche.testing.clock import ManualClock


@pytest.fixture
def manual() -> ManualClock:
    return ManualClock(datetime(2026, 3, 1, tzinfo=UTC))


def test_each_listener_hears_of_each_session_once(manual: ManualClock) -> None:
    revocations = Revocations(manual, keep=timedelta(minutes=16))
    first, second = SessionId.new(), SessionId.new()
    heard: list[tuple[str, SessionId]] = []
    revocations.subscribe(lambda session_id: heard.append(("a", session_id)))
    revocations.subscribe(lambda session_id: heard.append(("b", session_id)))

    revocations.add([first], at=manual.now())
    revocations.add([first, second], at=manual.now())

    assert heard == [("a", first), ("b", first), ("a", second), ("b", second)]
    assert first in revocations
    assert SessionId.new() not in revocations


def test_a_listener_may_leave_while_it_is_called(manual: ManualClock) -> None:
    revocations = Revocations(manual, keep=timedelta(minutes=16))
    heard: list[SessionId] = []

    def once(session_id: SessionId) -> None:
        heard.append(session_id)
        leave()

    leave = revocations.subscribe(once)
    revocations.subscribe(heard.append)

    revocations.add([SessionId.new(), SessionId.new()], at=manual.now())

    assert len(heard) == 3


def test_only_sessions_whose_tokens_may_live_are_remembered(manual: ManualClock) -> None:
    revocations = Revocations(manual, keep=timedelta(minutes=16))
    early, late = SessionId.new(), SessionId.new()
    revocations.add([early], at=manual.now())
    manual.advance(timedelta(minutes=16))
    assert revocations.horizon == datetime(2026, 3, 1, tzinfo=UTC)
    revocations.add([late], at=manual.now())
    assert early in revocations
    manual.advance(timedelta(seconds=1))

    revocations.add([], at=manual.now())

    assert early not in revocations
    assert late in revocations
