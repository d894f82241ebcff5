"""Messages: what starts a run, and what was said."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.callers import Caller
from cloche.api.wire.messages import AcceptedAnswer, MessageBody, MessagePage, accepted_answer, message_answer
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.request_ids import request_id_of
from cloche.domain.messages import Message, user_parts
from cloche.domain.permissions import Permission
from cloche.execution.intake import Sending
from cloche.ids import RequestId, ThreadId
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.pages import Page, page_request
from cloche.storage.threads import ThreadRepository

_REFUSALS = (404, 409, 429)


class MessageRoutes:
    """The way in for messages over plain HTTP."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._intake = services.intake

    def table(self) -> list[Endpoint]:
        """The routes."""
        of_thread = "/v1/threads/{thread_id}/messages"
        return [
            Endpoint(
                method="POST",
                path=of_thread,
                run=self.send_message,
                answer=AcceptedAnswer,
                status=202,
                errors=_REFUSALS,
            ),
            Endpoint(method="GET", path=of_thread, run=self.list_messages, answer=MessagePage),
            Endpoint(
                method="POST",
                path="/v1/messages",
                run=self.send_first_message,
                answer=AcceptedAnswer,
                status=202,
                errors=_REFUSALS,
            ),
        ]

    @requires(Permission.RUNS_WRITE)
    async def send_message(
        self, request: Request, response: Response, caller: Admitted, thread_id: str, body: MessageBody
    ) -> AcceptedAnswer:
        """Send a message on a thread; its run is accepted, and goes on whether or not anybody listens."""
        answer = await self._send(request, caller, path_id(ThreadId, thread_id), body)
        response.headers["Location"] = f"/v1/runs/{answer.run_id}"
        return answer

    @requires(Permission.RUNS_WRITE)
    async def send_first_message(
        self, request: Request, response: Response, caller: Admitted, body: MessageBody
    ) -> AcceptedAnswer:
        """Send a message that begins a thread of its own."""
        answer = await self._send(request, caller, None, body)
        response.headers["Location"] = f"/v1/runs/{answer.run_id}"
        return answer

    @requires(Permission.THREADS_READ)
    async def list_messages(
        self, caller: Admitted, thread_id: str, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None
    ) -> MessagePage:
        """List a thread's messages, newest first."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope
        page = page_request("messages", limit=limit, cursor=cursor)

        async def work(tx: Transaction) -> Page[Message]:
            await ThreadRepository(scope).get(tx, wanted)
            return await MessageRepository(scope).list(tx, wanted, page)

        found = await self._database.read(work)
        return MessagePage(items=[message_answer(message) for message in found.items], next_cursor=found.next_cursor)

    async def _send(
        self, request: Request, caller: Caller, thread_id: ThreadId | None, body: MessageBody
    ) -> AcceptedAnswer:
        parts = None if body.parts is None else [part.model_dump() for part in body.parts]
        request_id: RequestId = request_id_of(request.scope)
        sending = Sending(
            parts=user_parts(text=body.text, parts=parts),
            client_message_id=str(request_id) if body.client_message_id is None else body.client_message_id,
            thread_id=thread_id,
            agent=body.agent,
            on_busy=body.on_busy,
            on_pending_approval=body.on_pending_approval,
        )
        accepted = await self._intake.accept(caller.scope, sending, request_id=request_id)
        return accepted_answer(accepted)
