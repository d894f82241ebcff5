"""The pydantic-ai agent of the measurements. A module of its own: whoever imports it loads pydantic-ai."""

from __future__ import annotations

from pydantic_ai import Agent

# ``scripted:demo`` calls the tool for a sum and reports its result in fifty words: two requests, fifty deltas.
burst = Agent(name="burst")
