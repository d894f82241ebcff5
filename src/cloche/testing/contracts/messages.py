"""The contract of the messages' repository."""

from __future__ import annotations

from datetime import datetime

import pytest

from cloche.clock import to_micros
from cloche.domain.messages import MAX_TEXT_BYTES, Message, MessageRole, TextPart, user_parts
from cloche.domain.scope import Scope
from cloche.domain.text import sound_text
from cloche.errors import InvalidInputError, NotFoundError
from cloche.ids import MessageId, RunId, ThreadId
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import FoundRow, MessageRepository, SentRow
from cloche.storage.pages import Page, page_request
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment, race
from cloche.testing.contracts.population import NOW, ODD_TEXTS, SECOND, add_thread


async def _create(
    tx: Transaction,
    scope: Scope,
    thread_id: ThreadId,
    *texts: str,
    seq: int = 1,
    client_message_id: str | None = None,
    digest: bytes | None = None,
    at: datetime = NOW,
) -> MessageId:
    message_id = MessageId.new()
    await MessageRepository(scope).create(
        tx,
        message_id,
        thread_id=thread_id,
        run_id=RunId.new(),
        seq=seq,
        role=MessageRole.USER,
        parts=tuple(TextPart(text=text) for text in texts),
        at=at,
        client_message_id=client_message_id,
        body_digest=digest,
    )
    return message_id


async def _add(
    database: Database,
    scope: Scope,
    thread_id: ThreadId,
    *texts: str,
    seq: int = 1,
    client_message_id: str | None = None,
    at: datetime = NOW,
) -> MessageId:
    async def work(tx: Transaction) -> MessageId:
        return await _create(tx, scope, thread_id, *texts, seq=seq, client_message_id=client_message_id, at=at)

    return await database.write(work)


async def _list(
    database: Database, scope: Scope, thread_id: ThreadId, *, limit: int = 100, cursor: str | None = None
) -> Page[Message]:
    page = page_request("messages", limit=limit, cursor=cursor)
    return await database.read(lambda tx: MessageRepository(scope).list(tx, thread_id, page))


async def _search(database: Database, scope: Scope, words: str, limit: int = 20) -> list[FoundRow]:
    return await database.read(lambda tx: MessageRepository(scope).search(tx, words, limit))


