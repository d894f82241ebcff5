"""Export: everything that is a person's, to keep."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import StreamingResponse

from cloche.api.rest.archive import GrowingArchive
from cloche.api.rest.route import Admitted, Endpoint, path_id
from cloche.api.wire.access import requires
from cloche.api.wire.auth import UserAnswer, user_answer
from cloche.api.wire.export import as_json, as_markdown, content_disposition
from cloche.api.wire.parts import EdgeParts
from cloche.domain.permissions import Permission
from cloche.domain.scope import Scope
from cloche.domain.text import file_name
from cloche.domain.threads import Thread
from cloche.events.story import read_story
from cloche.ids import ThreadId
from cloche.storage.threads import ThreadRepository

PAGE_THREADS = 50

Format = Literal["markdown", "json"]


class ExportRoutes:
    """Downloads. Each is read and sent piece by piece, however large it is."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database
        self._sign_in = services.sign_in
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(
                method="GET",
                path="/v1/threads/{thread_id}/export",
                run=self.export_thread,
                media_type="text/markdown",
            ),
            Endpoint(method="GET", path="/v1/me/export", run=self.export_everything, media_type="application/zip"),
        ]

    @requires(Permission.THREADS_READ)
    async def export_thread(
        self,
        caller: Admitted,
        thread_id: str,
        wanted: Annotated[Format, Query(alias="format", description="what is written")] = "markdown",
    ) -> StreamingResponse:
        """Download a thread, as Markdown or as JSON: its messages, what tools did, and how runs ended."""
        identity, scope = path_id(ThreadId, thread_id), caller.scope
        thread = await self._database.read(lambda tx: ThreadRepository(scope).get(tx, identity))
        extension, media_type = {"markdown": ("md", "text/markdown"), "json": ("json", "application/json")}[wanted]
        return StreamingResponse(
            self._written(scope, thread, wanted),
            media_type=media_type,
            headers={"Content-Disposition": content_disposition(thread.title, extension)},
        )

    @requires(Permission.PROFILE_READ)
    async def export_everything(self, caller: Admitted) -> StreamingResponse:
        """Download all of your threads, archived ones too, and your profile, as one zip file.

        It holds `profile.json`, and each thread as Markdown and as JSON. A download that breaks off was not completed:
        a zip file without its end cannot be opened.
        """
        profile = user_answer(await self._sign_in.me(caller.principal))
        return StreamingResponse(
            self._archived(caller.scope, profile),
            media_type="application/zip",
            headers={"Content-Disposition": content_disposition("cloche export", "zip")},
        )

    async def _archived(self, scope: Scope, profile: UserAnswer) -> AsyncGenerator[bytes]:
        archive = GrowingArchive(self._clock.now())
        async for piece in archive.add("profile.json", _whole(profile.model_dump_json(indent=2).encode())):
            yield piece
        async for thread in self._threads(scope):
            name = f"threads/{file_name(thread.title)}-{thread.id}"
            async for piece in archive.add(f"{name}.md", self._written(scope, thread, "markdown")):
                yield piece
            async for piece in archive.add(f"{name}.json", self._written(scope, thread, "json")):
                yield piece
        yield archive.close()

    async def _threads(self, scope: Scope) -> AsyncGenerator[Thread]:
        threads, last = ThreadRepository(scope), ""
        while True:
            page = await self._database.read(lambda tx, last=last: threads.all_after(tx, last, PAGE_THREADS))
            for thread in page:
                yield thread
            if len(page) < PAGE_THREADS:
                return
            last = page[-1].id

    def _written(self, scope: Scope, thread: Thread, wanted: Format) -> AsyncGenerator[bytes]:
        write = as_markdown if wanted == "markdown" else as_json
        return write(thread, read_story(self._database, scope, thread.id), at=self._clock.now())


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content
