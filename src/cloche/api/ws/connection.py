"""One live connection of somebody: what each operation does."""

from __future__ import annotations

import math
from typing import assert_never

from cloche.api.wire.connections import Lifeline
from cloche.api.wire.credentials import Credential, check_token
from cloche.api.wire.errors import MAX_REASON_BYTES
from cloche.api.wire.frames import (
    NEEDED_PERMISSION,
    AnyOperation,
    Auth,
    Cancel,
    Decide,
    Ping,
    ReadyLimits,
    Send,
    Subscribe,
    Unsubscribe,
    Unwatch,
    Watch,
)
from cloche.api.wire.parts import EdgeParts
from cloche.api.ws.outbox import Outbox
from cloche.api.ws.protocol import connection_ready, draining, ok, position_reason, stream_opened
from cloche.clock import Clock, to_text
from cloche.domain.messages import user_parts
from cloche.domain.scope import Scope
from cloche.errors import ClocheError, DrainingError, PermissionDeniedError, RateLimitedError, SlowConsumerError
from cloche.execution.intake import Sending
from cloche.ids import RequestId, WebsocketId

_Permitted = Subscribe | Unsubscribe | Watch | Unwatch | Send | Cancel | Decide


class Pace:
    """How many operations come in a second: a bucket that holds one second's worth."""

    def __init__(self, clock: Clock, per_second: int) -> None:
        self._now = clock.monotonic
        self._per_second = per_second
        self._left = float(per_second)
        self._at = self._now()

    def count(self) -> None:
        """One more operation came.

        Raises:
            RateLimitedError: too many did; this one is not counted.
        """
        now = self._now()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            raise RateLimitedError(
                f"at most {self._per_second} operations a second are taken",
                details={"limit": self._per_second},
                retry_after_s=math.ceil(1000 * (1 - self._left) / self._per_second) / 1000,
            )
        self._left -= 1


class Connection:
    """A connection whose owner is known. Operations are done one after the other, in the order of their frames."""

    def __init__(self, services: EdgeParts, credential: Credential, lifeline: Lifeline, outbox: Outbox) -> None:
        self._services = services
        self._principal = credential.principal
        self._lifeline = lifeline
        self._outbox = outbox
        self._pace = Pace(services.clock, services.limits.ops_per_second)
        self.id = WebsocketId.new()
        lifeline.belongs_to(credential.principal.session_id, until=credential.expires_at)

    @property
    def owner(self) -> str:
        """The user's id, for the log."""
        return str(self._principal.user_id)

    def greet(self, auth: Auth | None, credential: Credential) -> list[bytes]:
        """The answer to the first frame, if the credential came with it, and the first notice."""
        ready = self._ready()
        return [ready] if auth is None else [self._authenticated(auth, credential), ready]

    async def check(self) -> Scope:
        """What the owner may do now.

        Raises:
            SessionRevokedError: nothing any more.
        """
        return await self._services.sign_in.scope_of(self._principal)

    async def perform(self, asked: AnyOperation | ClocheError, request_id: RequestId) -> list[bytes]:
        """The operation is done; the answer to it, and what is told right behind that.

        Raises:
            ClocheError: it is not done, for this reason; what could not be read is refused as ``asked`` says.
        """
        self._pace.count()
        match asked:
            case ClocheError():
                raise asked
            case Auth():
                return [await self._renew(asked)]
            case Ping():
                return [ok(asked.ref, at=to_text(self._services.clock.now()))]
            case _:
                scope = await self.check()
                needed = NEEDED_PERMISSION[type(asked)]
                assert needed is not None, "only the operations above need no permission"
                scope.require(needed)
                return await self._do(asked, scope, request_id)

    async def _do(self, asked: _Permitted, scope: Scope, request_id: RequestId) -> list[bytes]:
        match asked:
            case Subscribe():
                return await self._subscribe(asked, scope)
            case Unsubscribe():
                self._outbox.following.unfollow(asked.thread_id)
                return [ok(asked.ref, thread_id=asked.thread_id)]
            case Watch():
                self._outbox.watch(scope)
                return [ok(asked.ref)]
            case Unwatch():
                self._outbox.unwatch()
                return [ok(asked.ref)]
            case Send():
                return [await self._send(asked, scope, request_id)]
            case Cancel():
                state = await self._services.cancellation.cancel(scope, asked.run_id)
                return [ok(asked.ref, run_id=asked.run_id, state=state)]
            case Decide():
                return [await self._decide(asked, scope)]
            case _:
                assert_never(asked)

    def last_frames(self, error: ClocheError | None) -> list[bytes]:
        """What the client is still told before the connection ends because of the error."""
        frames = self._outbox.leftovers()
        if isinstance(error, DrainingError):
            frames.append(draining(self._outbox.following.positions))
        return frames

    def close_reason(self, error: ClocheError) -> str:
        """What stands beside the close code: for who reads too slowly the positions to come back with."""
        if isinstance(error, SlowConsumerError):
            return position_reason(self._outbox.following.positions, MAX_REASON_BYTES)
        return error.code

    def _ready(self) -> bytes:
        limits = self._services.limits
        return connection_ready(
            self.id,
            self._principal.user_id,
            heartbeat_s=limits.heartbeat_s,
            limits=ReadyLimits(
                frame_bytes=limits.frame_bytes,
                subscriptions=limits.subscriptions,
                ops_per_second=limits.ops_per_second,
            ),
        )

    def _authenticated(self, asked: Auth, credential: Credential) -> bytes:
        return ok(asked.ref, user_id=self._principal.user_id, expires_at=to_text(credential.expires_at))

    async def _renew(self, asked: Auth) -> bytes:
        credential = await check_token(self._services, asked.token)
        principal = credential.principal
        if (principal.tenant_id, principal.user_id) != (self._principal.tenant_id, self._principal.user_id):
            raise PermissionDeniedError("this connection is another user's", details={"place": "$.token"})
        self._principal = principal
        self._lifeline.belongs_to(principal.session_id, until=credential.expires_at)
        return self._authenticated(asked, credential)

    async def _subscribe(self, asked: Subscribe, scope: Scope) -> list[bytes]:
        opening, snapshot = await self._outbox.following.follow(
            scope, asked.thread_id, after=asked.after, epoch=asked.epoch
        )
        answer = ok(asked.ref, thread_id=asked.thread_id, head_seq=opening.head_seq)
        return [answer, stream_opened(opening, snapshot)]

    async def _send(self, asked: Send, scope: Scope, request_id: RequestId) -> bytes:
        sending = Sending(
            parts=user_parts(text=asked.text, parts=asked.parts),
            client_message_id=asked.client_message_id,
            thread_id=asked.thread_id,
            agent=asked.agent,
            on_busy=asked.on_busy,
            on_pending_approval=asked.on_pending_approval,
        )
        accepted = await self._services.intake.accept(scope, sending, request_id=request_id)
        return ok(
            asked.ref,
            thread_id=accepted.thread_id,
            message_id=accepted.message_id,
            run_id=accepted.run_id,
            seq=accepted.seq,
            replayed=accepted.replayed,
        )

    async def _decide(self, asked: Decide, scope: Scope) -> bytes:
        approval = await self._services.decisions.decide(
            scope, asked.approval_id, asked.decision, arguments=asked.arguments
        )
        return ok(asked.ref, approval_id=approval.id, run_id=approval.run_id, state=approval.state)
