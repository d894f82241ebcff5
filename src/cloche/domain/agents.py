"""What an agent declares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

DEFAULT_RUN_TIMEOUT = timedelta(minutes=10)
DEFAULT_STEP_TIMEOUT = timedelta(minutes=5)
MAX_ANSWER_BYTES = 1024 * 1024
MAX_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLimits:
    """What one run of an agent may use at most."""

    run_timeout: timedelta = DEFAULT_RUN_TIMEOUT
    step_timeout: timedelta = DEFAULT_STEP_TIMEOUT
    max_steps: int = MAX_STEPS
    max_answer_bytes: int = MAX_ANSWER_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent's declaration: what can be run, under which name, with which model and tools.

    ``examples`` are messages that show what it can do, for people who do not know what to ask.
    ``takes_over``: runs that another version began go on with this one, as far as their journal fits.
    """

    name: str
    version: str
    description: str
    model: str
    tools: tuple[str, ...] = ()
    limits: AgentLimits = AgentLimits()
    takes_over: bool = True
    examples: tuple[str, ...] = ()

    def continues(self, version: str) -> bool:
        """Whether a run that was begun with that version of the agent may go on with this one."""
        return self.takes_over or version == self.version
