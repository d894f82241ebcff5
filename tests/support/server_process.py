"""A real server process on loopback, and the people who use it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

PASSWORD = "correct horse battery staple"
_READY = re.compile(r"is ready at (http://\S+)")
_TESTS = Path(__file__).parent.parent

CONFIG = """
default_agent = "worker"

[agents.worker]
use = "support.agents:worker"
tools = ["note"]

[agents.echo]
use = "support.agents:echo"

[agents.gossip]
use = "support.agents:gossip"

[agents.raises]
use = "support.agents:raises"

[agents.nothing]
use = "support.agents:nothing"

[agents.hangs]
use = "support.agents:hangs"
run_timeout_s = 2

[agents.endless]
use = "support.agents:endless"
run_timeout_s = 2

[agents.held]
use = "support.agents:hangs"

[agents.calls]
use = "support.agents:calls"
tools = ["explode", "sleepy", "deaf", "stubborn", "huge"]

[tools.note]
use = "support.agents:note"
effect = "internal"

[tools.explode]
use = "support.agents:explode"

[tools.sleepy]
use = "support.agents:sleepy"
timeout_s = 1

[tools.deaf]
use = "support.agents:deaf"
timeout_s = 1

[tools.stubborn]
use = "support.agents:stubborn"
timeout_s = 1

[tools.huge]
use = "support.agents:huge"

[runs]
drain_s = 0.5

[limits]
operations_per_s = 10_000

[telemetry]
log_format = "json"
"""


class ServerProcess:
    """``cloche up`` in a folder of its own. Restarted on the same port, so that clients come back to it."""

    def __init__(self, folder: Path, *, config: str = CONFIG, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.notes = folder / "notes.txt"
        self.config = folder / "cloche.toml"
        self.config.write_text(config, encoding="utf-8")
        self.port = 0
        self.admin_email = ""
        self.admin_password = ""
        self.url = ""
        self.output: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._extra = environment or {}
        self._reader: threading.Thread | None = None
        self._hang_up = -1
        self._more = threading.Condition()

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLOCHE_")}
        paths = [str(_TESTS), kept.get("PYTHONPATH", "")]
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "TEST_NOTES": str(self.notes),
            **self._extra,
        }

    def command(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of the CLI in the folder."""
        return subprocess.run(
            [sys.executable, "-m", "cloche", *arguments],
            cwd=self.folder,
            env=self.environment(),
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def add_user(self, email: str, *, role: str = "member", tenant: str | None = None) -> str:
        """The user exists and signs in with ``PASSWORD``."""
        options = ["--tenant", tenant, "--create-tenant"] if tenant else []
        done = self.command(
            "users", "add", email, "--role", role, *options, "--data", str(self.data), "--password-stdin", text=PASSWORD
        )
        assert done.returncode == 0, done.stderr
        return email

    def start(self) -> None:
        """The process runs and is ready."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cloche",
                "up",
                "--port",
                str(self.port),
                "--data",
                str(self.data),
                "--config",
                str(self.config),
            ],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        ready = threading.Event()
        told, self._hang_up = os.pipe()
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr, told, ready), daemon=True)
        self._reader.start()
        assert ready.wait(15), "".join(self.output)
        assert self.process.poll() is None, "".join(self.output)

    def _read(self, output: IO[bytes], hang_up: int, ready: threading.Event) -> None:
        """Collect lines until the process ends its output, or until ``hang_up``'s other end is closed."""
        begun = b""
        with output:
            while hang_up not in select.select([output, hang_up], [], [])[0]:
                piece = os.read(output.fileno(), 65_536)
                if not piece:
                    break
                *lines, begun = (begun + piece).split(b"\n")
                for line in lines:
                    self._take(line.decode(errors="replace") + "\n", ready)
        os.close(hang_up)
        ready.set()

    def _take(self, line: str, ready: threading.Event) -> None:
        with self._more:
            self.output.append(line)
            self._more.notify_all()
        found = _READY.search(line)
        if found:
            self.url = found[1]
            self.port = int(self.url.rsplit(":", 1)[1])
            ready.set()

    def stop_reading(self) -> None:
        """What the process writes from now on meets a closed pipe."""
        if self._reader is None:
            return
        os.close(self._hang_up)
        self._reader.join(5)
        assert not self._reader.is_alive()
        self._reader = None

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in what the process wrote, as soon as it is there."""
        with self._more:
            assert self._more.wait_for(lambda: re.search(pattern, "".join(self.output)), 10), "".join(self.output)
            found = re.search(pattern, "".join(self.output))
        assert found is not None
        return found

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(15)
        if self._reader is not None:
            self._reader.join(5)
        self.stop_reading()
        self.process = None
        return code

    def lines(self) -> list[str]:
        """The notes that the tool wrote."""
        return self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
