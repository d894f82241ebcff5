"""The live streams of this process, and how each is ended from outside: by a revocation, an expiry or a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from cloche.auth.sessions import SignIn
from cloche.clock import Clock
from cloche.errors import ClocheError, DrainingError, SessionRevokedError, TokenExpiredError
from cloche.ids import SessionId

_SHORTEST_WAIT_S = 0.01


class Lifeline:
    """The life of one stream, as a block; the task that enters it is the one that is stopped.

    ``Connections.open`` makes it.
    """

    __slots__ = ("_clock", "_connections", "_cut", "_expires_at", "_expiry", "_is_open", "error", "session_id")

    def __init__(self, connections: Connections, clock: Clock) -> None:
        self._connections = connections
        self._clock = clock
        self._cut = asyncio.timeout(None)
        self._is_open = False
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at: datetime | None = None
        self.session_id: SessionId | None = None
        self.error: ClocheError | None = None

    def end(self, error: ClocheError) -> None:
        """The stream's block is cancelled, and this error says why; the first one counts."""
        if self.error is not None or not self._is_open:
            return
        self.error = error
        self._cut.reschedule(0)

    def belongs_to(self, session_id: SessionId, *, until: datetime) -> None:
        """The stream ends with this session, and with this time unless a later one is set before."""
        self._connections.move(self, session_id)
        self._expires_at = until
        self._wait_for_expiry()

    async def __aenter__(self) -> Self:
        """The stream goes on inside the block, until ``end`` cancels it; after an end it is left without an error.

        Raises:
            DrainingError: the process is going away.
        """
        self._connections.check_open()
        await self._cut.__aenter__()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._is_open = False
        if self._expiry is not None:
            self._expiry.cancel()
        try:
            await self._cut.__aexit__(kind, error, trace)
        except TimeoutError:
            return True  # ``end`` cancelled the block, and ``error`` says why
        return False

    def _wait_for_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        assert self._expires_at is not None, "it has just been set"
        left_s = (self._expires_at - self._clock.now()).total_seconds()
        if left_s <= 0:
            self.end(TokenExpiredError())
        else:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(max(left_s, _SHORTEST_WAIT_S), self._wait_for_expiry)


class Connections:
    """Every live stream of this process: sockets and event streams alike."""

    def __init__(self, sign_in: SignIn, clock: Clock) -> None:
        self._clock = clock
        self._open: set[Lifeline] = set()
        self._by_session: dict[SessionId, set[Lifeline]] = {}
        self._is_draining = False
        self._changed = asyncio.Event()
        self._forget = sign_in.on_revoked(self._end_session)

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(self) -> Generator[Lifeline]:
        """A new stream's life: the caller runs the stream inside it, and leaves this block after the last word."""
        lifeline = Lifeline(self, self._clock)
        self._open.add(lifeline)
        try:
            yield lifeline
        finally:
            self._leave_session(lifeline)
            self._open.discard(lifeline)
            self._changed.set()

    def check_open(self) -> None:
        """Return while new streams are taken.

        Raises:
            DrainingError: the process is going away.
        """
        if self._is_draining:
            raise DrainingError("the server is shutting down; come back in a moment", retry_after_s=2)

    def move(self, lifeline: Lifeline, session_id: SessionId) -> None:
        """The stream ends when this session is revoked, and with no other one."""
        self._leave_session(lifeline)
        lifeline.session_id = session_id
        self._by_session.setdefault(session_id, set()).add(lifeline)

    async def drain(self, timeout_s: float = 5.0) -> None:
        """No stream is taken any more; each open one was told to come back, and has ended or had ``timeout_s`` to."""
        self._is_draining = True
        for lifeline in tuple(self._open):
            lifeline.end(DrainingError("the server is shutting down; come back in a moment", retry_after_s=1))
        try:
            async with asyncio.timeout(timeout_s):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # whoever does not read is cut off by the server's own shutdown
        self._forget()

    def _end_session(self, session_id: SessionId) -> None:
        for lifeline in tuple(self._by_session.get(session_id, ())):
            lifeline.end(SessionRevokedError())

    def _leave_session(self, lifeline: Lifeline) -> None:
        if lifeline.session_id is None:
            return
        members = self._by_session.get(lifeline.session_id, set())
        members.discard(lifeline)
        if not members:
            self._by_session.pop(lifeline.session_id, None)
        lifeline.session_id = None
