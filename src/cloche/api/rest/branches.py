"""Branches: threads that go on from the middle of another one."""

from __future__ import annotations

from starlette.responses import Response

from cloche.api.rest.route import Admitted, Endpoint, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.threads import BranchBody, BranchList, ThreadAnswer, branch_answer, thread_answer
from cloche.domain.messages import MessageRole
from cloche.domain.permissions import Permission
from cloche.domain.threads import Branch, Thread, ThreadStatus, clean_title
from cloche.errors import InvalidIdError, InvalidInputError, NotFoundError
from cloche.ids import MessageId, ThreadId
from cloche.storage.branches import BranchRepository
from cloche.storage.database import Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.threads import ThreadRepository


class BranchRoutes:
    """How a person goes on from an earlier message without losing what came after it."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._clock = services.clock
        self._log = services.log

    def table(self) -> list[Endpoint]:
        """The routes."""
        one = "/v1/threads/{thread_id}"
        return [
            Endpoint(method="POST", path=f"{one}/branch", run=self.branch_thread, answer=ThreadAnswer, status=201),
            Endpoint(method="GET", path=f"{one}/branches", run=self.list_branches, answer=BranchList),
        ]

    @requires(Permission.THREADS_WRITE)
    async def branch_thread(
        self, caller: Admitted, thread_id: str, body: BranchBody, response: Response
    ) -> ThreadAnswer:
        """Make a thread that holds what was said before one of your messages.

        The new thread has copies of all messages before that one, with ids of their own; its log begins behind them, so
        that a follower is told of them by a snapshot. Send the same text on it, or another one.
        """
        wanted, scope, branch_id = path_id(ThreadId, thread_id), caller.scope, ThreadId.new()
        message_id = _message_in(body)
        title = None if body.title is None else clean_title(body.title)

        async def work(tx: Transaction) -> Thread:
            origin = await ThreadRepository(scope).get(tx, wanted)
            message = await MessageRepository(scope).get(tx, message_id)
            if message.thread_id != origin.id:
                raise NotFoundError("there is no such message")
            if message.role is not MessageRole.USER:
                raise InvalidInputError("a branch begins before a person's message", details={"place": "$.message_id"})
            self._log.note_thread(tx, scope, branch_id)
            return await BranchRepository(scope).create(
                tx, branch_id, message, title=origin.title if title is None else title, at=self._clock.now()
            )

        thread = await self._database.write(work)
        response.headers["Location"] = f"/v1/threads/{thread.id}"
        return thread_answer(thread, ThreadStatus.IDLE)

    @requires(Permission.THREADS_READ)
    async def list_branches(self, caller: Admitted, thread_id: str) -> BranchList:
        """List the branches of a thread, and, of a thread that is a branch, those of its origin: itself and its siblings."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope

        async def work(tx: Transaction) -> list[Branch]:
            thread, branches = await ThreadRepository(scope).get(tx, wanted), BranchRepository(scope)
            found = await branches.list(tx, wanted)
            if thread.branched_from is not None:
                found += await branches.list(tx, thread.branched_from.thread_id)
            return sorted(found, key=lambda branch: (branch.created_at, branch.thread_id))

        return BranchList(items=[branch_answer(branch) for branch in await self._database.read(work)])


def _message_in(body: BranchBody) -> MessageId:
    try:
        return MessageId.parse(body.message_id)
    except InvalidIdError as error:
        raise InvalidIdError(error.message, details={**error.details, "place": "$.message_id"}) from None
