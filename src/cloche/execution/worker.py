"""Takes offered runs, claims them, and executes as many at once as the process may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from cloche.bus.local import Bus
from cloche.clock import Clock
from cloche.domain.runs import RunRef
from cloche.errors import StorageError
from cloche.events.log import EventLog
from cloche.execution.claiming import Claimed, Claiming
from cloche.execution.control import ActiveRuns, RunControl, StopReason
from cloche.execution.executor import Executor
from cloche.execution.program import Programs
from cloche.ids import RunId
from cloche.storage.database import Database
from cloche.telemetry import LogEvent, Telemetry


@dataclass(slots=True, eq=False)
class Seat:
    """A place of the worker that is held for a run which is being accepted."""

    run_id: RunId
    control: RunControl = field(default_factory=RunControl)
    is_held: bool = True


class Worker:
    """The executions of this process.

    Guarantees: a run is executed here at most once at a time; a cancel signal reaches its execution; a drain stops what
    has not ended within its grace and leaves it to the next process.
    """

    def __init__(
        self,
        *,
        name: str,
        database: Database,
        log: EventLog,
        programs: Programs,
        bus: Bus,
        clock: Clock,
        telemetry: Telemetry,
        executor: Executor,
        concurrency: int,
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._telemetry = telemetry
        self._executor = executor
        self._free = concurrency
        self._freed = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._deciding: set[asyncio.Task[None]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._working = 0
        self._offered_again: dict[RunId, RunRef] = {}
        self.active = ActiveRuns()
        self.claiming = Claiming(worker=name, log=log, programs=programs, clock=clock)
        bus.on_cancel(self._cancel)

    @property
    def working(self) -> int:
        """How many runs are being executed here."""
        return self._working

    async def run(self) -> None:
        """Take and execute offered runs until cancelled.

        Cancellation: every execution is stopped; its run is recovered by the next process.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await self._take_slot()
                    ref = await self._bus.take()
                    if self._draining:
                        self._free_slot()
                        continue
                    self._come_to_work()
                    group.create_task(self._work(ref))
            finally:
                self._group = None

    def reserve(self, run_id: RunId) -> Seat | None:
        """A place here for a run that is being accepted; None when it has to wait its turn, as others do.

        The place is held until ``begin`` or ``release``.
        """
        if self._group is None or self._draining or self._free <= 0 or self._bus.depth:
            return None
        seat = Seat(run_id)
        self._sit_down(seat)
        return seat

    def begin(self, seat: Seat, claimed: Claimed) -> None:
        """The run, which was claimed in the transaction that accepted it, is being executed."""
        if not seat.is_held:
            # It was given up before the transaction was known to be kept: then there is one more than there may be.
            self._sit_down(seat)
        seat.is_held = False
        if self._group is None:
            self._leave(seat.run_id, seat.control)  # the next process recovers it
            return
        self._tell_claimed(claimed)
        self._group.create_task(self._execute(claimed, seat.control))

    def release(self, seat: Seat) -> None:
        """The place is free again, unless its run has begun."""
        if seat.is_held:
            seat.is_held = False
            self._leave(seat.run_id, seat.control)

    def release_unless_begun(self, seat: Seat) -> None:
        """The place is free again as soon as it is known that the transaction of its run did not begin it.

        For a caller who went away while it was under way.
        """
        deciding = asyncio.get_running_loop().create_task(self._release_unless_begun(seat))
        self._deciding.add(deciding)
        deciding.add_done_callback(self._deciding.discard)

    async def _release_unless_begun(self, seat: Seat) -> None:
        try:
            # Transactions are decided in their order: after this one, the run's is.
            await self._database.ping()
        except StorageError:
            pass
        finally:
            self.release(seat)

    async def drain(self, grace: timedelta) -> None:
        """Nothing is executed here any more: what ended within ``grace`` has ended, the rest is released."""
        self._draining = True
        try:
            async with asyncio.timeout(grace.total_seconds()):
                await self._idle.wait()
        except TimeoutError:
            self.active.stop_all(StopReason.DRAINED)
            await self._idle.wait()

    def _cancel(self, ref: RunRef) -> None:
        self.active.stop(ref.run_id, StopReason.CANCELLED)

    async def _work(self, ref: RunRef) -> None:
        control = RunControl()
        try:
            claimed = await self._claim(ref, control)
        except StorageError as error:
            # Not claimed: the sweep offers the run again when the database answers.
            self._telemetry.warning(LogEvent.RUN_WRITE_RETRIED, run=ref.run_id, attempt=0, code=error.code, delay_s=0.0)
            claimed = None
        except Exception as error:
            self._telemetry.error(LogEvent.RUN_ABANDONED, error, run=ref.run_id)
            claimed = None
        except BaseException:
            self._leave(ref.run_id, control)
            raise
        if claimed is None:
            self._leave(ref.run_id, control)
            return
        await self._execute(claimed, control)

    async def _execute(self, claimed: Claimed, control: RunControl) -> None:
        try:
            await self._executor.execute(claimed, control)
        except Exception as error:
            self._telemetry.error(LogEvent.RUN_ABANDONED, error, run=claimed.run.id)
        finally:
            self._leave(claimed.run.id, control)

    async def _take_slot(self) -> None:
        while self._free <= 0:
            self._freed.clear()
            await self._freed.wait()
        self._free -= 1

    def _free_slot(self) -> None:
        self._free += 1
        self._freed.set()

    def _sit_down(self, seat: Seat) -> None:
        self._free -= 1
        self._come_to_work()
        self.active.add(seat.run_id, seat.control)

    def _come_to_work(self) -> None:
        self._working += 1
        self._idle.clear()

    def _leave(self, run_id: RunId, control: RunControl) -> None:
        self.active.remove(run_id, control)
        self._offer_again(run_id)
        self._free_slot()
        self._working -= 1
        if not self._working:
            self._idle.set()

    def _offer_again(self, run_id: RunId) -> None:
        if run_id not in self.active and run_id in self._offered_again:
            self._bus.offer(self._offered_again.pop(run_id))

    async def _claim(self, ref: RunRef, control: RunControl) -> Claimed | None:
        if ref.run_id in self.active:
            # An approval was decided, say, while the execution that asked for it still winds down.
            self._offered_again[ref.run_id] = ref
            return None
        self.active.add(ref.run_id, control)
        claimed = await self._database.write(lambda tx: self.claiming.claim(tx, ref))
        if claimed is not None:
            self._tell_claimed(claimed)
        return claimed

    def _tell_claimed(self, claimed: Claimed) -> None:
        run = claimed.run
        if run.attempt == 1:
            waited = self._clock.now() - run.created_at
            self._telemetry.figures.first_event.observe(waited.total_seconds())
        self._telemetry.info(LogEvent.RUN_CLAIMED, run=run.id, thread=run.thread_id, attempt=run.attempt)
