"""The golden path, walked as a person walks it, over the network, with a stop-watch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from cloche.api.wire.frames import Send, StreamOpened, Subscribe
from cloche.cli.company import Company, Marks
from cloche.cli.live import Arrived, ConnectionLostError, LiveConnection, open_live
from cloche.cli.rest import Account, RefusedError, RestClient, ThreadFacts, UnreachableError, open_rest
from cloche.cli.verdicts import GOLDEN, CheckResult, Report, Verdict, deliveries_ms, faults_of, judged, p95
from cloche.cli.view import text_of
from cloche.clock import Clock
from cloche.domain.event_order import check_gapless, decoded
from cloche.domain.events import TERMINAL_TYPES, AgentCompleted, AgentStarted, Envelope, MessageCompleted
from cloche.errors import ClocheError
from cloche.ids import IDType, RunId, ThreadId, generate_id

MESSAGE = "What time is it now, in UTC? Use the clock."
SIGN_IN_LIMIT_MS = 500.0
FIRST_EVENT_LIMIT_MS = 100.0
DELIVERY_LIMIT_MS = 100.0
JOURNEY_LIMIT_MS = 10_000.0
_STEP_S = 30.0
_NEIGHBOURS = 3


class _FaultError(Exception):
    """A check found something."""


class _ReadyCheck(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    detail: str


class _Readiness(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    checks: dict[str, _ReadyCheck]


class _TextPart(msgspec.Struct, frozen=True, kw_only=True):
    text: str


class _MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    run_id: str | None
    parts: tuple[_TextPart, ...]


class _MessageList(msgspec.Struct, frozen=True, kw_only=True):
    items: tuple[_MessageFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a check-up does.

    Attributes:
        account: who signs in; None: the check-up ends there, and says how to give one.
        agent: who is asked; None for the server's default.
        wanted: event types that must come, in this order.
        canary: a word in the message that stands nowhere else.
        run_s: how long a run may take, in seconds.
    """

    url: str
    account: Account | None
    agent: str | None = None
    message: str = MESSAGE
    wanted: tuple[str, ...] = GOLDEN
    run_s: float = 120.0
    canary: str = ""


@dataclass(slots=True, kw_only=True)
class _Found:
    """A detail for the report, and the time that counts where it is not the whole check's."""

    detail: str
    ms: float | None = None


@dataclass(slots=True)
class _Story:
    """The events of one run as they came, with the times of their receipt."""

    sent_s: float
    events: list[Envelope] = field(default_factory=list[Envelope])
    received: list[datetime] = field(default_factory=list[datetime])
    first_s: float | None = None

    def add(self, arrived: Arrived) -> None:
        if self.first_s is None:
            self.first_s = arrived.at_s
        self.events += arrived.events
        self.received += [arrived.at] * len(arrived.events)

    @property
    def is_over(self) -> bool:
        return any(envelope.type in TERMINAL_TYPES for envelope in self.events)


