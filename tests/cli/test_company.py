from __future__ import annotations

import asyncio

from cloche.cli.company import Company, Marks


async def test_everybody_waits_for_the_last_one_and_is_told_of_the_others_in_a_circle() -> None:
    company, told = Company(3), dict[str, list[str]]()

    async def walk(name: str) -> None:
        others = await company.meet(Marks(canary=name))
        told[name] = [other.canary for other in others]
        await company.part()

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(walk(name))
        for _ in range(5):
            await asyncio.sleep(0)
        early = dict(told)
        group.create_task(walk("c"))

    assert early == {}
    assert told == {"a": ["b", "c"], "b": ["c", "a"], "c": ["a", "b"]}


async def test_one_alone_has_no_others() -> None:
    company = Company(1)

    assert await company.meet(Marks(canary="a")) == ()
    await company.part()


def test_marks_are_the_words_that_there_are() -> None:
    assert Marks(canary="a", thread_id="t", run_id=None).words == ("a", "t")
    assert Marks(canary="").words == ()
