"""The contract of finding threads again: by title and by what was said, each once."""

from __future__ import annotations

import pytest

from cloche.domain.messages import MessageRole, TextPart
from cloche.domain.scope import Scope
from cloche.ids import MessageId, RunId, ThreadId
from cloche.storage.database import Database
from cloche.storage.messages import MessageRepository
from cloche.storage.search import Hit, SearchRepository
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, SECOND, add_thread


async def _say(
    database: Database, scope: Scope, thread_id: ThreadId, *texts: str, after_s: int = 0, role: str = "user"
) -> MessageId:
    message_id = MessageId.new()
    await database.write(
        lambda tx: MessageRepository(scope).create(
            tx,
            message_id,
            thread_id=thread_id,
            run_id=RunId.new(),
            seq=1 + after_s,
            role=MessageRole(role),
            parts=tuple(TextPart(text=text) for text in texts),
            at=NOW + after_s * SECOND,
        )
    )
    return message_id


async def _search(database: Database, scope: Scope, words: str, limit: int = 100) -> list[Hit]:
    return await database.read(lambda tx: SearchRepository(scope).search(tx, words, limit))


class TestFinding:
    """Words in one user's threads."""

    async def test_a_thread_is_found_once_by_its_newest_message(self, deployment: Deployment, scope: Scope) -> None:
        """And by its title when no message has the words."""
        said = await add_thread(deployment.node, scope, title="Roses, too")
        await _say(deployment.node, scope, said, "about roses", after_s=1)
        newest = await _say(deployment.node, scope, said, "more", "on ROSES and so on", after_s=3, role="assistant")
        await _say(deployment.node, scope, said, "nothing", after_s=4)
        called = await add_thread(deployment.node, scope, title="my Roses", at=NOW + 2 * SECOND)

        hits = await _search(deployment.other, scope, "roses")

        assert [(hit.thread.id, hit.message_id, hit.role, hit.text) for hit in hits] == [
            (said, newest, MessageRole.ASSISTANT, "more\n\non ROSES and so on"),
            (called, None, None, "my Roses"),
        ]
        assert [hit.at for hit in hits] == [NOW + 3 * SECOND, NOW + 2 * SECOND]

    async def test_the_newest_come_first_and_no_more_than_asked_for(self, deployment: Deployment, scope: Scope) -> None:
        """Whether a title or a message has the words."""
        threads = [
            await add_thread(deployment.node, scope, title="rose" if number % 2 else "", at=NOW + number * SECOND)
            for number in range(6)
        ]
        for number in (0, 2, 4):
            await _say(deployment.node, scope, threads[number], "a rose", after_s=number)

        hits = await _search(deployment.other, scope, "rose", 4)

        assert [hit.thread.id for hit in hits] == threads[:1:-1]

    async def test_archived_threads_are_found_and_deleted_ones_are_not(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """Neither by their title nor by what was said in them."""
        archived, deleted = [await add_thread(deployment.node, scope, title="rose") for _ in range(2)]
        await _say(deployment.node, scope, deleted, "rose")
        await deployment.node.write(lambda tx: ThreadRepository(scope).archive(tx, archived, at=NOW))
        await deployment.node.write(lambda tx: ThreadRepository(scope).delete(tx, deleted, at=NOW))

        assert [hit.thread.id for hit in await _search(deployment.other, scope, "rose")] == [archived]

    @pytest.mark.parametrize("words", ["%", "_", "\\", "100%", "a_b", 'say "hi"', "' OR 1=1; --", "c:\\d"])
    async def test_words_are_taken_literally(self, deployment: Deployment, scope: Scope, words: str) -> None:
        """In titles and in messages alike."""
        plain = await add_thread(deployment.node, scope, title="a plain title")
        await _say(deployment.node, scope, plain, "plain axb 1000 words")
        called = await add_thread(deployment.node, scope, title=f"<{words}>")
        said = await add_thread(deployment.node, scope, title="")
        await _say(deployment.node, scope, said, f"({words})")

        assert {hit.thread.id for hit in await _search(deployment.other, scope, words)} == {called, said}

    async def test_case_is_alike_in_ascii(self, deployment: Deployment, scope: Scope) -> None:
        """What is written alike is found in every script."""
        thread_id = await add_thread(deployment.node, scope, title="Ärger with ROSES 日本")
        await _say(deployment.node, scope, thread_id, "Übung with TULIPS 中文")

        for words in ("roses", "Roses", "Ärger", "日本", "tulips", "Übung", "中文"):
            assert [hit.thread.id for hit in await _search(deployment.other, scope, words)] == [thread_id], words
