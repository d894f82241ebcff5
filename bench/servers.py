"""The servers that are measured, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.burst import TOOL
from bench.generator import Found, Person
from bench.people import make_people
from bench.usage import resident_mb

ROOT = Path(__file__).resolve().parent.parent
_READY = re.compile(r"is ready at (http://\S+)")
_START_S = 30.0
_LOOK_S = 0.002

CONFIG = f"""
default_agent = "burst"

[runs]
concurrency = {{concurrency}}

[limits]
operations_per_s = 100000

[agents.burst]
use = "{{agent}}"
tools = ["{TOOL}"]

[agents.paced]
use = "bench.agents:paced"

[tools.{TOOL}]
use = "bench.agents:calculator"
effect = "none"

[model]
word_delay_s = 0

[telemetry]
log_format = "json"
"""


class Server:
    """A server process: ready inside the block, gone after it. What it writes goes to a file, which costs us nothing."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.url = ""
        self.ready_s = 0.0
        self.people = folder / "people"
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

    def pass_over(self, people: int) -> None:
        """The first of its people are not used again, unless there are no others."""
        everybody = json.loads(self.people.read_text(encoding="ascii"))
        self.people.write_text(json.dumps(everybody[people:] or everybody), encoding="ascii")

    def __enter__(self) -> Self:
        with self._output.open("wb") as output:
            started = time.perf_counter()
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
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


def bare_server(folder: Path, people: int) -> Server:
    """It takes any token; so that both are loaded alike, it has people too."""
    folder.mkdir(parents=True, exist_ok=True)
    nobodies = [Person(token="nobody", threads=[f"thread_{number:026}"]) for number in range(people)]
    _write_people(folder, nobodies)
    return Server("bare", ["-m", "bench.bare"], folder)


def cloche_server(
    name: str,
    folder: Path,
    *,
    agent: str | None = "bench.agents:burst",
    people: int = 0,
    threads: int = 0,
    concurrency: int = 200,
) -> Server:
    """A Cloche that has ``people`` users with empty threads; its file ``people`` says who. Without an agent it is as it
    comes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, data = folder / f"{name}.toml", folder / "data"
    config.write_text(CONFIG.format(agent=agent, concurrency=concurrency) if agent else "", encoding="utf-8")
    if people:
        _write_people(folder, asyncio.run(make_people(data, people, threads=threads)))
    return Server(name, ["-m", "cloche", "up", "--port", "0", "--data", str(data), "--config", str(config)], folder)


def generate(module: str, server: Server, **options: object) -> Found:
    """What the load process found."""
    command = [sys.executable, "-m", f"bench.{module}", "--url", server.url, "--pid", str(server.pid)]
    command += ["--people", str(server.people)]
    for name, value in options.items():
        if value is True:
            command.append(f"--{name}")
        elif value is not False:
            command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the load on {server.name} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def _write_people(folder: Path, people: list[Person]) -> None:
    (folder / "people").write_text(json.dumps([asdict(person) for person in people]), encoding="ascii")


def environment() -> dict[str, str]:
    """Ours, without settings of a Cloche; compiled files are what makes a second start fast."""
    unwanted = ("CLOCHE_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
