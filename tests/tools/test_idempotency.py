"""A call that is made again after a crash carries the same key, so that the outside takes it once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloche.agents.function import AgentRun
from cloche.domain.event_order import check_run, decoded
from cloche.domain.events import ToolExecuting
from cloche.domain.tools import Effect, OnUnknown
from cloche.errors import ConfigurationError, ToolInvalidArgumentsError
from cloche.tools.tool import IdempotencyKey, ToolContext, ToolFunction, idempotency_headers, tool
from support import payments as outside
from support.world import opened_world, working


@pytest.mark.parametrize("function", [outside.pay, outside.pay_in_process])
async def test_a_payment_that_a_crash_interrupted_is_taken_once(database_path: Path, function: ToolFunction):
    async with outside.payments() as payments:

        async def agent(run: AgentRun) -> str:
            results = [await run.call_tool("pay", url=payments.url) for _ in range(2)]
            return " ".join(str(result.value) for result in results)

        tools = {"pay": tool(function, name="pay", effect=Effect.EXTERNAL, on_unknown=OnUnknown.REPEAT)}
        async with opened_world(database_path) as world, working(world):
            world.programs.add("agent", agent, tools=tools)
            scope = await world.person()
            accepted = await world.send(scope)
            async with asyncio.timeout(10):
                await payments.paid.wait()
        async with opened_world(database_path) as world:
            world.programs.add("agent", agent, tools=tools)
            await world.recovery.recover_all()
            async with working(world):
                events = await world.until(scope, accepted)

    assert check_run(events) == []
    first, second = dict.fromkeys(data.tool_call_id for data in map(decoded, events) if isinstance(data, ToolExecuting))
    assert payments.keys == [first, first, second]
    assert payments.taken == {first: 1, second: 2}


def test_the_key_is_no_argument_of_the_model_s():
    made = tool(outside.pay_in_process)

    assert set(made.spec.schema["properties"]) == {"url"}  # type: ignore[call-overload]
    assert made.validate({"url": "x"}) == {"url": "x"}
    with pytest.raises(ToolInvalidArgumentsError):
        made.validate({"url": "x", "key": "of the model's own"})


async def test_an_async_tool_may_take_the_key_beside_its_context():
    async def both(context: ToolContext, number: int, *, key: IdempotencyKey) -> str:
        return f"{context} {number} {key}"

    assert tool(both).key_argument == "key"


async def test_the_key_comes_in_one_argument_by_its_name():
    async def twice(key: IdempotencyKey, other: IdempotencyKey) -> None: ...

    async def unnamed(key: IdempotencyKey, /) -> None: ...

    for function in (twice, unnamed):
        with pytest.raises(ConfigurationError, match="one argument takes the idempotency key"):
            tool(function)


@pytest.mark.parametrize(
    ("part", "expected"), [("", "tool_1"), ("charge", "tool_1.charge"), ("2.mail_to-Bob", "tool_1.2.mail_to-Bob")]
)
def test_each_request_of_a_call_has_a_key_of_its_own(part: str, expected: str):
    assert idempotency_headers(IdempotencyKey("tool_1"), part) == {"Idempotency-Key": expected}


@pytest.mark.parametrize("part", [" ", "a b", "a\r\nX-Other: b", "ü", "x" * 65])
def test_a_part_that_is_no_word_is_refused(part: str):
    with pytest.raises(ValueError, match="a part has"):
        idempotency_headers(IdempotencyKey("tool_1"), part)
