"""What can be executed durably: anything that is a ``Program``."""

from __future__ import annotations

from typing import Protocol

from cloche.domain.agents import AgentSpec
from cloche.execution.run_handle import RunHandle


class Program(Protocol):
    """One run's agent, made fresh for it.

    ``run`` takes every outside step through its handle, so that the journal knows of it; after a crash it is called
    again from the beginning and gets the recorded outcomes. So between its steps it does the same thing each time.
    """

    async def run(self, run: RunHandle) -> str | None:
        """Do the work; the text of the answer, or None when the last message said on the way is the answer.

        Cancellation: stop at once and let it travel on; what the journal has is kept.

        Raises:
            ClocheError: the run fails with this code; any other error fails it as ``agent_failed``.
        """
        ...


class Programs(Protocol):
    """The agents that this process can run."""

    def spec(self, agent: str | None) -> AgentSpec:
        """The current declaration of the agent, or of the default one for None.

        Raises:
            NotFoundError: there is no such agent.
        """
        ...

    def find(self, agent: str, version: str) -> AgentSpec | None:
        """The declaration of the agent that goes on with a run which that version began; None when this process has none.

        From any thread.
        """
        ...

    async def prepare(self, agent: str) -> None:
        """What the agent needs once in a process (a slow import, a connection) is there; at once from then on.

        Raises:
            ClocheError: it cannot be had; the run fails with it.
        """
        ...

    def make(self, agent: str, version: str) -> tuple[AgentSpec, Program]:
        """A fresh program for one run, which that version of the agent began.

        Raises:
            AgentUnavailableError: this process does not have that agent, or in a version that does not take over the run.
        """
        ...
