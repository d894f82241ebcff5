"""The contract of the ledger: every entry counts once."""

from __future__ import annotations

from datetime import datetime

from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.ids import RunId, TransactionId
from cloche.storage.database import Database
from cloche.storage.usage import UsageRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, SECOND, newcomer


async def _record(
    database: Database,
    scope: Scope,
    *,
    agent: str = "gardener",
    model: str = "m",
    tokens: tuple[int, int] = (1, 2),
    at: datetime = NOW,
) -> TransactionId:
    usage = Usage(input_tokens=tokens[0], output_tokens=tokens[1])
    return await database.write(
        lambda tx: UsageRepository(scope).record(tx, RunId.new(), agent=agent, model=model, step=1, usage=usage, at=at)
    )


class TestUsage:
    """The ledger of one user."""

    async def test_tokens_are_added_up_by_agent_and_model(self, deployment: Deployment, scope: Scope) -> None:
        """In the order of their names, and beyond 32 bits."""
        await _record(deployment.node, scope, agent="b", tokens=(2**40, 1))
        await _record(deployment.other, scope, agent="b", tokens=(2**40, 1))
        await _record(deployment.node, scope, agent="a", model="n", tokens=(0, 0))
        await _record(deployment.node, scope, agent="a", model="m", tokens=(5, 6))

        found = await deployment.other.read(lambda tx: UsageRepository(scope).summary(tx, since=NOW))

        assert found == [("a", "m", 1, 5, 6), ("a", "n", 1, 0, 0), ("b", "m", 2, 2**41, 2)]

    async def test_what_was_before_is_left_out(self, deployment: Deployment, scope: Scope) -> None:
        """The moment itself is counted."""
        for later in (-1, 0, 1):
            await _record(deployment.node, scope, at=NOW + later * SECOND)

        found = await deployment.other.read(lambda tx: UsageRepository(scope).summary(tx, since=NOW))

        assert [row.calls for row in found] == [2]

    async def test_a_colleague_s_entries_are_not_counted(self, deployment: Deployment, scope: Scope) -> None:
        """Nothing recorded is an empty answer."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)

        await _record(deployment.node, colleague)

        assert await deployment.other.read(lambda tx: UsageRepository(scope).summary(tx, since=NOW)) == []

    async def test_every_entry_has_an_id_of_its_own(self, deployment: Deployment, scope: Scope) -> None:
        """The same step that is recorded twice is two entries: the caller records it once."""
        assert await _record(deployment.node, scope) != await _record(deployment.other, scope)
