"""``GET /v1/ws``: the upgrade, the two tasks of a connection, and the edge that nothing unexpected passes."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from cloche.api.wire.access import Public, requires
from cloche.api.wire.connections import Connections, Lifeline
from cloche.api.wire.credentials import Credential, check_token
from cloche.api.wire.errors import row_of, visible
from cloche.api.wire.frames import Auth
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.request_ids import begin_request
from cloche.api.wire.strict_json import JsonLimits
from cloche.api.ws.channel import Channel, ClientGoneError
from cloche.api.ws.connection import Connection
from cloche.api.ws.handshake import check_upgrade, read_upgrade
from cloche.api.ws.outbox import Outbox
from cloche.api.ws.protocol import Incoming, read_frame, refused
from cloche.errors import ClocheError, NotAuthenticatedError, RateLimitedError, SessionRevokedError, SlowConsumerError
from cloche.ids import RequestId
from cloche.telemetry import LogEvent

MAX_FRAMES_BEFORE_AUTH = 8


@requires(Public("the credential may come with the upgrade or in the first frame; the endpoint checks both"))
class LiveEndpoint:
    """The ASGI application at the route. Every connection of it ends with a close code, whatever happens."""

    def __init__(self, services: EdgeParts, connections: Connections) -> None:
        self._services = services
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, from the upgrade to the close frame."""
        channel = Channel(scope, receive, send)
        with self._connections.open() as lifeline:
            visit = _Visit(self._services, channel, lifeline, begin_request(scope))
            try:
                await visit.leave(await visit.run(scope))
            finally:
                visit.close()


class _Visit:
    """One pass through the endpoint."""

    def __init__(self, services: EdgeParts, channel: Channel, lifeline: Lifeline, request_id: RequestId) -> None:
        self._services = services
        self._telemetry = services.telemetry
        self._channel = channel
        self._lifeline = lifeline
        self._request_id = request_id
        self._json_limits = JsonLimits(max_bytes=services.limits.frame_bytes)
        self._outbox = Outbox(
            channel.send,
            self._end_slow,
            log=services.log,
            figures=services.telemetry.figures,
            limit_bytes=services.limits.outbox_bytes,
            send_timeout_s=services.limits.send_timeout_s,
            subscriptions=services.limits.subscriptions,
        )
        self._connection: Connection | None = None

    async def run(self, scope: Scope) -> ClocheError | None:
        """The connection is served until its end; the error that ended it, None when the client went away."""
        try:
            await self._channel.begin()
            async with self._lifeline:
                await self._serve(await self._enter(scope))
        except ClientGoneError:
            return None
        except ClocheError as error:
            return error
        except Exception as error:
            self._telemetry.error(LogEvent.REQUEST_FAILED, error, request=self._request_id)
            return visible(error)
        return self._lifeline.error

    async def leave(self, error: ClocheError | None) -> None:
        """The client has been told why, where there is a reason to tell and somebody to hear it."""
        if error is None:
            return
        if not self._channel.is_accepted:
            await self._channel.refuse(error, self._request_id)
            return
        connection, frames, reason = self._connection, [], error.code
        if connection is not None:
            frames, reason = connection.last_frames(error), connection.close_reason(error)
        self._outbox.close()
        await self._channel.close(row_of(type(error)).close_code, reason, frames)

    def close(self) -> None:
        """Nothing of the connection is left."""
        self._outbox.close()
        if self._connection is not None:
            self._telemetry.figures.connections_open -= 1
            self._telemetry.info(
                LogEvent.CONNECTION_CLOSED,
                websocket=self._connection.id,
                user=self._connection.owner,
                code=self._channel.code,
            )

    async def _enter(self, scope: Scope) -> Connection:
        """The upgrade is accepted, and the connection is somebody's."""
        credential = await check_upgrade(self._services, read_upgrade(scope, self._services.origins))
        if credential is not None:
            connection = await self._connect(credential)
            await self._channel.accept()
            self._outbox.put(*connection.greet(None, credential))
        else:
            await self._channel.accept()
            auth, credential = await self._await_auth()
            connection = await self._connect(credential)
            self._outbox.put(*connection.greet(auth, credential))
        self._connection = connection
        self._telemetry.figures.connections_opened += 1
        self._telemetry.figures.connections_open += 1
        self._telemetry.info(LogEvent.CONNECTION_OPENED, websocket=connection.id, user=connection.owner)
        return connection

    async def _connect(self, credential: Credential) -> Connection:
        connection = Connection(self._services, credential, self._lifeline, self._outbox)
        # Now that a revocation ends the connection, look again: one may have come since the credential was checked.
        await connection.check()
        return connection

    async def _await_auth(self) -> tuple[Auth, Credential]:
        limit_s = self._services.limits.auth_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                for _ in range(MAX_FRAMES_BEFORE_AUTH):
                    incoming = read_frame(await self._channel.receive(), self._json_limits)
                    if isinstance(incoming.asked, Auth):
                        return incoming.asked, await self._check_auth(incoming.asked)
                    error = NotAuthenticatedError("say who you are first: the operation auth")
                    if isinstance(incoming.asked, ClocheError):
                        error = incoming.asked
                    await self._channel.send(refused(incoming.ref, error, self._request_id))
        except TimeoutError:
            pass
        raise NotAuthenticatedError(f"no credential came within {limit_s:g} s")

    async def _check_auth(self, auth: Auth) -> Credential:
        try:
            return await check_token(self._services, auth.token)
        except ClocheError as error:
            await self._channel.send(refused(auth.ref, error, self._request_id))
            raise

    async def _serve(self, connection: Connection) -> None:
        """Read in this task, send in another one, until the client goes away."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send_all())
            await self._read_all(connection)
            sending.cancel()

    async def _send_all(self) -> None:
        try:
            await self._outbox.run()
        except ClientGoneError:
            pass  # the reader hears of it too
        except ClocheError as error:
            self._lifeline.end(error)
        except Exception as error:
            self._telemetry.error(LogEvent.REQUEST_FAILED, error, request=self._request_id)
            self._lifeline.end(visible(error))

    async def _read_all(self, connection: Connection) -> None:
        while True:
            try:
                frame = await self._channel.receive()
            except ClientGoneError:
                return
            await self._outbox.room()
            self._outbox.put(*await self._answer(connection, read_frame(frame, self._json_limits)))

    async def _answer(self, connection: Connection, incoming: Incoming) -> list[bytes]:
        """What is said to one frame. Whatever happens in one operation, the connection goes on."""
        request_id = RequestId.new()
        try:
            return await connection.perform(incoming.asked, request_id)
        except ClocheError as error:
            if isinstance(error, SessionRevokedError) and not isinstance(incoming.asked, Auth):
                self._lifeline.end(error)
            if isinstance(error, RateLimitedError):
                await asyncio.sleep(0)  # a flood of frames that were read at once must not keep others waiting
            return [refused(incoming.ref, error, request_id)]
        except Exception as error:
            self._telemetry.error(LogEvent.REQUEST_FAILED, error, request=request_id, websocket=connection.id)
            return [refused(incoming.ref, visible(error), request_id)]

    def _end_slow(self) -> None:
        self._telemetry.figures.slow_consumers += 1
        self._lifeline.end(SlowConsumerError("the client did not read for too long"))