class Checkup:
    """One round against one server. What it makes there it puts away again, whatever happens.

    In a company, others walk the path at the same time, and each also looks for anything of the others.
    """

    def __init__(self, errand: Errand, rest: RestClient, clock: Clock, company: Company | None = None) -> None:
        self._errand = errand
        self._rest = rest
        self._clock = clock
        self._company = company
        self._others: tuple[Marks, ...] = ()
        self._heard: list[bytes] = []
        self._began_s = 0.0
        self._checks: list[CheckResult] = []
        self._stack = AsyncExitStack()
        self._live: LiveConnection
        self._thread: ThreadId | None = None
        self._story = _Story(0.0)

    async def run(self) -> Report:
        """The report of the round. Never raises for what is wrong with the server."""
        at = self._clock.now()
        async with self._stack:
            try:
                is_run = await self._walk()
                if self._company is not None:
                    self._others = await self._company.meet(self._marks())
                    await self._check("isolation", self._look_for_others, after=is_run)
                    await self._company.part()
            finally:
                await self._put_away()
        return Report(url=self._errand.url, at=at, checks=tuple(self._checks))

    async def _walk(self) -> bool:
        """Whether the run of the path came to its end."""
        is_up = await self._check("health", self._look_at_health)
        await self._check("ready", self._look_at_readiness, after=is_up)
        self._began_s = self._clock.monotonic()
        is_in = await self._check("sign_in", self._sign_in, after=is_up, limit_ms=SIGN_IN_LIMIT_MS)
        is_live = await self._check("connect", self._connect, after=is_in)
        has_thread = await self._check("thread", self._make_thread, after=is_live)
        is_run = await self._check("run", self._run_once, after=has_thread, timeout_s=self._errand.run_s)
        await self._check("first_event", self._first_event, after=is_run, limit_ms=FIRST_EVENT_LIMIT_MS)
        await self._check("events_in_order", self._events_in_order, after=is_run)
        await self._check("delivery_p95", self._delivery, after=is_run, limit_ms=DELIVERY_LIMIT_MS)
        is_read = await self._check("read_back", self._read_back, after=is_run)
        await self._check("journey", self._journey, after=is_read, limit_ms=JOURNEY_LIMIT_MS)
        await self._check("resume", self._resume, after=is_run, timeout_s=self._errand.run_s)
        await self._check("foreign_thread", self._ask_for_foreign, after=is_in)
        return is_run

    async def _put_away(self) -> None:
        is_in = any(check.name == "sign_in" and check.verdict in {Verdict.OK, Verdict.SLOW} for check in self._checks)
        if self._company is None:
            await self._check("archive", self._archive, after=self._thread is not None)
        else:
            await self._check("delete", self._delete, after=self._thread is not None)
        await self._check("sign_out", self._sign_out, after=is_in)

    async def _check(
        self,
        name: str,
        work: Callable[[], Awaitable[_Found]],
        *,
        after: bool = True,
        limit_ms: float | None = None,
        timeout_s: float = _STEP_S,
    ) -> bool:
        """Make the check and note its result; whether what comes after it makes sense."""
        if not after:
            self._checks.append(CheckResult(name=name, verdict=Verdict.SKIPPED, detail="a check before it failed"))
            return False
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                found = await work()
        except TimeoutError:
            why = f"nothing within {timeout_s:g} s"
        except (_FaultError, RefusedError, UnreachableError, ConnectionLostError, ClocheError) as error:
            why = str(error)
        else:
            whole_ms = (self._clock.monotonic() - began) * 1000
            self._checks.append(judged(name, found.detail, whole_ms if found.ms is None else found.ms, limit_ms))
            return True
        ms = (self._clock.monotonic() - began) * 1000
        self._checks.append(CheckResult(name=name, verdict=Verdict.FAILED, detail=why, ms=ms, limit_ms=limit_ms))
        return False

    async def _look_at_health(self) -> _Found:
        status, _ = await self._rest.look("/healthz")
        if status != 200:
            raise _FaultError(f"/healthz answers {status}")
        return _Found(detail="the process answers")

    async def _look_at_readiness(self) -> _Found:
        status, body = await self._rest.look("/readyz")
        try:
            found = msgspec.json.decode(body, type=_Readiness)
        except msgspec.DecodeError:
            raise _FaultError(f"/readyz answers {status} with something else than its checks") from None
        if status != 200:
            bad = [f"{name}: {check.detail}" for name, check in found.checks.items() if not check.ok]
            raise _FaultError("; ".join([found.status, *bad]))
        return _Found(detail="; ".join(f"{name}: {check.detail}" for name, check in found.checks.items()))

    async def _sign_in(self) -> _Found:
        if self._errand.account is None:
            raise _FaultError(
                "no credentials: give --email ADDRESS and --password-stdin or --password-file FILE; "
                "`cloche users add ADDRESS` makes an account"
            )
        await self._rest.sign_in(self._errand.account)
        return _Found(detail=f"as {self._errand.account.email}")

    async def _connect(self) -> _Found:
        self._live = await self._stack.enter_async_context(self._open_live())
        return _Found(detail="the live connection is ready")

    async def _make_thread(self) -> _Found:
        made = await self._rest.post(ThreadFacts, "/v1/threads", {"title": "cloche doctor"})
        self._thread = ThreadId.parse(made.id)
        await self._subscribe(self._live, after=None)
        return _Found(detail=made.id)

    async def _run_once(self) -> _Found:
        self._story = await self._send(self._live)
        while not self._story.is_over:
            await self._hear(self._live, self._story)
        last = self._story.events[-1]
        if last.type != AgentCompleted.type:
            raise _FaultError(f"the run ended with {last.type}: {bytes(last.data).decode()}")
        return _Found(detail=f"{len(self._story.events)} events")

    async def _first_event(self) -> _Found:
        assert self._story.first_s is not None, "the run has ended, so there were events"
        return _Found(detail="from sending to the first event", ms=(self._story.first_s - self._story.sent_s) * 1000)

    async def _events_in_order(self) -> _Found:
        faults = faults_of(self._story.events, self._errand.wanted)
        if faults:
            raise _FaultError("; ".join(faults))
        return _Found(detail=", ".join(self._errand.wanted))

    async def _delivery(self) -> _Found:
        found = deliveries_ms(list(zip(self._story.events, self._story.received, strict=True)))
        if found is None:
            raise _FaultError("the clocks of the two machines differ: run this on the server's own machine")
        return _Found(detail=f"of {len(found)} events, from their making to their receipt", ms=p95(found))

    async def _read_back(self) -> _Found:
        listed = await self._rest.get(_MessageList, f"/v1/threads/{self._thread}/messages")
        run_id = self._story.events[0].run_id
        told = {
            text_of(event.parts) for event in map(decoded, self._story.events) if isinstance(event, MessageCompleted)
        }
        stored = {_text(one) for one in listed.items if one.role == "assistant" and one.run_id == run_id}
        asked = {_text(one) for one in listed.items if one.role == "user" and one.run_id == run_id}
        if asked != {self._errand.message}:
            raise _FaultError("the message that was sent is not among the thread's messages")
        if not stored or not stored <= told:
            raise _FaultError("the stored answer is not the one that was streamed")
        return _Found(detail=f"{len(listed.items)} messages, as they were streamed")

    async def _journey(self) -> _Found:
        ms = (self._clock.monotonic() - self._began_s) * 1000
        return _Found(detail="from signing in to the answer, read back", ms=ms)

    async def _resume(self) -> _Found:
        """Another run, whose socket is cut as soon as the agent has started."""
        position = self._story.events[-1].seq
        story = await self._send(self._live)
        while not any(envelope.type == AgentStarted.type for envelope in story.events):
            await self._hear(self._live, story)
        self._live.drop()
        before = len(story.events)
        async with self._open_live() as again:
            opened = await self._subscribe(again, after=story.events[-1].seq)
            if not opened.recovered:
                raise _FaultError("the server does not go on from a position of a moment ago")
            while not story.is_over:
                await self._hear(again, story)
        faults = [
            f"{one.rule}: {one.detail}" for one in check_gapless([one.seq for one in story.events], after=position)
        ]
        faults += faults_of(story.events, ())
        if faults:
            raise _FaultError("; ".join(faults))
        return _Found(detail=f"cut after {before} of {len(story.events)} events; nothing missed, nothing twice")

    async def _ask_for_foreign(self) -> _Found:
        """A thread that was deleted, and one that never was, look alike: as another person's would."""
        made = await self._rest.post(ThreadFacts, "/v1/threads", {"title": "cloche doctor, to be deleted"})
        await self._rest.request("DELETE", f"/v1/threads/{made.id}")
        refusals = [await self._refusal_of(f"/v1/threads/{thread_id}") for thread_id in (made.id, ThreadId.new())]
        if refusals[0] != refusals[1]:
            raise _FaultError(f"a missing thread and a made-up one look different: {refusals[0]} and {refusals[1]}")
        if refusals[0][0] != 404:
            raise _FaultError(f"a missing thread answers {refusals[0][0]}")
        return _Found(detail="404, as for any that does not exist")

    async def _look_for_others(self) -> _Found:
        """Nothing of the others came here in any way, and what they have is for this one as if it were not there."""
        own = self._marks()
        async with self._open_live() as live:
            opened = await self._subscribe(live, after=0)
            story = _Story(self._clock.monotonic())
            while not story.events or story.events[-1].seq < opened.head_seq:
                await self._hear(live, story)
            for other in self._others:
                if other.thread_id is not None:
                    await self._follow_in_vain(live, other.thread_id)
        paths = ("/v1/threads", "/v1/runs", "/v1/approvals", f"/v1/threads/{self._thread}/messages")
        pages = [(await self._rest.request("GET", path)).content for path in paths]
        seen = b"\n".join([*self._heard, *pages])
        if own.canary.encode() not in seen:
            raise _FaultError("its own words did not come back to it")
        leaked = sorted(word for other in self._others for word in other.words if word.encode() in seen)
        if leaked:
            raise _FaultError(f"of others arrived here: {', '.join(leaked)}")
        for other in self._others[:_NEIGHBOURS]:
            await self._ask_for_neighbour(other)
        frames, size = len(self._heard), sum(map(len, self._heard))
        return _Found(
            detail=f"{frames} frames ({size} bytes) hold nothing of {len(self._others)} others; theirs are 404"
        )

    async def _ask_for_neighbour(self, other: Marks) -> None:
        missing = ThreadId.new(), RunId.new()
        for path, found, none in (
            ("/v1/threads/{}", other.thread_id, missing[0]),
            ("/v1/threads/{}/messages", other.thread_id, missing[0]),
            ("/v1/runs/{}", other.run_id, missing[1]),
        ):
            if found is None:
                continue
            refusals = [await self._refusal_of(path.format(one)) for one in (found, none)]
            if refusals[0] != refusals[1] or refusals[0][0] != 404:
                raise _FaultError(
                    f"{path.format(found)} of another user answers {refusals[0]}, a made-up one {refusals[1]}"
                )

    async def _follow_in_vain(self, live: LiveConnection, thread_id: str) -> None:
        try:
            await live.call(Subscribe(thread_id=ThreadId(thread_id), after=0))
        except RefusedError as refused:
            if refused.error.code == "not_found":
                return
            raise
        raise _FaultError(f"another user's thread {thread_id} can be followed")

    def _marks(self) -> Marks:
        run_id = self._story.events[0].run_id if self._story.events else None
        return Marks(canary=self._errand.canary, thread_id=self._thread, run_id=run_id)

    async def _refusal_of(self, path: str) -> tuple[int | None, str, str, str]:
        try:
            await self._rest.request("GET", path)
        except RefusedError as refused:
            error = refused.error
            return refused.status, error.code, error.message, repr(error.details)
        raise _FaultError(f"{path} should not be there, and is")

    async def _archive(self) -> _Found:
        archived = await self._rest.post(ThreadFacts, f"/v1/threads/{self._thread}/archive")
        if archived.archived_at is None:
            raise _FaultError("the thread is not archived")
        return _Found(detail=archived.id)

    async def _delete(self) -> _Found:
        await self._rest.request("DELETE", f"/v1/threads/{self._thread}")
        return _Found(detail=str(self._thread))

    async def _sign_out(self) -> _Found:
        await self._rest.sign_out()
        return _Found(detail="the session is over")

    def _open_live(self) -> AbstractAsyncContextManager[LiveConnection]:
        return open_live(self._rest, self._clock, heard=self._heard if self._company is not None else None)

    async def _subscribe(self, live: LiveConnection, *, after: int | None) -> StreamOpened:
        assert self._thread is not None, "there is a thread to follow"
        await live.call(Subscribe(thread_id=self._thread, after=after))
        while True:
            received = await live.receive()
            if isinstance(received, StreamOpened) and received.thread_id == self._thread:
                return received

    async def _send(self, live: LiveConnection) -> _Story:
        story = _Story(self._clock.monotonic())
        await live.call(
            Send(
                client_message_id=generate_id(IDType.MESSAGE, "doctor"),
                thread_id=self._thread,
                text=self._errand.message,
                agent=self._errand.agent,
            )
        )
        return story

    async def _hear(self, live: LiveConnection, story: _Story) -> None:
        received = await live.receive()
        if isinstance(received, Arrived):
            story.add(received)


def _text(message: _MessageFacts) -> str:
    return "\n\n".join(part.text for part in message.parts)


async def examine(errand: Errand, clock: Clock, company: Company | None = None) -> Report:
    """One round of the check-up, alone or in a company.

    Raises:
        InvalidInputError: the URL is none of a server.
    """
    async with open_rest(errand.url) as rest:
        return await Checkup(errand, rest, clock, company).run()
