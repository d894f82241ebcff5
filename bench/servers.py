"""The servers that are measured, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.burst import TOOL
from bench.people import make_people
from bench.usage import resident_mb

ROOT = Path(__file__).resolve().parent.parent
_READY = re.compile(r"is ready at (http://\S+)")
_START_S = 30.0
_LOOK_S = 0.002

CONFIG = f"""
default_agent = "burst"

[agents.burst]
use = "{{agent}}"
tools = ["{TOOL}"]

[tools.{TOOL}]
use = "bench.agents:calculator"
effect = "none"

[model]
word_delay_s = 0

[telemetry]
log_format = "json"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that is measured: a server, and the path on it. ``agent`` is None for the bare one."""

    name: str
    server: str
    path: str
    agent: str | None


TARGETS = (
    Target(name="bare", server="bare", path="/v1/ws", agent=None),
    Target(name="bare, joined", server="bare", path="/v1/ws/joined", agent=None),
    Target(name="function", server="function", path="/v1/ws", agent="bench.agents:burst"),
    Target(name="pydantic-ai", server="pydantic-ai", path="/v1/ws", agent="bench.model_agent:burst"),
)


class Server:
    """A server process: ready inside the block, gone after it. What it writes goes to a file, which costs us nothing."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.url = ""
        self.ready_s = 0.0
        self._command = [sys.executable, *command]
        self._output = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def memory_mb(self) -> float:
        return round(resident_mb(self.pid), 1)

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            started = time.perf_counter()
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        while (found := _READY.search(self._output.read_text(encoding="utf-8"))) is None:
            if self._process.poll() is not None or time.perf_counter() - started > _START_S:
                self._end()
                raise RuntimeError(f"{self.name} did not start:\n{self._output.read_text(encoding='utf-8')}")
            time.sleep(_LOOK_S)
        self.ready_s = round(time.perf_counter() - started, 3)
        self.url = found[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def bare_server(folder: Path) -> Server:
    return Server("bare", ["-m", "bench.bare"], folder)


def cloche_server(name: str, folder: Path, *, agent: str | None, tokens: Path, people: int) -> Server:
    """A Cloche that has ``people`` users, whose tokens stand in the file. Without an agent it is as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    config, data = folder / f"{name}.toml", folder / "data"
    config.write_text(CONFIG.format(agent=agent) if agent else "", encoding="utf-8")
    if people:
        tokens.write_text(json.dumps(asyncio.run(make_people(data, people))), encoding="ascii")
    return Server(name, ["-m", "cloche", "up", "--port", "0", "--data", str(data), "--config", str(config)], folder)


def load(target: Target, server: Server, *, users: int, seconds: float, tokens: Path) -> dict[str, Any]:
    """What the load process found."""
    command = [sys.executable, "-m", "bench.load", "--url", server.url, "--path", target.path, "--pid", str(server.pid)]
    command += ["--tokens", str(tokens), "--users", str(users), "--seconds", str(seconds)]
    if target.agent is None:
        command.append("--bare")
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load on {target.name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _environment() -> dict[str, str]:
    """Ours, without settings of a Cloche; compiled files are what makes a second start fast."""
    unwanted = ("CLOCHE_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
