"""The contract of the threads' repository."""

from __future__ import annotations

import pytest

from cloche.domain.scope import Scope
from cloche.domain.threads import Thread
from cloche.errors import NotFoundError
from cloche.ids import ThreadId
from cloche.storage.database import Database, Transaction, Work
from cloche.storage.events import EventRepository
from cloche.storage.pages import Page, page_request
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, ODD_TEXTS, SECOND, add_thread, append_events, event_draft


async def _find(database: Database, scope: Scope, thread_id: ThreadId) -> Thread | None:
    return await database.read(lambda tx: ThreadRepository(scope).find(tx, thread_id))


async def _list(
    database: Database, scope: Scope, *, limit: int = 100, cursor: str | None = None, archived: bool = False
) -> Page[Thread]:
    page = page_request("threads", limit=limit, cursor=cursor)
    return await database.read(lambda tx: ThreadRepository(scope).list(tx, page, archived=archived))


async def _ids(database: Database, scope: Scope, *, archived: bool = False) -> list[ThreadId]:
    return [thread.id for thread in (await _list(database, scope, archived=archived)).items]


class TestThreads:
    """One user's threads."""

    async def test_a_thread_is_kept_as_it_was_made(self, deployment: Deployment, scope: Scope) -> None:
        """With an empty log that begins at one, and on both nodes."""
        thread_id = ThreadId.new("demo")
        metadata = {"colour": "ü", "nested": {"list": [1, 2.5, None, True, "\x00"]}}

        made = await deployment.node.write(
            lambda tx: ThreadRepository(scope).create(tx, thread_id, title="Roses", metadata=metadata, at=NOW)
        )

        assert (made.id, made.title, made.metadata, made.external_id) == (thread_id, "Roses", metadata, None)
        assert (made.created_at, made.updated_at, made.archived_at) == (NOW, NOW, None)
        assert (made.head_seq, made.first_seq) == (0, 1)
        assert await _find(deployment.other, scope, thread_id) == made

    async def test_a_thread_that_is_not_there_is_none_or_an_error(self, deployment: Deployment, scope: Scope) -> None:
        """``find`` gives None; all else raises."""
        missing = ThreadId.new()
        threads = ThreadRepository(scope)

        assert await _find(deployment.node, scope, missing) is None
        refused: list[Work[object]] = [
            lambda tx: threads.get(tx, missing),
            lambda tx: threads.update(tx, missing, at=NOW, title="a"),
            lambda tx: threads.mark_read(tx, missing, 1),
            lambda tx: threads.restore(tx, missing, deleted_since=NOW),
            lambda tx: threads.archive(tx, missing, at=NOW),
            lambda tx: threads.delete(tx, missing, at=NOW),
        ]
        for work in refused:
            with pytest.raises(NotFoundError):
                await deployment.node.write(work)

    async def test_an_update_leaves_alone_what_it_does_not_name(self, deployment: Deployment, scope: Scope) -> None:
        """An empty title is a title, empty metadata are metadata."""
        thread_id = await add_thread(deployment.node, scope, title="Roses")
        threads = ThreadRepository(scope)

        async def work(tx: Transaction) -> list[tuple[str, object]]:
            states = [
                await threads.update(tx, thread_id, at=NOW + SECOND, metadata={"a": 1}),
                await threads.update(tx, thread_id, at=NOW + 2 * SECOND, title="Tulips"),
                await threads.update(tx, thread_id, at=NOW + 3 * SECOND, title="", metadata={}),
            ]
            return [(state.title, state.metadata) for state in states]

        assert await deployment.node.write(work) == [("Roses", {"a": 1}), ("Tulips", {"a": 1}), ("", {})]
        found = await _find(deployment.other, scope, thread_id)
        assert found is not None
        assert (found.created_at, found.updated_at) == (NOW, NOW + 3 * SECOND)

    async def test_an_archived_thread_is_on_the_other_heap(self, deployment: Deployment, scope: Scope) -> None:
        """It is still found, and can be taken back."""
        thread_id, threads = await add_thread(deployment.node, scope), ThreadRepository(scope)

        archived = await deployment.node.write(lambda tx: threads.archive(tx, thread_id, at=NOW + SECOND))

        assert archived.archived_at == NOW + SECOND
        assert await _ids(deployment.other, scope) == []
        assert await _ids(deployment.other, scope, archived=True) == [thread_id]
        taken_back = await deployment.node.write(lambda tx: threads.archive(tx, thread_id, at=None))
        assert taken_back.archived_at is None
        assert await _ids(deployment.other, scope) == [thread_id]

    async def test_a_deleted_thread_is_gone_for_its_user(self, deployment: Deployment, scope: Scope) -> None:
        """For every method, and whichever heap it was on."""
        thread_id, threads = await add_thread(deployment.node, scope), ThreadRepository(scope)

        await deployment.node.write(lambda tx: threads.delete(tx, thread_id, at=NOW))

        assert await _find(deployment.other, scope, thread_id) is None
        assert await _ids(deployment.other, scope) + await _ids(deployment.other, scope, archived=True) == []
        refused: list[Work[object]] = [
            lambda tx: threads.update(tx, thread_id, at=NOW, title="a"),
            lambda tx: threads.archive(tx, thread_id, at=None),
            lambda tx: threads.delete(tx, thread_id, at=NOW),
        ]
        for work in refused:
            with pytest.raises(NotFoundError):
                await deployment.node.write(work)

    async def test_a_deleted_thread_comes_back_as_it_was(self, deployment: Deployment, scope: Scope) -> None:
        """Until its time is over; and one that is not deleted stays as it is."""
        thread_id = await add_thread(deployment.node, scope)
        threads, before = ThreadRepository(scope), await _find(deployment.node, scope, thread_id)
        await deployment.node.write(lambda tx: threads.delete(tx, thread_id, at=NOW))

        with pytest.raises(NotFoundError):
            await deployment.node.write(lambda tx: threads.restore(tx, thread_id, deleted_since=NOW + SECOND))
        gone = await _find(deployment.other, scope, thread_id)
        restored = await deployment.node.write(lambda tx: threads.restore(tx, thread_id, deleted_since=NOW))
        again = await deployment.node.write(lambda tx: threads.restore(tx, thread_id, deleted_since=NOW + SECOND))

        assert gone is None
        assert before == restored == again == await _find(deployment.other, scope, thread_id)

    async def test_an_id_is_taken_once_by_a_user(self, deployment: Deployment, scope: Scope) -> None:
        """A second creation leaves the first thread as it is."""
        thread_id = await add_thread(deployment.node, scope, title="first")

        with pytest.raises(deployment.capabilities.key_error):
            await add_thread(deployment.other, scope, thread_id, title="second")

        found = await _find(deployment.node, scope, thread_id)
        assert found is not None
        assert found.title == "first"

    async def test_the_thread_last_changed_comes_first(self, deployment: Deployment, scope: Scope) -> None:
        """An event changes a thread too."""
        first, second = [await add_thread(deployment.node, scope, at=NOW + n * SECOND) for n in range(2)]

        before = await _ids(deployment.node, scope)
        await append_events(deployment.node, scope, first, [event_draft()], at=NOW + 9 * SECOND)

        assert before == [second, first]
        assert await _ids(deployment.other, scope) == [first, second]

    async def test_pages_are_complete_and_without_repeats_while_threads_are_added(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Also where several threads were changed in the same microsecond."""
        times = [NOW, NOW, NOW, NOW + SECOND, NOW + SECOND, NOW + 2 * SECOND, NOW + 2 * SECOND]
        made = [await add_thread(deployment.node, scope, at=at) for at in times]
        expected = [thread_id for _, thread_id in sorted(zip(times, made, strict=True), reverse=True)]

        found: list[ThreadId] = []
        cursor: str | None = None
        while True:
            page = await _list(deployment.other, scope, limit=2, cursor=cursor)
            found += [thread.id for thread in page.items]
            if (cursor := page.next_cursor) is None:
                break
            await add_thread(deployment.node, scope, at=NOW + 9 * SECOND)

        assert found == expected

    async def test_a_full_last_page_has_no_cursor(self, deployment: Deployment, scope: Scope) -> None:
        """A cursor is given only where something follows."""
        await add_thread(deployment.node, scope)
        await add_thread(deployment.node, scope)

        assert (await _list(deployment.node, scope, limit=2)).next_cursor is None
        assert (await _list(deployment.node, scope, limit=1)).next_cursor is not None

    async def test_odd_texts_come_back_character_for_character(self, deployment: Deployment, scope: Scope) -> None:
        """As titles and inside metadata."""
        for text in ODD_TEXTS:
            thread_id, metadata = ThreadId.new(), {"text": text}
            made = await deployment.node.write(
                lambda tx, thread_id=thread_id, text=text, metadata=metadata: ThreadRepository(scope).create(
                    tx, thread_id, title=text, metadata=metadata, at=NOW
                )
            )

            assert (made.title, made.metadata) == (text, {"text": text})
            assert await _find(deployment.other, scope, thread_id) == made


class TestReadMarks:
    """How far a user has read a thread."""

    @pytest.mark.parametrize(
        ("marks", "read"), [((0,), 0), ((2,), 2), ((2, 1), 2), ((5,), 5), ((9,), 5), ((9, 2), 5), ((2**53,), 5)]
    )
    async def test_a_mark_goes_on_and_never_back_nor_beyond_the_end(
        self, deployment: Deployment, scope: Scope, marks: tuple[int, ...], read: int
    ) -> None:
        """And the thread is not changed by being read: it keeps its place among the others."""
        thread_id = await add_thread(deployment.node, scope)
        await append_events(deployment.node, scope, thread_id, [event_draft()] * 5)

        marked = [
            await deployment.node.write(lambda tx, mark=mark: ThreadRepository(scope).mark_read(tx, thread_id, mark))
            for mark in marks
        ][-1]

        assert (marked.read_seq, marked.is_unread, marked.updated_at) == (read, read < 5, NOW)
        assert await _find(deployment.other, scope, thread_id) == marked

    @pytest.mark.parametrize(("was_read", "own", "read"), [(True, 2, 4), (True, 3, 5), (True, 0, 2), (False, 2, 1)])
    async def test_what_a_user_writes_is_read_where_all_before_it_was(
        self, deployment: Deployment, scope: Scope, was_read: bool, own: int, read: int
    ) -> None:
        """Up to the last of the user's own events, and not beyond."""
        thread_id = await add_thread(deployment.node, scope)
        await append_events(deployment.node, scope, thread_id, [event_draft()] * 2)
        await deployment.node.write(lambda tx: ThreadRepository(scope).mark_read(tx, thread_id, 2 if was_read else 1))

        await deployment.node.write(
            lambda tx: EventRepository(scope).append(tx, thread_id, [event_draft()] * 3, at=NOW, own=own)
        )

        found = await _find(deployment.other, scope, thread_id)
        assert found is not None
        assert (found.head_seq, found.read_seq) == (5, read)
