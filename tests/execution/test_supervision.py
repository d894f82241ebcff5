"""Code that is told to stop has stopped: by itself, or put down at the grace limit."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from cloche.execution.supervision import Ending, Supervised

T = TypeVar("T")


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


async def ended(supervised: Supervised[T]) -> Ending[T]:
    async with asyncio.timeout(5):
        return await supervised.run()


async def test_a_value_is_the_ending():
    async def work() -> int:
        await asyncio.sleep(0)
        return 3

    assert await ended(Supervised(work(), grace_s=1)) == Ending(value=3)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_whatever_is_raised_is_the_ending_and_not_ours(error: BaseException):
    async def work() -> None:
        await asyncio.sleep(0)
        raise error

    assert await ended(Supervised(work(), grace_s=1)) == Ending(error=error)


async def test_code_that_cancels_itself_has_stopped_without_having_been_asked():
    async def work() -> None:
        raise asyncio.CancelledError

    supervised = Supervised(work(), grace_s=1)

    assert await ended(supervised) == Ending(stopped=True)
    assert not supervised.stopping


async def test_code_that_listens_stops_at_once_and_cleans_up_with_awaits():
    inside, cleaned = asyncio.Event(), []

    async def work() -> None:
        try:
            inside.set()
            await hang()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    supervised = Supervised(work(), grace_s=60)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ended(supervised))
        await inside.wait()
        supervised.stop()
        supervised.stop()

    assert running.result() == Ending(stopped=True)
    assert cleaned == [True]
    assert supervised.stopping


async def test_code_that_ends_well_while_it_is_stopped_keeps_its_value():
    inside = asyncio.Event()

    async def work() -> str:
        try:
            inside.set()
            await hang()
        except asyncio.CancelledError:
            return "nearly done anyway"
        return "never"

    supervised = Supervised(work(), grace_s=60)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ended(supervised))
        await inside.wait()
        supervised.stop()

    assert running.result() == Ending(value="nearly done anyway")


async def swallows_errors() -> None:
    while True:
        try:
            await hang()
        except Exception:  # noqa: BLE001
            continue


async def swallows_everything() -> None:
    while True:
        try:
            await hang()
        except BaseException:  # noqa: BLE001
            continue


async def swallows_deep_inside() -> None:
    async def deeper(depth: int) -> None:
        await (deeper(depth - 1) if depth else swallows_everything())

    await deeper(20)


async def spins() -> None:
    while True:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue


async def shields() -> None:
    forever = asyncio.get_running_loop().create_future()
    while True:
        try:
            await asyncio.shield(forever)
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("work", [swallows_everything, swallows_deep_inside, spins, shields])
async def test_code_that_does_not_listen_is_put_down_at_the_grace_limit(work):
    supervised = Supervised(work(), grace_s=0.01)
    supervised.stop_after(0.1)  # it has begun by then, or it would end before it can swallow anything

    ending = await ended(supervised)

    assert ending == Ending(stopped=True, forced=True)
    gc.collect()


async def test_code_that_swallows_only_errors_stops_when_asked():
    supervised = Supervised(swallows_errors(), grace_s=60)
    supervised.stop_after(0)

    assert await ended(supervised) == Ending(stopped=True)


async def test_a_stop_before_the_beginning_stops_it():
    supervised = Supervised(hang(), grace_s=60)
    supervised.stop()

    assert await ended(supervised) == Ending(stopped=True)


async def test_a_limit_that_is_not_reached_leaves_no_timer_behind():
    async def work() -> int:
        return 1

    supervised = Supervised(work(), grace_s=60)
    supervised.stop_after(3600)

    assert await ended(supervised) == Ending(value=1)
    assert all(timer.cancelled() for timer in supervised._timers)


@pytest.mark.parametrize("work", [hang, swallows_everything])
async def test_who_waits_may_be_cancelled_and_the_code_is_stopped_first(work):
    stopped: list[bool] = []

    async def watched(inner: Awaitable[None]) -> None:
        inside.set()
        try:
            await inner
        finally:
            stopped.append(True)

    inside = asyncio.Event()
    supervised = Supervised(watched(work()), grace_s=0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ended(supervised))
        await inside.wait()
        running.cancel()
        await asyncio.wait({running})

    assert running.cancelled()
    assert stopped == [True]


async def test_being_cancelled_again_and_again_does_not_leave_the_code_running():
    inside = asyncio.Event()

    async def work() -> None:
        inside.set()
        await swallows_everything()

    supervised = Supervised(work(), grace_s=0.05)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ended(supervised))
        await inside.wait()
        for _ in range(5):
            running.cancel()
            await asyncio.sleep(0)
        await asyncio.wait({running})

    assert running.cancelled()
    assert supervised._task is not None
    assert supervised._task.done()


async def test_a_stop_between_the_beginning_and_the_first_step_stops_it():
    entered: list[bool] = []

    async def work() -> None:
        entered.append(True)

    supervised = Supervised(work(), grace_s=60)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(ended(supervised))
        asyncio.get_running_loop().call_soon(supervised.stop)

    assert running.result() == Ending(stopped=True)
    assert entered == []


_STUBBORN = """
import asyncio
from cloche.execution.supervision import Supervised

async def hang():
    await asyncio.get_running_loop().create_future()

async def stubborn():
    while True:
        try:
            await hang()
        except BaseException:
            continue

async def deeper(depth):
    await (deeper(depth - 1) if depth else stubborn())

async def main():
    for depth in range(50):
        supervised = Supervised(deeper(depth % 5), grace_s=0)
        supervised.stop_after(0)
        assert (await supervised.run()).forced

asyncio.run(main())
print("ended")
"""


@pytest.mark.slow
async def test_a_process_in_which_code_was_put_down_ends_quietly():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _STUBBORN, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(10):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (process.returncode, told) == (0, b"ended\n")


async def test_the_answers_and_errors_of_what_is_awaited_arrive():
    loop = asyncio.get_running_loop()

    async def work() -> list[object]:
        found: list[object] = []
        future = loop.create_future()
        loop.call_soon(future.set_result, "a")
        found.append(await future)
        failing = loop.create_future()
        loop.call_soon(failing.set_exception, ValueError("b"))
        try:
            await failing
        except ValueError as error:
            found.append(str(error))
        async with asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(0, "c"))
        found.append(inner.result())
        try:
            async with asyncio.timeout(0):
                await hang()
        except TimeoutError:
            found.append("d")
        return found

    assert await ended(Supervised(work(), grace_s=1)) == Ending(value=["a", "b", "c", "d"])


async def test_code_that_ends_at_the_very_limit_is_not_put_down():
    inside = asyncio.Event()

    async def work() -> str:
        inside.set()
        try:
            await hang()
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    supervised = Supervised(work(), grace_s=0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ended(supervised))
        await inside.wait()
        supervised.stop()

    assert task.result() == Ending(value="just in time")
