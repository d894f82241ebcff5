"""Who follows which thread, or watches which user's, in this process; and the last events of threads that are followed.

The hub never decides what a follower sees: it only says "thread T moved", and keeps the newest committed events at hand
so that followers who are up to date need not ask the database. What it does not have, followers read from the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cloche.ids import TenantId, ThreadId, UserId
from cloche.storage.events import StoredEvent

TAIL_EVENTS = 512
TAIL_BYTES = 256 * 1024

TopicKey = tuple[TenantId, ThreadId]
UserKey = tuple[TenantId, UserId]


class Follower(Protocol):
    """Somebody who wants to know that a thread moved."""

    def moved(self) -> None:
        """The thread has new events. Called on the event loop; returns at once and never raises."""
        ...


class Watcher(Protocol):
    """Somebody who wants to know that what one user's list of threads shows may have changed."""

    def thread_moved(self, thread_id: ThreadId, *, is_listed: bool) -> None:
        """The thread changed; ``is_listed``: in a way that any list shows. Returns at once and never raises."""
        ...

    def approvals_moved(self) -> None:
        """Which approvals the user may decide changed. Returns at once and never raises."""
        ...


@dataclass(slots=True)
class Topic:
    """One followed thread. ``head`` is the last number known to be committed; ``tail`` ends with it when not empty."""

    head: int = 0
    tail: deque[StoredEvent] = field(default_factory=deque[StoredEvent])
    tail_bytes: int = 0
    followers: set[Follower] = field(default_factory=set[Follower])

    def after(self, position: int, limit: int, max_bytes: int) -> list[StoredEvent] | None:
        """The events after ``position``, of which there is one, when the tail holds it, else None."""
        if not self.tail or not self.tail[0].seq <= position + 1 <= self.tail[-1].seq:
            return None
        start = position + 1 - self.tail[0].seq
        taken: list[StoredEvent] = []
        size = 0
        for index in range(start, min(len(self.tail), start + limit)):
            event = self.tail[index]
            size += len(event.body)
            if taken and size > max_bytes:
                break
            taken.append(event)
        return taken

    def keep(self, events: Sequence[StoredEvent]) -> None:
        """The events are at the end of the tail; a gap before them empties it first."""
        if self.tail and events[0].seq != self.tail[-1].seq + 1:
            self.tail.clear()
            self.tail_bytes = 0
        for event in events:
            self.tail.append(event)
            self.tail_bytes += len(event.body)
        while self.tail and (len(self.tail) > TAIL_EVENTS or self.tail_bytes > TAIL_BYTES):
            self.tail_bytes -= len(self.tail.popleft().body)
        self.head = max(self.head, events[-1].seq)


class Hub:
    """The followed threads of this process."""

    def __init__(self) -> None:
        self._topics: dict[TopicKey, Topic] = {}
        self._watchers: dict[UserKey, set[Watcher]] = {}

    @property
    def followers(self) -> int:
        """How many followers there are."""
        return sum(len(topic.followers) for topic in self._topics.values())

    def join(self, key: TopicKey, follower: Follower) -> Topic:
        """The follower hears of every commit to the thread from now on."""
        topic = self._topics.setdefault(key, Topic())
        topic.followers.add(follower)
        return topic

    def leave(self, key: TopicKey, follower: Follower) -> None:
        """The follower hears nothing more; a thread that nobody follows is forgotten."""
        topic = self._topics.get(key)
        if topic is None:
            return
        topic.followers.discard(follower)
        if not topic.followers:
            del self._topics[key]

    def publish(self, key: TopicKey, events: Sequence[StoredEvent]) -> None:
        """These events of the thread are committed; called in the order of the commits."""
        topic = self._topics.get(key)
        if topic is None:
            return
        topic.keep(events)
        for follower in tuple(topic.followers):
            follower.moved()

    def wake(self, key: TopicKey, head: int) -> None:
        """Another process committed up to ``head``; followers read it from the log."""
        topic = self._topics.get(key)
        if topic is None or head <= topic.head:
            return
        topic.head = head
        for follower in tuple(topic.followers):
            follower.moved()

    def watch(self, key: UserKey, watcher: Watcher) -> None:
        """The watcher hears of every change of the user's threads and approvals from now on."""
        self._watchers.setdefault(key, set()).add(watcher)

    def unwatch(self, key: UserKey, watcher: Watcher) -> None:
        """The watcher hears nothing more."""
        watchers = self._watchers.get(key)
        if watchers is None:
            return
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[key]

    def is_watched(self, key: UserKey) -> bool:
        """Whether anybody would hear what moved."""
        return key in self._watchers

    def move_thread(self, key: UserKey, thread_id: ThreadId, *, is_listed: bool = True) -> None:
        """The user's thread changed and that is committed, by this process or another one: a hint, without content."""
        for watcher in tuple(self._watchers.get(key, ())):
            watcher.thread_moved(thread_id, is_listed=is_listed)

    def move_approvals(self, key: UserKey) -> None:
        """Which approvals the user may decide changed and that is committed, by this process or another one."""
        for watcher in tuple(self._watchers.get(key, ())):
            watcher.approvals_moved()