class TestMessages:
    """The messages of one user's threads."""

    async def test_a_message_is_kept_as_it_was_written(self, deployment: Deployment, scope: Scope) -> None:
        """With its parts, and on both nodes."""
        thread_id, message_id, run_id = await add_thread(deployment.node, scope), MessageId.new(), RunId.new()
        parts = (TextPart(text="one"), TextPart(text="two"))

        await deployment.node.write(
            lambda tx: MessageRepository(scope).create(
                tx,
                message_id,
                thread_id=thread_id,
                run_id=run_id,
                seq=7,
                role=MessageRole.ASSISTANT,
                parts=parts,
                at=NOW,
                client_message_id="mine",
            )
        )

        for node in deployment.nodes:
            assert (await _list(node, scope, thread_id)).items == [
                Message(
                    id=message_id,
                    thread_id=thread_id,
                    run_id=run_id,
                    seq=7,
                    role=MessageRole.ASSISTANT,
                    parts=parts,
                    client_message_id="mine",
                    created_at=NOW,
                )
            ]

    async def test_a_message_that_is_not_there_is_an_error(self, deployment: Deployment, scope: Scope) -> None:
        """One that is there is found by its id alone."""
        thread_id = await add_thread(deployment.node, scope)
        message_id = await _add(deployment.node, scope, thread_id, "a")
        messages = MessageRepository(scope)

        found = await deployment.other.read(lambda tx: messages.get(tx, message_id))
        with pytest.raises(NotFoundError):
            await deployment.other.read(lambda tx: messages.get(tx, MessageId.new()))

        assert [found] == (await _list(deployment.node, scope, thread_id)).items

    async def test_odd_texts_come_back_character_for_character(self, deployment: Deployment, scope: Scope) -> None:
        """Up to the size that a message may have."""
        thread_id = await add_thread(deployment.node, scope)
        texts = [*ODD_TEXTS, "ü" * (MAX_TEXT_BYTES // 2)]

        for seq, text in enumerate(texts, 1):
            await _add(deployment.node, scope, thread_id, text, seq=seq)

        found = (await _list(deployment.other, scope, thread_id)).items
        assert [message.text for message in reversed(found)] == texts

    async def test_unsound_text_is_refused_from_people_and_mended_from_agents(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """So that NUL and half a character never reach an engine that cannot hold them."""
        thread_id = await add_thread(deployment.node, scope)

        for text in ("a\x00b", "a\ud800b", "\udfff"):
            with pytest.raises(InvalidInputError):
                user_parts(text=text)
            await _add(deployment.node, scope, thread_id, sound_text(text))

        found = (await _list(deployment.other, scope, thread_id)).items
        assert sorted(message.text for message in found) == ["a\ufffdb", "a\ufffdb", "\ufffd"]

    async def test_the_newest_message_comes_first(self, deployment: Deployment, scope: Scope) -> None:
        """By number, whatever the clock said."""
        thread_id = await add_thread(deployment.node, scope)
        for seq, text in ((5, "second"), (2, "first"), (9, "third")):
            await _add(deployment.node, scope, thread_id, text, seq=seq, at=NOW - seq * SECOND)

        found = (await _list(deployment.other, scope, thread_id)).items

        assert [message.text for message in found] == ["third", "second", "first"]

    async def test_pages_are_complete_and_without_repeats_while_messages_are_added(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """The last page has no cursor."""
        thread_id = await add_thread(deployment.node, scope)
        for seq in range(1, 7):
            await _add(deployment.node, scope, thread_id, str(seq), seq=seq)

        found: list[str] = []
        cursor: str | None = None
        seq = 7
        while True:
            page = await _list(deployment.other, scope, thread_id, limit=2, cursor=cursor)
            found += [message.text for message in page.items]
            if (cursor := page.next_cursor) is None:
                break
            await _add(deployment.node, scope, thread_id, "later", seq=seq)
            seq += 1

        assert found == ["6", "5", "4", "3", "2", "1"]

    async def test_what_was_said_before_ends_with_a_number(self, deployment: Deployment, scope: Scope) -> None:
        """The last few up to and including it, oldest first."""
        thread_id = await add_thread(deployment.node, scope)
        for seq in (1, 4, 6, 8):
            await _add(deployment.node, scope, thread_id, str(seq), seq=seq)

        found = await deployment.other.read(lambda tx: MessageRepository(scope).before(tx, thread_id, 6, 2))

        assert [message.text for message in found] == ["4", "6"]

    async def test_messages_are_those_of_one_thread(self, deployment: Deployment, scope: Scope) -> None:
        """Of the same user's other threads none is listed."""
        one, two = [await add_thread(deployment.node, scope) for _ in range(2)]

        await _add(deployment.node, scope, one, "a")

        assert (await _list(deployment.node, scope, two)).items == []


class TestClientMessageIds:
    """A message that is sent again is the same message."""

    async def test_a_sent_message_is_found_by_its_client_id(self, deployment: Deployment, scope: Scope) -> None:
        """With the digest of its body, to tell whether it is the same one."""
        thread_id = await add_thread(deployment.node, scope)

        message_id = await deployment.node.write(
            lambda tx: _create(tx, scope, thread_id, "a", seq=3, client_message_id="mine", digest=b"digest")
        )

        sent = await deployment.other.read(lambda tx: MessageRepository(scope).find_sent(tx, thread_id, "mine"))
        assert sent is not None
        assert (sent.id, sent.seq, sent.body_digest) == (message_id, 3, b"digest")
        assert (
            await deployment.other.read(lambda tx: MessageRepository(scope).find_sent(tx, thread_id, "yours")) is None
        )

    async def test_a_client_id_is_taken_once_on_a_thread(self, deployment: Deployment, scope: Scope) -> None:
        """And is free on every other thread; messages without one do not stand in each other's way."""
        one, two = [await add_thread(deployment.node, scope) for _ in range(2)]
        await _add(deployment.node, scope, one, "a", client_message_id="mine")

        with pytest.raises(deployment.capabilities.key_error):
            await _add(deployment.other, scope, one, "b", client_message_id="mine")
        for _ in range(2):
            await _add(deployment.other, scope, two, "c")
        await _add(deployment.other, scope, two, "d", client_message_id="mine")

        assert [message.text for message in (await _list(deployment.node, scope, one)).items] == ["a"]
        assert len((await _list(deployment.node, scope, two)).items) == 3

    @pytest.mark.parametrize("is_swapped", [False, True])
    async def test_of_two_senders_at_once_one_writes_and_the_other_finds(
        self, deployment: Deployment, scope: Scope, is_swapped: bool
    ) -> None:
        """Asking before writing, in the same transaction, is enough."""
        thread_id = await add_thread(deployment.node, scope)
        first, second = reversed(deployment.nodes) if is_swapped else deployment.nodes

        async def send(tx: Transaction) -> SentRow | None:
            found = await MessageRepository(scope).find_sent(tx, thread_id, "mine")
            if found is None:
                await _create(tx, scope, thread_id, "a", client_message_id="mine", digest=b"d")
            return found

        one, two = await race(first, send, second, send)

        assert one is None
        assert two is not None
        assert [message.id for message in (await _list(first, scope, thread_id)).items] == [two.id]

    async def test_an_answer_is_kept_once_under_its_key(self, deployment: Deployment, scope: Scope) -> None:
        """The first one stays."""
        messages = MessageRepository(scope)
        await deployment.node.write(lambda tx: messages.keep_answer(tx, "key", b"digest", b"\x00answer", at=NOW))

        with pytest.raises(deployment.capabilities.key_error):
            await deployment.other.write(lambda tx: messages.keep_answer(tx, "key", b"other", b"other", at=NOW))

        found = await deployment.other.read(lambda tx: messages.find_answer(tx, "key"))
        assert found == (b"digest", b"\x00answer")
        assert await deployment.other.read(lambda tx: messages.find_answer(tx, "another")) is None


class TestSearch:
    """Messages by their words."""

    async def test_a_message_is_found_by_words_in_any_of_its_parts(self, deployment: Deployment, scope: Scope) -> None:
        """Upper and lower case of ASCII are alike, and the thread's title is told."""
        thread_id = await add_thread(deployment.node, scope, title="Roses")
        await _add(deployment.node, scope, thread_id, "nothing", "Water the ROSES today")

        found = await _search(deployment.other, scope, "the roses")

        assert [(row.thread_id, row.title, row.role, row.created_at) for row in found] == [
            (thread_id, "Roses", "user", to_micros(NOW))
        ]

    async def test_the_newest_come_first_and_no_more_than_asked_for(self, deployment: Deployment, scope: Scope) -> None:
        """Over all of the user's threads."""
        threads = [await add_thread(deployment.node, scope, title=str(n)) for n in range(3)]
        for number, thread_id in enumerate(threads):
            await _add(deployment.node, scope, thread_id, "rose", at=NOW + number * SECOND)

        assert [row.title for row in await _search(deployment.other, scope, "rose", 2)] == ["2", "1"]

    async def test_words_are_taken_literally(self, deployment: Deployment, scope: Scope) -> None:
        """What means something to a pattern, or to JSON, means itself."""
        thread_id = await add_thread(deployment.node, scope)
        texts = ["100% sure", "snake_case", 'she said "yes"', "back\\slash", "two\nlines", "[{", "plain ü"]
        for seq, text in enumerate(texts, 1):
            await _add(deployment.node, scope, thread_id, text, seq=seq)

        for text in texts:
            found = await _search(deployment.other, scope, text)
            assert len(found) == 1, text
        assert await _search(deployment.other, scope, "100%ure") == []
        assert await _search(deployment.other, scope, "snakeXcase") == []

    async def test_only_what_was_said_is_searched(self, deployment: Deployment, scope: Scope) -> None:
        """The words of the stored shape are nobody's words."""
        thread_id = await add_thread(deployment.node, scope)
        await _add(deployment.node, scope, thread_id, "hello")

        for words in ("text", "type", "text hello", '"', "[{"):
            assert await _search(deployment.other, scope, words) == [], words

    async def test_words_are_found_as_they_were_written(self, deployment: Deployment, scope: Scope) -> None:
        """In every script, capitals too."""
        thread_id = await add_thread(deployment.node, scope)
        for seq, text in enumerate(("ÜBER die Rosen", "РОЗЫ", "薔薇 と 𝄞"), 1):
            await _add(deployment.node, scope, thread_id, text, seq=seq)

        for words in ("ÜBER die", "РОЗЫ", "薔薇 と 𝄞"):
            assert len(await _search(deployment.other, scope, words)) == 1, words

    async def test_deleted_threads_are_not_searched(self, deployment: Deployment, scope: Scope) -> None:
        """Though their rows are still there."""
        thread_id = await add_thread(deployment.node, scope)
        await _add(deployment.node, scope, thread_id, "rose")

        await deployment.node.write(lambda tx: ThreadRepository(scope).delete(tx, thread_id, at=NOW))

        assert await _search(deployment.other, scope, "rose") == []
