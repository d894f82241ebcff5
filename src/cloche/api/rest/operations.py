"""What the installation does now and did lately, for who operates a tenant of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from cloche.api.rest.route import Admitted, Endpoint
from cloche.api.rest.system import readiness_of
from cloche.api.wire.access import requires
from cloche.api.wire.operations import (
    FailuresAnswer,
    OperationsAnswer,
    Throughput,
    ThroughputAnswer,
    failure_line,
    model_state_answer,
    node_answer,
    throughput_answer,
)
from cloche.api.wire.parts import EdgeParts
from cloche.api.wire.shapes import Instant, seconds_between
from cloche.clock import from_micros
from cloche.domain.permissions import Permission
from cloche.domain.runs import ExecutionState
from cloche.errors import InvalidInputError
from cloche.storage.database import Transaction
from cloche.storage.pages import MAX_LIMIT
from cloche.storage.run_figures import MAX_COUNTED, RunFigureRepository, Span
from cloche.storage.tenant_runs import TenantRunRepository

THROUGHPUT_PERIOD = timedelta(hours=1)
FAILURES_PERIOD = timedelta(days=1)
MAX_FAILURES_PERIOD = timedelta(days=31)
MAX_BUCKETS = 500
MAX_BUCKET_S = 7 * 24 * 3600


class OperationRoutes:
    """Load figures of the processes, and figures of the caller's own tenant."""

    def __init__(self, services: EdgeParts) -> None:
        self._services = services
        self._database = services.database
        self._clock = services.clock

    def table(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(method="GET", path="/v1/admin/operations", run=self.get_operations, answer=OperationsAnswer),
            Endpoint(method="GET", path="/v1/admin/throughput", run=self.get_throughput, answer=ThroughputAnswer),
            Endpoint(method="GET", path="/v1/admin/failures", run=self.list_failures, answer=FailuresAnswer),
        ]

    @requires(Permission.ADMIN_RUNS)
    async def get_operations(self, caller: Admitted) -> OperationsAnswer:
        """Get what is going on now: the processes and their load, the tenant's live runs, the checks and the models.

        What a process says of its load is that of all tenants together; nothing in it tells of anybody.
        """
        runs = TenantRunRepository(caller.scope)

        async def work(tx: Transaction) -> tuple[dict[ExecutionState, int], datetime | None]:
            return await runs.count_live(tx), await runs.oldest_pending_at(tx)

        live, pending_at = await self._database.read(work)
        ready, models = await readiness_of(self._services), await self._services.models()
        nodes, now = await self._services.nodes(), self._clock.now()
        return OperationsAnswer(
            at=now,
            nodes=[node_answer(node, now) for node in nodes],
            live=live,
            oldest_pending_s=None if pending_at is None else seconds_between(pending_at, now),
            status=ready.status,
            checks=ready.checks,
            models=[model_state_answer(name, found) for name, found in models.items()],
        )

    @requires(Permission.ADMIN_RUNS)
    async def get_throughput(
        self,
        caller: Admitted,
        since: Annotated[Instant | None, Query(description="an hour ago")] = None,
        bucket_s: Annotated[int, Query(ge=1, le=MAX_BUCKET_S, description="how long a piece of time is")] = 60,
    ) -> ThroughputAnswer:
        """Get how many of the tenant's runs were accepted and ended, and how long they waited and took, by time.

        From the piece that `since` is in up to now; at most 500 pieces, in which at most 100,000 runs were accepted and as
        many ended.
        """
        span, figures = self._span(since, timedelta(seconds=bucket_s)), RunFigureRepository(caller.scope)

        async def work(tx: Transaction) -> Throughput:
            accepted, ended = await figures.accepted(tx, span), await figures.ended(tx, span)
            if max(sum(accepted.values()), sum(sum(one.values()) for one in ended.values())) > MAX_COUNTED:
                raise InvalidInputError(
                    f"more than {MAX_COUNTED} runs are in this time; ask for a later `since`",
                    details={"place": "query.since", "limit": MAX_COUNTED},
                )
            return Throughput(
                accepted=accepted,
                waits=await figures.waits(tx, span),
                ended=ended,
                durations=await figures.durations(tx, span),
                tokens=await figures.tokens(tx, span),
            )

        return throughput_answer(span, await self._database.read(work))

    @requires(Permission.ADMIN_RUNS)
    async def list_failures(
        self, caller: Admitted, since: Annotated[Instant | None, Query(description="a day ago")] = None
    ) -> FailuresAnswer:
        """List why the tenant's runs ended in failure, in a timeout or dead, by code, agent and state.

        The most frequent first, at most a hundred reasons; of at most the last 31 days.
        """
        now, figures = self._clock.now(), RunFigureRepository(caller.scope)
        start = now - FAILURES_PERIOD if since is None else since
        if now - start > MAX_FAILURES_PERIOD:
            days = MAX_FAILURES_PERIOD.days
            raise InvalidInputError(
                f"since must be within the last {days} days", details={"place": "query.since", "limit": days}
            )
        groups, total = await self._database.read(lambda tx: figures.failures(tx, since=start, limit=MAX_LIMIT))
        return FailuresAnswer(since=start, items=[failure_line(group) for group in groups], total=total)

    def _span(self, since: datetime | None, piece: timedelta) -> Span:
        """Pieces begin at whole multiples of their length, so that the same one has the same beginning tomorrow."""
        now = self._clock.now()
        start = now - THROUGHPUT_PERIOD if since is None else since
        if start > now:
            raise InvalidInputError("since must not be in the future", details={"place": "query.since"})
        if now - start > (MAX_BUCKETS - 1) * piece:
            raise InvalidInputError(
                f"at most {MAX_BUCKETS} pieces of time are given; ask for longer ones, or a later `since`",
                details={"place": "query.bucket_s", "limit": MAX_BUCKETS},
            )
        first = start - (start - from_micros(0)) % piece
        return Span(since=first, until=now, piece=piece)
