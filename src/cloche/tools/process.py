"""Running a plain function in a child process that can be killed with everything it started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Protocol

from cloche.errors import ToolFailedError
from cloche.tools import child

GRACE_S = 1.0
_ANSWER_LIMIT = 2**26


class Named(Protocol):
    """Anything that can be imported by module and name."""

    __module__: str
    __qualname__: str


async def run_in_process(function: Named, arguments: Mapping[str, object]) -> tuple[object, int | None]:
    """What the function returned in a child process, and its true size when it was cut there (else None).

    Guarantees: the child's process group ends with the call, and with this process, however that ends.
    Cancellation: the child's process group gets SIGTERM, and SIGKILL after ``GRACE_S``; nothing of it is left.

    Raises:
        ToolFailedError: the function raised, or the process ended without a result.
    """
    read_fd, write_fd = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            child.__name__,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(write_fd,),
            start_new_session=True,
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    call = {
        "module": function.__module__,
        "function": function.__qualname__,
        "arguments": arguments,
        "result_fd": write_fd,
        "path": sys.path,
    }
    try:
        return _result(await _converse(process, json.dumps(call, default=str).encode(), read_fd))
    finally:
        await _put_away(process)


async def _converse(process: asyncio.subprocess.Process, call: bytes, read_fd: int) -> bytes:
    """The line with which the child answers; nothing when it ended without one."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_ANSWER_LIMIT)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # It stays open: the child takes its end for the end of this process.
            process.stdin.write(call + b"\n")
            await process.stdin.drain()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_end_with(process))
            answer = await reader.readline()
            watching.cancel()
        return answer
    finally:
        transport.close()


async def _end_with(process: asyncio.subprocess.Process) -> None:
    """What the process left behind ends with it, and so does the answer, which it may hold open."""
    await process.wait()
    _signal(process, signal.SIGKILL)


def _result(answer: bytes) -> tuple[object, int | None]:
    if not answer:
        raise ToolFailedError("the tool's process ended without a result")
    outcome = json.loads(answer)
    if not outcome["ok"]:
        text = outcome["message"] if outcome["code"] else f"the tool raised {outcome['error']}"
        raise ToolFailedError(text)
    return outcome["value"], outcome.get("size")


async def _put_away(process: asyncio.subprocess.Process) -> None:
    """The process and its group are gone. Called when the call ended, however it did."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except BaseException as error:
            _signal(process, signal.SIGKILL)
            if isinstance(error, asyncio.CancelledError):
                await process.wait()
            if not isinstance(error, TimeoutError):
                raise
    # Children of the tool may outlive it; its group ends with it.
    _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
