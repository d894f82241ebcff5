"""A tool in a process of its own: what it gives comes back, and when it is stopped nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from cloche.errors import ToolFailedError
from cloche.tools import process as process_module
from cloche.tools.child import RESULT_LIMIT
from cloche.tools.process import run_in_process
from support import process_tools
from support.faults import eventually
from support.processes import alive

pytestmark = pytest.mark.slow


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_function_gets_its_arguments_and_gives_its_value():
    assert await run_in_process(process_tools.double, {"number": 21}) == (42, None)


async def test_what_a_tool_prints_is_not_its_result():
    assert await run_in_process(process_tools.prints, {}) == ("this", None)


async def test_standard_input_is_at_its_end():
    assert await run_in_process(process_tools.reads_its_input, {}) == ("", None)


async def test_an_error_for_the_model_is_told_and_another_one_s_text_is_not():
    with pytest.raises(ToolFailedError, match="no such city"):
        await run_in_process(process_tools.reports, {"message": "no such city"})
    with pytest.raises(ToolFailedError) as failed:
        await run_in_process(process_tools.raises, {"message": "a secret text"})

    assert failed.value.message == "the tool raised ValueError"


@pytest.mark.parametrize("function", [process_tools.leaves, process_tools.dies], ids=["exits", "is killed"])
async def test_a_process_that_ends_without_a_result_is_a_failure(function):
    with pytest.raises(ToolFailedError, match="without a result"):
        await run_in_process(function, {})


async def test_arguments_that_do_not_fit_the_function_are_a_failure():
    with pytest.raises(ToolFailedError, match="TypeError"):
        await run_in_process(process_tools.double, {"other": 1})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("date", "2031-01-01"),
        ("path", "a"),
        ("inside", {"day": ["2031-01-01"]}),
        ("half", "\ud83d"),
        ("bytes", "b'abc'"),
    ],
)
async def test_a_value_without_a_json_form_comes_as_its_text(kind: str, value: object):
    assert await run_in_process(process_tools.odd, {"kind": kind}) == (value, None)


@pytest.mark.parametrize(("kind", "error"), [("circle", "ValueError"), ("key", "TypeError")])
async def test_a_value_that_cannot_be_written_at_all_is_a_failure_that_says_so(kind: str, error: str):
    with pytest.raises(ToolFailedError, match=error):
        await run_in_process(process_tools.odd, {"kind": kind})


async def test_fifty_megabytes_are_cut_where_they_arise_and_their_size_is_told():
    value, size = await run_in_process(process_tools.huge, {"size": 25_000_000})

    assert isinstance(value, str)
    assert len(value) == RESULT_LIMIT
    assert size == 50_000_000


async def test_a_long_list_is_cut_as_text():
    value, size = await run_in_process(process_tools.huge_list, {"length": 10_000})

    assert isinstance(value, str)
    assert value.startswith('["xxx')
    assert size is not None
    assert size > 10_000_000


async def test_a_child_that_is_left_behind_keeps_nobody_waiting_and_is_gone(tmp_path: Path):
    file = tmp_path / "pid"

    async with asyncio.timeout(10):
        found = await run_in_process(process_tools.leaves_a_child_behind, {"file": str(file)})

    assert found == ("answered", None)
    child = int(file.read_text())
    await eventually(lambda: not alive(child))


async def test_a_process_that_dies_and_leaves_a_child_behind_is_a_failure_at_once(tmp_path: Path):
    file = tmp_path / "pid"

    async with asyncio.timeout(10):
        with pytest.raises(ToolFailedError, match="without a result"):
            await run_in_process(process_tools.dies_and_leaves_a_child_behind, {"file": str(file)})

    child = int(file.read_text())
    await eventually(lambda: not alive(child))


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_a_tool_that_will_not_go_is_killed_with_everything_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
):
    monkeypatch.setattr(process_module, "GRACE_S", 0.05)
    file = tmp_path / "pids"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_in_process(process_tools.will_not_go, {"file": str(file)}))
        await eventually(file.exists)
        pids = [int(pid) for pid in file.read_text().split()]
        assert all(alive(pid) for pid in pids)
        task.cancel()
        if again:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait({task})

    assert task.cancelled()
    assert len(pids) == 3
    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_a_tool_that_will_not_go_ends_with_a_server_that_was_killed(tmp_path: Path):
    file = tmp_path / "pids"
    calling = (
        "import asyncio, sys\n"
        "from cloche.tools.process import run_in_process\n"
        "from support import process_tools\n"
        "asyncio.run(run_in_process(process_tools.will_not_go, {'file': sys.argv[1]}))"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", calling, str(file), env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    await eventually(file.exists)
    pids = [int(pid) for pid in file.read_text().split()]
    assert all(alive(pid) for pid in pids)

    server.kill()
    await server.wait()

    await eventually(lambda: not any(alive(pid) for pid in pids))


async def test_who_is_cancelled_again_during_the_grace_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process_module, "GRACE_S", 3600)
    file, asked = tmp_path / "pid", tmp_path / "pid.asked"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_in_process(process_tools.notes_the_request_to_end, {"file": str(file)}))
        await eventually(file.exists)
        task.cancel()
        await eventually(asked.exists)
        task.cancel()
        await asyncio.wait({task})

    assert task.cancelled()
    assert not alive(int(file.read_text()))


async def test_calls_leave_no_descriptor_open(tmp_path: Path):
    await run_in_process(process_tools.double, {"number": 1})
    before = open_descriptors()

    for _ in range(3):
        await run_in_process(process_tools.double, {"number": 1})
    with pytest.raises(ToolFailedError):
        await run_in_process(process_tools.leaves, {})

    await asyncio.sleep(0)
    assert open_descriptors() <= before


async def test_a_process_that_cannot_be_started_leaves_none_of_our_descriptors_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(process_module.sys, "executable", "no-such-python")
    seen: list[int] = []

    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            await run_in_process(process_tools.double, {"number": 1})
        seen.append(open_descriptors())

    # uvloop keeps one end of the pipe to a child that it could not start; none of the two of ours.
    assert all(later - sooner <= 1 for sooner, later in pairwise(seen))
