"""Threads: the conversations of the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from cloche.api.rest.route import FIRST_PAGE, Admitted, CursorQuery, Endpoint, LimitQuery, no_content, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.threads import ReadBody, ThreadAnswer, ThreadBody, ThreadPage, ThreadPatch, thread_answer
from cloche.domain.events import ThreadUpdated
from cloche.domain.permissions import Permission
from cloche.domain.runs import RunRef
from cloche.domain.scope import Scope
from cloche.domain.threads import MAX_METADATA_BYTES, Thread, ThreadStatus, clean_title, status_of
from cloche.errors import PayloadTooLargeError
from cloche.events.codec import draft
from cloche.events.retention import UNDO_TIME
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.pages import page_request
from cloche.storage.runs import RunRepository
from cloche.storage.threads import ThreadRepository


class ThreadRoutes:
    """Everything that a person does with a conversation as a whole."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._log = services.log
        self._bus = services.bus
        self._cancellation = services.cancellation
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        one = "/v1/threads/{thread_id}"
        return [
            Endpoint(method="POST", path="/v1/threads", run=self.create_thread, answer=ThreadAnswer, status=201),
            Endpoint(method="GET", path="/v1/threads", run=self.list_threads, answer=ThreadPage),
            Endpoint(method="GET", path=one, run=self.get_thread, answer=ThreadAnswer),
            Endpoint(method="PATCH", path=one, run=self.update_thread, answer=ThreadAnswer),
            Endpoint(method="POST", path=f"{one}/read", run=self.mark_thread_read, answer=ThreadAnswer),
            Endpoint(method="POST", path=f"{one}/archive", run=self.archive_thread, answer=ThreadAnswer),
            Endpoint(method="POST", path=f"{one}/unarchive", run=self.unarchive_thread, answer=ThreadAnswer),
            Endpoint(method="DELETE", path=one, run=self.delete_thread, status=204),
            Endpoint(method="POST", path=f"{one}/restore", run=self.restore_thread, answer=ThreadAnswer),
        ]

    @requires(Permission.THREADS_WRITE)
    async def create_thread(self, caller: Admitted, body: ThreadBody, response: Response) -> ThreadAnswer:
        """Make an empty thread."""
        title, thread_id, scope = clean_title(body.title), ThreadId.new(), caller.scope
        _check_metadata(body.metadata)

        async def work(tx: Transaction) -> Thread:
            self._log.note_thread(tx, scope, thread_id)
            return await ThreadRepository(scope).create(
                tx, thread_id, title=title, metadata=body.metadata, at=self._clock.now()
            )

        thread = await self._database.write(work)
        response.headers["Location"] = f"/v1/threads/{thread.id}"
        return thread_answer(thread, ThreadStatus.IDLE)

    @requires(Permission.THREADS_READ)
    async def list_threads(
        self, caller: Admitted, limit: LimitQuery = FIRST_PAGE, cursor: CursorQuery = None, *, archived: bool = False
    ) -> ThreadPage:
        """List threads, the last changed first: those that are archived, or those that are not."""
        page, scope = page_request("threads", limit=limit, cursor=cursor), caller.scope

        async def work(tx: Transaction) -> ThreadPage:
            found = await ThreadRepository(scope).list(tx, page, archived=archived)
            live = await RunRepository(scope).live_states(tx)
            items = [thread_answer(thread, status_of(live.get(thread.id, ()))) for thread in found.items]
            return ThreadPage(items=items, next_cursor=found.next_cursor)

        return await self._database.read(work)

    @requires(Permission.THREADS_READ)
    async def get_thread(self, caller: Admitted, thread_id: str) -> ThreadAnswer:
        """Get one thread with the status that follows from its runs."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope

        async def work(tx: Transaction) -> ThreadAnswer:
            return await _answer(tx, scope, await ThreadRepository(scope).get(tx, wanted))

        return await self._database.read(work)

    @requires(Permission.THREADS_WRITE)
    async def update_thread(self, caller: Admitted, thread_id: str, body: ThreadPatch) -> ThreadAnswer:
        """Change a thread's title or metadata; a new title is told to everybody who follows the thread."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope
        title = None if body.title is None else clean_title(body.title)
        _check_metadata(body.metadata or {})

        async def work(tx: Transaction) -> ThreadAnswer:
            threads, now = ThreadRepository(scope), self._clock.now()
            thread = await threads.get(tx, wanted)
            if title is not None and title != thread.title:
                event = ThreadUpdated(title=title, status=await _status(tx, scope, thread))
                drafted = draft(event, thread_id=wanted, run_id=None, at=now)
                await self._log.append(tx, scope, wanted, [drafted], at=now, own=1)
            if title is not None or body.metadata is not None:
                self._log.note_thread(tx, scope, wanted)
                thread = await threads.update(tx, wanted, at=now, title=title, metadata=body.metadata)
            return await _answer(tx, scope, thread)

        return await self._database.write(work)

    @requires(Permission.THREADS_WRITE)
    async def mark_thread_read(self, caller: Admitted, thread_id: str, body: ReadBody) -> ThreadAnswer:
        """Say how far you have read a thread. The mark never goes back, and never beyond the thread's last event."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope

        async def work(tx: Transaction) -> ThreadAnswer:
            self._log.note_thread(tx, scope, wanted)
            return await _answer(tx, scope, await ThreadRepository(scope).mark_read(tx, wanted, body.seq))

        return await self._database.write(work)

    @requires(Permission.THREADS_WRITE)
    async def archive_thread(self, caller: Admitted, thread_id: str) -> ThreadAnswer:
        """Put a thread aside; it can be read and gone on with as before."""
        return await self._archive(caller.scope, path_id(ThreadId, thread_id), is_wanted=True)

    @requires(Permission.THREADS_WRITE)
    async def unarchive_thread(self, caller: Admitted, thread_id: str) -> ThreadAnswer:
        """Take a thread back among the others."""
        return await self._archive(caller.scope, path_id(ThreadId, thread_id), is_wanted=False)

    @requires(Permission.THREADS_WRITE)
    async def delete_thread(self, caller: Admitted, thread_id: str) -> Response:
        """Delete a thread; its live runs are cancelled."""
        wanted, scope = path_id(ThreadId, thread_id), caller.scope

        async def work(tx: Transaction) -> list[RunRef]:
            threads = ThreadRepository(scope)
            await threads.get(tx, wanted)
            stopped = await self._cancellation.cancel_thread(tx, scope, wanted, reason="the thread was deleted")
            await threads.delete(tx, wanted, at=self._clock.now())
            self._log.note_thread(tx, scope, wanted)
            return stopped

        for ref in await self._database.write(work):
            self._bus.signal_cancel(ref)
        return no_content()

    @requires(Permission.THREADS_WRITE)
    async def restore_thread(self, caller: Admitted, thread_id: str) -> ThreadAnswer:
        """Take back the delete of a thread, within 24 hours.

        Runs that were cancelled by the delete stay cancelled. A thread that is not deleted stays as it is.
        """
        wanted, scope = path_id(ThreadId, thread_id), caller.scope

        async def work(tx: Transaction) -> ThreadAnswer:
            since = self._clock.now() - UNDO_TIME
            thread = await ThreadRepository(scope).restore(tx, wanted, deleted_since=since)
            self._log.note_thread(tx, scope, wanted)
            return await _answer(tx, scope, thread)

        return await self._database.write(work)

    async def _archive(self, scope: Scope, thread_id: ThreadId, *, is_wanted: bool) -> ThreadAnswer:
        async def work(tx: Transaction) -> ThreadAnswer:
            threads = ThreadRepository(scope)
            thread = await threads.get(tx, thread_id)
            if is_wanted is (thread.archived_at is None):
                self._log.note_thread(tx, scope, thread_id)
                thread = await threads.archive(tx, thread_id, at=self._clock.now() if is_wanted else None)
            return await _answer(tx, scope, thread)

        return await self._database.write(work)


async def _status(tx: Transaction, scope: Scope, thread: Thread) -> ThreadStatus:
    return status_of(run.state for run in await RunRepository(scope).live(tx, thread.id))


async def _answer(tx: Transaction, scope: Scope, thread: Thread) -> ThreadAnswer:
    return thread_answer(thread, await _status(tx, scope, thread))


def _check_metadata(metadata: Mapping[str, object]) -> None:
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA_BYTES:
        raise PayloadTooLargeError(
            f"the metadata has {size} bytes as JSON; at most {MAX_METADATA_BYTES} are taken",
            details={"place": "$.metadata", "limit_bytes": MAX_METADATA_BYTES},
        )
