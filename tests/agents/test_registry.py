"""Which agent goes on with a run: the one of its name, unless it keeps to the runs of its own version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloche.agents.function import AgentRun
from cloche.agents.registry import AgentRegistry, Registered, function_maker
from cloche.clock import SystemClock
from cloche.domain.agents import AgentSpec
from cloche.errors import AgentUnavailableError
from cloche.telemetry import Telemetry

SPEC = AgentSpec(name="clerk", version="2", description="", model="none")


async def clerk(run: AgentRun) -> str:
    return "done"


def registry(spec: AgentSpec) -> AgentRegistry:
    agent = Registered(spec=spec, make=function_maker(clerk))
    telemetry = Telemetry(lambda *_: None)
    return AgentRegistry([agent], default=spec.name, tools={}, clock=SystemClock(), telemetry=telemetry)


@pytest.mark.parametrize("begun", ["1", "2", "3"])
def test_an_agent_goes_on_with_the_runs_of_other_versions(begun: str):
    agents = registry(SPEC)

    assert agents.find("clerk", begun) == SPEC
    assert agents.make("clerk", begun)[0] == SPEC


def test_an_agent_may_keep_to_the_runs_of_its_own_version():
    strict = replace(SPEC, takes_over=False)
    agents = registry(strict)

    assert agents.find("clerk", "2") == agents.make("clerk", "2")[0] == strict
    assert agents.find("clerk", "1") is None
    with pytest.raises(AgentUnavailableError, match=r"begun with version 1 .* has version 2, which does not take over"):
        agents.make("clerk", "1")


def test_an_agent_that_is_not_there_goes_on_with_nothing():
    agents = registry(SPEC)

    assert agents.find("baker", "2") is None
    with pytest.raises(AgentUnavailableError, match="does not have the agent baker"):
        agents.make("baker", "2")
