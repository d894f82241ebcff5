"""The contract of branches: what they take over, what they leave, and which there are."""

from __future__ import annotations

import pytest

from cloche.domain.messages import Message, MessageRole, TextPart
from cloche.domain.scope import Scope
from cloche.domain.threads import BranchPoint, Thread
from cloche.errors import InvalidInputError
from cloche.ids import MessageId, RunId, ThreadId
from cloche.storage import branches as branches_module
from cloche.storage.branches import BranchRepository
from cloche.storage.database import Database, Transaction
from cloche.storage.messages import MessageRepository
from cloche.storage.pages import PageRequest
from cloche.storage.threads import ThreadRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, SECOND, add_thread, append_events, event_draft

ROLES = (MessageRole.USER, MessageRole.ASSISTANT)


async def _talk(database: Database, scope: Scope, thread_id: ThreadId, count: int) -> list[Message]:
    """A person and an agent take turns; every third number of the log is a message."""

    async def work(tx: Transaction) -> list[Message]:
        messages = MessageRepository(scope)
        for number in range(count):
            await messages.create(
                tx,
                MessageId.new(),
                thread_id=thread_id,
                run_id=RunId.new(),
                seq=3 * number + 1,
                role=ROLES[number % 2],
                parts=(TextPart(text=f"{number}"), TextPart(text="ü")),
                at=NOW + number * SECOND,
                client_message_id=f"c{number}",
                body_digest=b"",
            )
        return await messages.before(tx, thread_id, 2**62, count)

    return await database.write(work)


async def _branch(database: Database, scope: Scope, at_message: Message, title: str = "Branch") -> Thread:
    return await database.write(
        lambda tx: BranchRepository(scope).create(tx, ThreadId.new(), at_message, title=title, at=NOW + 9 * SECOND)
    )


async def _messages(database: Database, scope: Scope, thread_id: ThreadId) -> list[Message]:
    return await database.read(lambda tx: MessageRepository(scope).before(tx, thread_id, 2**62, 1000))


class TestBranches:
    """Threads that go on from the middle of another one."""

    async def test_a_branch_holds_what_was_said_before(self, deployment: Deployment, scope: Scope) -> None:
        """Copies with their own ids and times, of no run and under no client's id; the origin stays as it was."""
        origin = await add_thread(deployment.node, scope)
        said = await _talk(deployment.node, scope, origin, 5)

        branch = await _branch(deployment.node, scope, said[4])

        copies = await _messages(deployment.other, scope, branch.id)
        assert [(one.role, one.parts, one.created_at) for one in copies] == [
            (one.role, one.parts, one.created_at) for one in said[:4]
        ]
        assert [one.seq for one in copies] == [1, 2, 3, 4]
        assert {(one.run_id, one.client_message_id) for one in copies} == {(None, None)}
        assert not {one.id for one in copies} & {one.id for one in said}
        assert await _messages(deployment.other, scope, origin) == said

    async def test_the_log_of_a_branch_begins_behind_the_copies(self, deployment: Deployment, scope: Scope) -> None:
        """Like one that was trimmed."""
        origin = await add_thread(deployment.node, scope)
        said = await _talk(deployment.node, scope, origin, 4)

        branch = await _branch(deployment.node, scope, said[2], "Other")

        assert (branch.title, branch.head_seq, branch.first_seq) == ("Other", 2, 3)
        assert branch.branched_from == BranchPoint(thread_id=origin, message_id=said[2].id)
        assert await append_events(deployment.node, scope, branch.id, [event_draft()]) == [3]
        for node in deployment.nodes:
            found = await node.read(lambda tx: ThreadRepository(scope).list(tx, PageRequest()))
            assert {thread.id: thread.branched_from for thread in found.items} == {
                origin: None,
                branch.id: branch.branched_from,
            }

    async def test_a_branch_at_the_first_message_is_empty(self, deployment: Deployment, scope: Scope) -> None:
        """And its log begins at one."""
        said = await _talk(deployment.node, scope, await add_thread(deployment.node, scope), 1)

        branch = await _branch(deployment.node, scope, said[0])

        assert (branch.head_seq, branch.first_seq) == (0, 1)
        assert await _messages(deployment.node, scope, branch.id) == []

    async def test_more_messages_than_one_statement_takes_are_copied_in_order(
        self, deployment: Deployment, scope: Scope
    ) -> None:
        """None is left out where one statement ends and the next begins."""
        said = await _talk(deployment.node, scope, await add_thread(deployment.node, scope), 123)

        branch = await _branch(deployment.node, scope, said[122])

        copies = await _messages(deployment.node, scope, branch.id)
        assert [one.text for one in copies] == [one.text for one in said[:122]]
        assert [one.seq for one in copies] == list(range(1, 123))

    async def test_too_many_messages_are_refused_and_nothing_is_made(
        self, deployment: Deployment, scope: Scope, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The error says how many there are, and what the limit is."""
        monkeypatch.setattr(branches_module, "MAX_COPIES", 2)
        origin = await add_thread(deployment.node, scope)
        said = await _talk(deployment.node, scope, origin, 4)

        with pytest.raises(InvalidInputError) as refused:
            await _branch(deployment.node, scope, said[3])
        await _branch(deployment.node, scope, said[2])

        assert refused.value.details == {"place": "$.message_id", "limit": 2}
        assert "there are 3 before" in refused.value.message
        assert len(await deployment.other.read(lambda tx: BranchRepository(scope).list(tx, origin))) == 1

    async def test_the_branches_of_a_thread_are_listed_oldest_first(self, deployment: Deployment, scope: Scope) -> None:
        """Those that are deleted are not, and those of other threads neither."""
        origin, other = await add_thread(deployment.node, scope), await add_thread(deployment.node, scope)
        said, elsewhere = [await _talk(deployment.node, scope, thread, 3) for thread in (origin, other)]
        made = [await _branch(deployment.node, scope, said[place], str(place)) for place in (2, 0, 2)]
        await _branch(deployment.node, scope, elsewhere[0])
        await deployment.node.write(lambda tx: ThreadRepository(scope).delete(tx, made[1].id, at=NOW))

        found = await deployment.other.read(lambda tx: BranchRepository(scope).list(tx, origin))

        assert [(one.thread_id, one.title, one.point, one.created_at) for one in found] == [
            (one.id, one.title, one.branched_from, one.created_at) for one in (made[0], made[2])
        ]
