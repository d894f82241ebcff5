"""Search: finding a conversation again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import FIRST_PAGE, Admitted, Endpoint, LimitQuery
from cloche.api.wire.access import requires
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.search import MAX_QUERY, MAX_SNIPPET, SearchAnswer, SearchItem
from cloche.api.wire.threads import thread_answer
from cloche.domain.permissions import Permission
from cloche.domain.text import snippet
from cloche.domain.threads import status_of
from cloche.errors import InvalidInputError
from cloche.storage.database import Transaction
from cloche.storage.runs import RunRepository
from cloche.storage.search import SearchRepository


class SearchRoutes:
    """Looking for words in the own threads."""

    def __init__(self, services: EdgeParts) -> None:
        self._database = services.database

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [Endpoint(method="GET", path="/v1/search", run=self.search, answer=SearchAnswer)]

    @requires(Permission.THREADS_READ)
    async def search(
        self,
        caller: Admitted,
        q: Annotated[str, Query(max_length=MAX_QUERY, description="the words, as they stand in the text")],
        limit: LimitQuery = FIRST_PAGE,
    ) -> SearchAnswer:
        """Find threads by the words in their titles and messages, the newest hit first.

        Archived threads are found, deleted ones are not. The words are found as they are written, one behind the other;
        upper and lower case are alike for the letters A to Z, and differ for all others.
        """
        words, scope = q.strip(), caller.scope
        if not words:
            raise InvalidInputError("q: say which words to look for", details={"place": "query.q"})

        async def work(tx: Transaction) -> SearchAnswer:
            hits = await SearchRepository(scope).search(tx, words, limit)
            live = await RunRepository(scope).live_states(tx)
            items = [
                SearchItem(
                    thread=thread_answer(hit.thread, status_of(live.get(hit.thread.id, ()))),
                    message_id=hit.message_id,
                    role=hit.role,
                    snippet=snippet(hit.text, words, limit=MAX_SNIPPET),
                )
                for hit in hits
            ]
            return SearchAnswer(items=items)

        return await self._database.read(work)
