"""The handle by which a running execution is told to stop, and why."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from cloche.ids import RunId


class StopReason(StrEnum):
    """Why an execution was told to stop. Earlier ones are stronger."""

    LEASE_LOST = "lease_lost"
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"
    DEADLINE = "deadline"
    DRAINED = "drained"


_STRENGTH = {reason: place for place, reason in enumerate(StopReason)}


class RunControl:
    """Stops one execution. The strongest reason given is the one that counts."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self._stop: Callable[[], None] | None = None

    def bind(self, stop: Callable[[], None]) -> None:
        """``stop`` is what stops the execution; called at once when a reason was given before."""
        self._stop = stop
        if self.reason is not None:
            stop()

    def stop(self, reason: StopReason) -> None:
        """The execution stops, for this reason unless a stronger one stands already."""
        if self.reason is None or _STRENGTH[reason] < _STRENGTH[self.reason]:
            self.reason = reason
        if self._stop is not None:
            self._stop()


class ActiveRuns:
    """The executions of this process, by run."""

    def __init__(self) -> None:
        self._controls: dict[RunId, RunControl] = {}

    def __len__(self) -> int:
        return len(self._controls)

    def __contains__(self, run_id: RunId) -> bool:
        return run_id in self._controls

    def add(self, run_id: RunId, control: RunControl) -> None:
        """The run is being executed here."""
        self._controls[run_id] = control

    def remove(self, run_id: RunId, control: RunControl) -> None:
        """The execution that was added with this control is over; another one of the run stays."""
        if self._controls.get(run_id) is control:
            del self._controls[run_id]

    def stop(self, run_id: RunId, reason: StopReason) -> bool:
        """The run's execution is told to stop; False when there is none here."""
        control = self._controls.get(run_id)
        if control is None:
            return False
        control.stop(reason)
        return True

    def stop_all(self, reason: StopReason) -> None:
        """Every execution is told to stop."""
        for control in tuple(self._controls.values()):
            control.stop(reason)
