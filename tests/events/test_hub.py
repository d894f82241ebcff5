"""The hub says that a thread moved, and keeps the newest events at hand."""

from __future__ import annotations

import pytest

from cloche.events import hub as hub_module
from cloche.events.hub import Hub, Topic
from cloche.ids import TenantId, ThreadId, UserId
from cloche.storage.events import StoredEvent

KEY = (TenantId("tenant_1"), ThreadId("thread_1"))
OTHER_THREAD = (TenantId("tenant_1"), ThreadId("thread_2"))
OTHER_TENANT = (TenantId("tenant_2"), ThreadId("thread_1"))


class Counting:
    """A follower that counts how often it heard."""

    def __init__(self) -> None:
        self.heard = 0

    def moved(self) -> None:
        self.heard += 1


def events(first: int, last: int, size: int = 10) -> list[StoredEvent]:
    return [StoredEvent(seq, b"x" * size) for seq in range(first, last + 1)]


def taken(topic: Topic, position: int, limit: int = 100, max_bytes: int = 10_000) -> list[int] | None:
    found = topic.after(position, limit, max_bytes)
    return None if found is None else [event.seq for event in found]


def test_followers_of_the_thread_hear_of_it_and_nobody_else():
    hub, first, second, elsewhere, abroad = Hub(), Counting(), Counting(), Counting(), Counting()
    hub.join(KEY, first)
    hub.join(KEY, second)
    hub.join(OTHER_THREAD, elsewhere)
    hub.join(OTHER_TENANT, abroad)

    hub.publish(KEY, events(1, 2))

    assert (first.heard, second.heard, elsewhere.heard, abroad.heard) == (1, 1, 0, 0)
    assert hub.followers == 4


def test_who_left_hears_nothing_and_an_unfollowed_thread_is_forgotten():
    hub, follower = Hub(), Counting()
    topic = hub.join(KEY, follower)
    hub.publish(KEY, events(1, 1))

    hub.leave(KEY, follower)
    hub.leave(KEY, follower)
    hub.publish(KEY, events(2, 2))
    hub.wake(KEY, 3)

    assert follower.heard == 1
    assert hub.followers == 0
    assert hub.join(KEY, follower) is not topic


def test_a_follower_who_leaves_while_all_are_told_disturbs_no_other():
    hub, quiet = Hub(), Counting()

    class Leaving(Counting):
        def moved(self) -> None:
            super().moved()
            hub.leave(KEY, self)

    leaving = [Leaving() for _ in range(3)]
    for follower in (*leaving, quiet):
        hub.join(KEY, follower)

    hub.publish(KEY, events(1, 1))

    assert [follower.heard for follower in leaving] == [1, 1, 1]
    assert quiet.heard == 1


def test_the_tail_gives_what_follows_a_position_within_the_limits():
    topic = Topic()
    topic.keep(events(5, 9))

    assert taken(topic, 4) == [5, 6, 7, 8, 9]
    assert taken(topic, 6) == [7, 8, 9]
    assert taken(topic, 4, limit=2) == [5, 6]
    assert taken(topic, 4, max_bytes=25) == [5, 6]
    assert taken(topic, 4, max_bytes=1) == [5]
    assert taken(topic, 3) is None


def test_a_position_that_the_tail_does_not_reach_is_left_to_the_log():
    topic = Topic()
    topic.keep(events(5, 9))
    topic.head = 12

    assert taken(topic, 9) is None
    assert taken(Topic(head=3), 0) is None


def test_the_tail_is_bounded_in_events(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_module, "TAIL_EVENTS", 3)
    topic = Topic()

    topic.keep(events(1, 2))
    topic.keep(events(3, 5))

    assert [event.seq for event in topic.tail] == [3, 4, 5]
    assert topic.tail_bytes == 30
    assert topic.head == 5


def test_the_tail_is_bounded_in_bytes_even_by_one_event(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub_module, "TAIL_BYTES", 25)
    topic = Topic()

    topic.keep(events(1, 3))
    kept = [event.seq for event in topic.tail]
    topic.keep(events(4, 4, size=100))

    assert kept == [2, 3]
    assert list(topic.tail) == []
    assert topic.tail_bytes == 0
    assert topic.head == 4
    assert taken(topic, 3) is None


def test_a_gap_empties_the_tail_before_it():
    topic = Topic()
    topic.keep(events(1, 3))

    topic.keep(events(6, 7))

    assert [event.seq for event in topic.tail] == [6, 7]
    assert topic.tail_bytes == 20
    assert taken(topic, 3) is None


def test_another_process_wakes_followers_once_for_each_number():
    hub, follower = Hub(), Counting()
    topic = hub.join(KEY, follower)

    hub.wake(KEY, 4)
    hub.wake(KEY, 4)
    hub.wake(KEY, 3)
    hub.wake(OTHER_THREAD, 9)

    assert follower.heard == 1
    assert topic.head == 4


class Noting:
    """A watcher that notes what it heard."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def thread_moved(self, thread_id: ThreadId, *, is_listed: bool) -> None:
        self.heard.append((thread_id, is_listed))

    def approvals_moved(self) -> None:
        self.heard.append("approvals")


USER = (TenantId("tenant_1"), UserId("user_1"))
OTHER_USER = (TenantId("tenant_1"), UserId("user_2"))
NAMESAKE = (TenantId("tenant_2"), UserId("user_1"))


def test_watchers_of_the_user_hear_of_threads_and_approvals_and_nobody_else():
    hub, first, second, colleague, foreigner = Hub(), Noting(), Noting(), Noting(), Noting()
    for key, watcher in ((USER, first), (USER, second), (OTHER_USER, colleague), (NAMESAKE, foreigner)):
        hub.watch(key, watcher)

    hub.move_thread(USER, KEY[1])
    hub.move_thread(USER, KEY[1], is_listed=False)
    hub.move_approvals(USER)

    assert first.heard == second.heard == [(KEY[1], True), (KEY[1], False), "approvals"]
    assert colleague.heard == foreigner.heard == []


def test_a_user_whom_nobody_watches_is_forgotten():
    hub, watcher = Hub(), Noting()
    hub.watch(USER, watcher)
    assert hub.is_watched(USER)

    hub.unwatch(USER, watcher)
    hub.unwatch(USER, watcher)
    hub.move_thread(USER, KEY[1])
    hub.move_approvals(USER)

    assert not hub.is_watched(USER)
    assert watcher.heard == []
