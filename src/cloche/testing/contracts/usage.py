"""The contract of the ledger: every entry counts once."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloche.clock import from_micros
from cloche.domain.scope import Scope
from cloche.domain.usage import Usage
from cloche.ids import RunId, TransactionId
from cloche.storage.database import Database
from cloche.storage.usage import TenantUsageRepository, UsageKey, UsageRepository
from cloche.testing.contracts.deployment import Deployment
from cloche.testing.contracts.population import NOW, SECOND, newcomer

DAY = timedelta(days=1)
EPOCH = from_micros(0)


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


class TestUsageByDay:
    """The ledger by UTC days."""

    async def test_a_day_ends_at_midnight_in_utc(self, deployment: Deployment, scope: Scope) -> None:
        """By agent and model, in the order of days and names; the end of the time is not in it."""
        midnight = NOW.replace(hour=0)
        for at in (midnight - SECOND, midnight, NOW, midnight + DAY - SECOND, midnight + DAY):
            await _record(deployment.node, scope, at=at)
        await _record(deployment.node, scope, agent="a", model="n", at=NOW)
        await _record(deployment.node, await newcomer(deployment.node, tenant_id=scope.tenant_id))
        usage, day = UsageRepository(scope), (midnight - EPOCH).days

        found = await deployment.other.read(lambda tx: usage.days(tx, since=midnight, until=midnight + DAY, limit=100))
        cut = await deployment.other.read(lambda tx: usage.days(tx, since=midnight, until=midnight + DAY, limit=1))
        wide = await deployment.other.read(
            lambda tx: usage.days(tx, since=midnight - DAY, until=midnight + 2 * DAY, limit=100)
        )

        assert found == [
            (day, "a", "n", None, None, 1, 1, 2),
            (day, "gardener", "m", None, None, 3, 3, 6),
        ]
        assert cut == found[:1]
        assert [(row.day, row.calls) for row in wide] == [(day - 1, 1), (day, 1), (day, 3), (day + 1, 1)]

    async def test_a_tenant_s_usage_is_that_of_everybody_in_it(self, deployment: Deployment, scope: Scope) -> None:
        """Added up by agent, by model or by person."""
        colleague = await newcomer(deployment.node, tenant_id=scope.tenant_id)
        await _record(deployment.node, await newcomer(deployment.node))
        for who, agent, model in ((scope, "a", "m"), (colleague, "a", "n"), (colleague, "b", "n")):
            await _record(deployment.node, who, agent=agent, model=model)
        usage = TenantUsageRepository(scope)

        found = {
            key: await deployment.other.read(
                lambda tx, key=key: usage.days(tx, key, since=NOW, until=NOW + SECOND, limit=100)
            )
            for key in UsageKey
        }

        assert [(row.agent, row.model, row.calls) for row in found[UsageKey.AGENT]] == [("a", None, 2), ("b", None, 1)]
        assert [(row.agent, row.model, row.calls) for row in found[UsageKey.MODEL]] == [(None, "m", 1), (None, "n", 2)]
        people = {row.user_id: (row.email, row.calls) for row in found[UsageKey.USER]}
        assert {user_id: calls for user_id, (_, calls) in people.items()} == {
            str(scope.user_id): 1,
            str(colleague.user_id): 2,
        }
        assert all(email is not None and "@" in email for email, _ in people.values())
