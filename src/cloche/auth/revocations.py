"""Which sessions were ended lately, and who wants to know."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from cloche.clock import Clock
from cloche.ids import SessionId

OnRevoked = Callable[[SessionId], None]


class Revocations:
    """The sessions that were revoked while an access token of theirs may still be alive.

    Args:
        clock: tells when an entry has done its service.
        keep: at least the longest life of an access token, leeway included.
    """

    def __init__(self, clock: Clock, *, keep: timedelta) -> None:
        self._clock = clock
        self._keep = keep
        self._revoked: OrderedDict[SessionId, datetime] = OrderedDict()
        self._listeners: list[OnRevoked] = []

    def __contains__(self, session_id: SessionId) -> bool:
        return session_id in self._revoked

    @property
    def horizon(self) -> datetime:
        """No access token of a session that was revoked before this time is alive."""
        return self._clock.now() - self._keep

    def add(self, session_ids: Iterable[SessionId], *, at: datetime) -> None:
        """The sessions count as revoked; each listener has heard of each that was not known before."""
        self._prune()
        for session_id in session_ids:
            if session_id not in self._revoked:
                self._revoked[session_id] = at
                for listener in list(self._listeners):
                    listener(session_id)

    def subscribe(self, listener: OnRevoked) -> Callable[[], None]:
        """Call ``listener`` with each session from now on; the returned function ends that.

        The listener runs on the event loop between two database answers: it sets a flag or cancels, and never raises.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _prune(self) -> None:
        horizon = self.horizon
        while self._revoked and next(iter(self._revoked.values())) < horizon:
            self._revoked.popitem(last=False)
