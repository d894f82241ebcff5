import asyncio
import contextlib
from collections.abc import Coroutine

import pytest

from cloche.testing import gates
from cloche.testing.gates import Gate


def run_through(work: Coroutine[None, None, None]) -> None:
    """As an engine runs a transaction in a thread of its own."""
    with contextlib.suppress(StopIteration):
        work.send(None)


async def test_a_task_of_the_loop_stands_still_until_the_gate_is_open() -> None:
    passed: list[str] = []

    async def passer() -> None:
        await gate.stop()
        passed.append("passed")

    with Gate() as gate:
        async with asyncio.TaskGroup() as group:
            group.create_task(passer())
            await gate.reached()
            await asyncio.sleep(0)
            assert passed == []
            gate.open()

    assert passed == ["passed"]


async def test_a_thread_stands_still_until_the_gate_is_open() -> None:
    with Gate() as gate:
        async with asyncio.TaskGroup() as group:
            passing = group.create_task(asyncio.to_thread(run_through, gate.stop()))
            await gate.reached()
            assert not passing.done()
            gate.open()

    assert passing.done()


async def test_who_comes_later_does_not_stop() -> None:
    with Gate() as gate:
        gate.open()

        await gate.stop()


async def test_the_end_of_the_block_opens_it() -> None:
    async with asyncio.TaskGroup() as group:
        with Gate() as gate:
            passing = group.create_task(gate.stop())
            await gate.reached()

        await passing


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PATIENCE_S", 0.01)
    gate = Gate()

    with pytest.raises(TimeoutError):
        await gate.reached()
    with pytest.raises(TimeoutError):
        await gate.stop()
    with pytest.raises(TimeoutError, match="nobody opened"):
        await asyncio.to_thread(run_through, gate.stop())
