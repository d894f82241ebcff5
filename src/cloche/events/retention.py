"""The sweep that keeps logs within what their tenants keep."""

from __future__ import annotations

from datetime import timedelta

from cloche.clock import Clock
from cloche.domain.scope import SystemScope
from cloche.storage.database import Database, Transaction
from cloche.storage.events import Keep, RetentionRepository, TrimRow

BATCH = 100
UNDO_TIME = timedelta(hours=24)


class Retention:
    """Trims logs and removes deleted threads."""

    def __init__(self, database: Database, clock: Clock, keep: Keep) -> None:
        self._database = database
        self._clock = clock
        self._repository = RetentionRepository(SystemScope(purpose="trim logs and remove deleted threads"), keep)

    async def sweep(self) -> tuple[int, int]:
        """Logs are within their bounds and long deleted threads are gone; how many events and threads went.

        Guarantees: the events of runs that have not ended stay. Each log is a transaction of its own.
        """
        now = self._clock.now()
        trimmed = 0
        for row in await self._database.read(lambda tx: self._repository.overdue(tx, at=now, limit=BATCH)):

            async def trim(tx: Transaction, row: TrimRow = row) -> int:
                return await self._repository.trim(tx, row, at=now)

            trimmed += await self._database.write(trim)
        purged = await self._database.write(
            lambda tx: self._repository.purge_deleted(tx, before=now - UNDO_TIME, limit=BATCH)
        )
        return trimmed, purged
