"""A real ``cloche up`` with its people, killed and started again on the same port; and what the system knows of it."""

from __future__ import annotations

import asyncio
import math
import os
import re
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.usage import resident_mb
from cloche.auth.keys import SigningKeys, load_keys
from cloche.auth.opening import AuthParts, Device
from cloche.auth.passwords import Passwords
from cloche.auth.policy import SignInPolicy
from cloche.auth.revocations import Revocations
from cloche.auth.standings import Standings
from cloche.auth.tokens import AccessTokens
from cloche.clock import SystemClock
from cloche.domain.permissions import Role
from cloche.domain.scope import Scope, SystemScope
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.sqlite import DATABASE_FILE, open_sqlite, owned
from cloche.storage.tenants import TenantDirectory
from cloche.storage.threads import ThreadRepository
from cloche.storage.users import MemberRepository

ROOT = Path(__file__).resolve().parent.parent
_OPERATOR = SystemScope(purpose="people of the harnesses")
_READY = re.compile(r"is ready at http://(\S+):(\d+)")
_FIGURE = re.compile(rb"^(cloche_\w+) (\S+)$", re.MULTILINE)
_START_S = 60.0
_LOOK_S = 0.005
_TOKEN_S = 120.0

CONFIG = """
default_agent = "talks"

[agents.talks]
use = "chaos.voices:talks"
max_steps = 10000

[agents.burst]
use = "bench.agents:burst"
tools = ["calculator"]

[tools.calculator]
use = "bench.agents:calculator"
effect = "none"

[runs]
drain_s = 0.2
concurrency = 2000

[telemetry]
log_format = "json"
"""


class Person:
    """A user with an open session and a thread."""

    def __init__(self, thread_id: str, issue: Callable[[], str]) -> None:
        self.thread_id = thread_id
        self._issue = issue
        self._issued_at = -math.inf
        self._token = ""

    @property
    def token(self) -> str:
        """An access token that has most of its quarter of an hour before it."""
        now = time.monotonic()
        if now - self._issued_at > _TOKEN_S:
            self._token, self._issued_at = self._issue(), now
        return self._token


class Server:
    """The process is up inside the block. Its people are made before the first start; the first one may read figures.

    Args:
        folder: of its own; everything is written there.
        people: how many users there are.
        send_timeout_s: None for a plain ``cloche up``; else one whose database queries are counted.
    """

    def __init__(self, folder: Path, *, people: int, send_timeout_s: float | None = None) -> None:
        self.data = folder / "data"
        with owned(self.data):
            self.people = asyncio.run(_make_people(self.data, load_keys(self.data / "keys"), people))
        self.host, self.port = "127.0.0.1", 0
        self._config = folder / "cloche.toml"
        self._config.write_text(CONFIG, encoding="utf-8")
        self._output = folder / "server.log"
        self._program = ["-m", "cloche"] if send_timeout_s is None else ["-m", "chaos.counted", str(send_timeout_s)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The process is ready, on the port that it had before."""
        command = [sys.executable, *self._program, "up", "--port", str(self.port), "--data", str(self.data)]
        written = self._output.stat().st_size if self._output.exists() else 0
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, "--config", str(self._config)],
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        until = time.monotonic() + _START_S
        while (found := _READY.search(self._said(written))) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the server did not start:\n{self._said(written)}")
            time.sleep(_LOOK_S)
        self.host, self.port = found[1], int(found[2])

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def memory_mb(self) -> float:
        return round(resident_mb(self.pid), 1)

    @property
    def peak_memory_mb(self) -> float:
        """The most that was resident since the start, or since ``forget_peak``."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(encoding="ascii"))
        return round(int(found[1]) / 1024, 1) if found else 0.0

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 -- only their number is wanted

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))  # noqa: PTH208 -- only their number is wanted

    async def figures(self) -> dict[str, float]:
        """The figures of ``/metrics`` that have no label."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            head = f"GET /metrics HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {self.people[0].token}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"no figures: {answer[:300]!r}")
        return {name.decode(): float(value) for name, value in _FIGURE.findall(answer)}

    def read_logs(self) -> dict[str, list[tuple[int, bytes]]]:
        """Every thread's events as they stand in the database file."""
        logs: dict[str, list[tuple[int, bytes]]] = {person.thread_id: [] for person in self.people}
        with closing(sqlite3.connect(f"file:{self.data / DATABASE_FILE}?mode=ro", uri=True)) as database:
            for thread_id, seq, body in database.execute(
                "SELECT thread_id, seq, body FROM events ORDER BY thread_id, seq"
            ):
                logs.setdefault(thread_id, []).append((seq, bytes(body)))
        return logs

    def lines(self, event: str) -> Iterable[str]:
        """The lines of the server's log about that event."""
        with self._output.open(encoding="utf-8", errors="replace") as output:
            yield from (line for line in output if f'"event":"{event}"' in line)

    def _said(self, after: int) -> str:
        with self._output.open("rb") as output:
            output.seek(after)
            return output.read().decode(errors="replace")


def open_many_files() -> int:
    """This process, and those that it starts, may open as many files as the system lets us; that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def _make_people(data: Path, keys: SigningKeys, count: int) -> list[Person]:
    """Written straight into a data folder that no server has. All have one password, which nobody uses."""
    clock, passwords, policy = SystemClock(), Passwords(), SignInPolicy()
    password_hash = await passwords.hash("correct horse battery staple")
    async with open_sqlite(data / DATABASE_FILE, clock=clock) as database:
        revocations = Revocations(clock, keep=policy.access_lifetime)
        parts = AuthParts(
            database=database,
            clock=clock,
            policy=policy,
            passwords=passwords,
            tokens=AccessTokens(keys, clock, policy),
            revocations=revocations,
            standings=Standings(database, clock, revocations, lifetime=policy.standing_lifetime),
        )

        async def work(tx: Transaction) -> list[Person]:
            now = clock.now()
            home = await TenantDirectory(_OPERATOR).create(tx, slug="chaos", name="Chaos", at=now)
            members, people = MemberRepository(_OPERATOR, home.id), list[Person]()
            for number in range(count):
                email, role = f"user{number}@example.org", Role.MEMBER if number else Role.ADMIN
                user = await members.create(tx, email=email, name=email, role=role, password_hash=password_hash, at=now)
                opened = await parts.open_session(tx, home.id, user.id, Device.of("chaos", "127.0.0.1"))
                scope = Scope(tenant_id=home.id, user_id=user.id)
                thread = await ThreadRepository(scope).create(tx, ThreadId.new(), title="", metadata={}, at=now)
                people.append(Person(str(thread.id), lambda opened=opened: parts.signed_in(opened).access_token))
            return people

        return await database.write(work)


def _environment() -> dict[str, str]:
    """Ours, without settings of a Cloche."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CLOCHE_")}
