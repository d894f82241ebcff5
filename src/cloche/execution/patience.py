"""What an execution does about a database that does not answer: it waits, and tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cloche.errors import StorageError
from cloche.ids import RunId
from cloche.telemetry import LogEvent, Telemetry

T = TypeVar("T")

_RETRY_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)


async def patiently(attempt_it: Callable[[], Awaitable[T]], *, run_id: RunId, telemetry: Telemetry) -> T:
    """What the attempt gives that the database answered, however many came before it; each failed one is logged.

    Cancellation: safe; between two attempts nothing is under way.
    """
    attempt = 0
    while True:
        try:
            return await attempt_it()
        except StorageError as error:
            delay = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
            attempt += 1
            telemetry.warning(LogEvent.RUN_WRITE_RETRIED, run=run_id, attempt=attempt, code=error.code, delay_s=delay)
            await asyncio.sleep(delay)
