"""The log as server-sent events: who may have it, from which position on, and how a stream ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope, Send

from cloche.api.sse.response import ClientLeftError, EventResponse, SlowReaderError
from cloche.api.sse.source import Source
from cloche.api.wire.callers import access_token
from cloche.api.wire.connections import Connections, Lifeline
from cloche.api.wire.credentials import check_token, refuse_credential_in_url
from cloche.api.wire.errors import error_body
from cloche.api.wire.frames import encode_frame
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.request_ids import request_id_of
from cloche.domain import scope as authority
from cloche.domain.permissions import Permission
from cloche.errors import ClocheError, DrainingError, InvalidInputError
from cloche.ids import RequestId

KEEP_ALIVE = b":\n\n"
COME_BACK = b"retry: 1000\n\n"

FindSource = Callable[[authority.Scope, str], Awaitable[Source]]

_match_position = re.compile(r"[0-9]{1,18}").fullmatch


class EventEndpoint:
    """The ASGI application at one of the routes.

    What is wrong before the stream begins is raised, and answered by the application around this one. A stream that
    began ends cleanly, except for a client that reads too slowly: it is cut off, and comes back with its position.

    Args:
        services: what the streams are made of.
        connections: where each stream can be ended from outside.
        permission: what a caller needs.
        find_source: gives the caller's stream of that id, or raises NotFoundError.
    """

    def __init__(
        self,
        services: EdgeParts,
        connections: Connections,
        *,
        permission: Permission,
        find_source: FindSource,
    ) -> None:
        self._services = services
        self._connections = connections
        self._permission = permission
        self._find_source = find_source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = EventResponse(receive, send, send_timeout_s=self._services.limits.send_timeout_s)
        with self._connections.open() as lifeline:
            try:
                error = await self._stream(scope, lifeline, response)
                if error is not None:
                    await response.write(_last_words(error, request_id_of(scope)), is_last=True)
            except SlowReaderError:
                self._services.telemetry.figures.slow_consumers += 1
            except ClientLeftError:
                pass

    async def _stream(self, scope: Scope, lifeline: Lifeline, response: EventResponse) -> ClocheError | None:
        """The stream is told to its end, and completed; or it was ended before, by this error."""
        try:
            async with lifeline:
                source = await self._open(scope, lifeline, response)
                try:
                    if source is not None:
                        await self._tell_while_heard(source, response)
                finally:
                    if source is not None:
                        source.close()
                await response.write(b"", is_last=True)
        except ClocheError as error:
            if not response.is_begun:
                raise
            return error
        if lifeline.error is not None and not response.is_begun:
            raise lifeline.error
        return lifeline.error

    async def _open(self, scope: Scope, lifeline: Lifeline, response: EventResponse) -> Source | None:
        """The stream has begun; None where only its headers are wanted."""
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        refuse_credential_in_url(frozenset(query.keys()))
        token = access_token(self._services, headers, method=scope["method"])
        credential = await check_token(self._services, token)
        lifeline.belongs_to(credential.principal.session_id, until=credential.expires_at)
        allowed = await self._services.sign_in.scope_of(credential.principal)
        allowed.require(self._permission)
        after = _number(headers.get("last-event-id") or None, "header last-event-id")
        asked = _number(query.get("after"), "query.after")
        epoch = _number(query.get("epoch"), "query.epoch")
        source = await self._find_source(allowed, scope["path_params"]["id"])
        try:
            opening = await source.open(asked if after is None else after, epoch)
            await source.look_at_run(self._services.database)
            await response.begin()
            await response.write(opening)
        except BaseException:
            source.close()
            raise
        if scope["method"] == "HEAD":
            source.close()
            return None
        return source

    async def _tell_while_heard(self, source: Source, response: EventResponse) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(response.watch())
                await self._tell(source, response)
                watching.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _tell(self, source: Source, response: EventResponse) -> None:
        figures = self._services.telemetry.figures
        while not source.is_over:
            try:
                async with asyncio.timeout(self._services.limits.sse_keep_alive_s):
                    chunk, count = await source.next()
            except TimeoutError:
                await response.write(KEEP_ALIVE)
                continue
            if chunk:
                await response.write(chunk)
                figures.frames_sent += 1
                figures.events_sent += count


def _number(text: str | None, place: str) -> int | None:
    if text is None:
        return None
    if not _match_position(text):
        raise InvalidInputError("a position is a whole number of up to 18 digits", details={"place": place})
    return int(text)


def _last_words(error: ClocheError, request_id: RequestId) -> bytes:
    """Whoever is told to come back needs no reason; everybody else is told it as the last event."""
    if isinstance(error, DrainingError):
        return COME_BACK
    return b"event: stream_closed\ndata: %b\n\n" % encode_frame(error_body(error, request_id))
