"""A disk that is full, or breaks, at every place of several people's runs: it is told, and nothing is lost or doubled.

One operation on the database's files fails, or several one after the other, in a world of its own for each place. Who
asked gets a storage error with its code and asks again, as a client does; when the cause is gone, the same process goes
on, and every run ends once. At the end a real server has its data on a small disk that is filled and freed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw
import httpx2

from chaos.crowd import Cast, Crowd, Ledger, Told, check
from chaos.failing import CODES, Disk, Fault, failing_disks
from chaos.power_cuts import scratch
from chaos.report import Findings, arguments, finish
from cloche.clock import SystemClock
from cloche.domain.event_order import check_gapless
from cloche.errors import StorageError
from cloche.storage.sqlite import DATABASE_FILE, upgrade, verify
from support.client import Live, Person, signed_in
from support.server_process import ServerProcess
from support.world import World, opened_world, working

DEFAULTS = {"places": 500, "together": 6, "lasting": 8, "asks": 1, "server": 1}
QUICK = {"places": 12, "together": 6, "lasting": 4, "asks": 1, "server": 1}
# The log is copied into the file, and cut short, this often, so that faults hit that as well. In pages.
PRAGMAS = ("wal_autocheckpoint=12", "journal_size_limit=0")
TALKS = {"ann": ["worker", "worker"], "ben": ["held", "worker"]}
ASKING = {"cleo": ["asker"]}
EXPECTED_CODES = {"full": "storage_full", "broken": "storage_unavailable"}
SWEEP_S = 0.05
CASE_S = 30
SMALL = 6 * 1024 * 1024
MOST_SENDS = 400


class _Crash:
    """What would be there if the process had been killed at the first failure."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._path = folder / "crashed" / DATABASE_FILE
        self._told = 0

    def happen(self) -> None:
        """Keep the files as they are now."""
        self._told = len(self._ledger.entries)
        self._path.parent.mkdir()
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal"):
            if (self._folder / name).exists():
                shutil.copy(self._folder / name, self._path.with_name(name))

    def look(self) -> list[str]:
        if not self._path.exists():
            return []
        found = _look(self._path, self._ledger.told(self._told), whole=False)
        return [f"killed at the failure: {line}" for line in found]


Talks = Mapping[str, Sequence[str]]


class _Sweep:
    """Runs the cases, and adds up what came of them."""

    def __init__(self, folder: Path, disk_of: Callable[[Path], Disk], talks: Talks, findings: Findings) -> None:
        self._folder = folder
        self._disk_of = disk_of
        self._talks = talks
        self._findings = findings
        self._template = folder / "template.db"
        self.cases = self.reached = self.unseen = 0
        self.failed: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.places: set[tuple[str, int]] = set()

    async def prepare(self) -> Counter[str]:
        """What one undisturbed case asks of its disk, by kind."""
        await asyncio.to_thread(upgrade, self._template)
        return (await self._case(None)).counts

    async def fail(self, faults: Sequence[Fault], together: int) -> None:
        """Every fault has its own world; so many at a time."""
        left = iter(faults)

        async def work() -> None:
            for fault in left:
                await self._case(fault)

        async with asyncio.TaskGroup() as group:
            for _ in range(together):
                group.create_task(work())

    async def _case(self, fault: Fault | None) -> Disk:
        number = self.cases
        self.cases += 1
        folder = self._folder / f"case{number}"
        folder.mkdir()
        shutil.copy(self._template, folder / DATABASE_FILE)
        disk = self._disk_of(folder)
        disk.fault = fault
        ledger, cast = Ledger(), Cast()
        crash = _Crash(folder, ledger)
        disk.on_failure = crash.happen
        refused: list[StorageError] = []
        codes: list[str] = []
        try:
            async with asyncio.timeout(CASE_S):
                await self._use(folder / DATABASE_FILE, ledger, cast, refused, codes)
            found: list[str] = []
        except (TimeoutError, ExceptionGroup) as error:
            found = [f"somebody got {_told(error)}"]
        self._count(fault, disk, [*codes, *(error.code for error in refused)])
        disk.fault = None
        found += await asyncio.to_thread(_look, folder / DATABASE_FILE, ledger.told(), whole=not found)
        found += _doubled(cast)
        found += await asyncio.to_thread(crash.look)
        found += _wrong_codes(fault, refused, codes)
        self.ended.update(ledger.told().ended.values())
        self._findings.violations += [f"{fault}: {line}" for line in found]
        shutil.rmtree(folder)
        return disk

    async def _use(self, path: Path, ledger: Ledger, cast: Cast, refused: list[StorageError], codes: list[str]) -> None:
        async with _opened(path, refused) as world, working(world), asyncio.TaskGroup() as group:
            cast.join(world)
            crowd = Crowd(world, ledger, refused)
            sweeping = group.create_task(_sweep(world, refused))
            async with asyncio.TaskGroup() as people:
                for name, agents in self._talks.items():
                    people.create_task(crowd.arrive_and_talk(name, agents))
            sweeping.cancel()
            codes += [
                str(fields["code"])
                for level, _, fields in world.log_book.lines
                if level == "warning" and "code" in fields
            ]

    def _count(self, fault: Fault | None, disk: Disk, codes: list[str]) -> None:
        if fault is None:
            return
        if disk.failed:
            self.reached += 1
            self.places.add((fault.kind, fault.at))
            self.unseen += not codes
        self.failed.update(disk.failed)
        self.refusals.update(codes)


@asynccontextmanager
async def _opened(path: Path, refused: list[StorageError]) -> AsyncGenerator[World]:
    """The world over the database; opened again when its disk fails while it is opened."""
    while True:
        try:
            opening = opened_world(path, SystemClock())
            world = await opening.__aenter__()
        except StorageError as error:
            refused.append(error)
            continue
        break
    try:
        yield world
    finally:
        await opening.__aexit__(None, None, None)


async def _sweep(world: World, refused: list[StorageError]) -> None:
    """What the server does besides, every few seconds: runs that could not be claimed are offered again."""
    while True:
        await asyncio.sleep(SWEEP_S)
        try:
            await world.recovery.sweep()
        except StorageError as error:
            refused.append(error)


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)


def _look(path: Path, told: Told, *, whole: bool) -> list[str]:
    connection = apsw.Connection(str(path))
    try:
        found = check(connection, told, all_ended=whole)
        failures = connection.execute("SELECT id, failure_code FROM runs WHERE failure_code IS NOT NULL")
        codes = {str(row[0]): str(row[1]) for row in failures}
    finally:
        connection.close()
    for sent in told.sent.values():
        run_id, expected = sent.accepted.run_id, "run_cancelled" if sent.agent == "held" else None
        if whole and codes.get(run_id) != expected:
            found.append(f"{sent.client_message_id}, for {sent.agent}, ended with the failure {codes.get(run_id)}")
    return found


def _doubled(cast: Cast) -> list[str]:
    return [f"{call} was made {times} times" for call, times in Counter(cast.calls).items() if times > 1]


def _wrong_codes(fault: Fault | None, refused: Iterable[StorageError], codes: Iterable[str]) -> list[str]:
    seen = {error.code for error in refused} | set(codes)
    expected = set() if fault is None else {EXPECTED_CODES[fault.cause]}
    return [f"somebody was told {code}" for code in sorted(seen - expected)]


def _faults(counts: Counter[str], places: int, lasting: int, random: Random) -> list[Fault]:
    """Each kind and cause, once and for a while, at every place or at so many of them."""
    found: list[Fault] = []
    for kind, cause in CODES:
        there = range(1, counts[kind] + 1)
        chosen = sorted(random.sample(there, min(places, len(there))))
        found += [Fault(kind=kind, cause=cause, at=at, lasting=length) for at in chosen for length in (1, lasting)]
    return found


def run(folder: Path, *, places: int, together: int, lasting: int, asks: bool, server: bool, seed: int = 1) -> Findings:
    """Let the disk fail at ``places`` places of each kind, once and for ``lasting`` operations; then fill a real one."""
    findings = Findings(harness="disks")
    started = time.monotonic()

    async def sweep() -> None:
        with failing_disks(*PRAGMAS) as disk_of:
            cases = _Sweep(folder, disk_of, TALKS | (ASKING if asks else {}), findings)
            counts = await cases.prepare()
            await cases.fail(_faults(counts, places, lasting, Random(seed)), together)
        findings.figures |= {
            "operations_of_a_case": dict(counts),
            "cases": cases.cases,
            "cases_with_a_failure": cases.reached,
            "distinct_places": len(cases.places),
            "failed_operations": dict(cases.failed),
            "cases_in_which_nobody_noticed": cases.unseen,
            "told": dict(cases.refusals),
            "ended": dict(cases.ended),
            "sweep_s": round(time.monotonic() - started, 1),
        }

    asyncio.run(sweep())
    if server:
        _fill_a_server(folder / "server", findings)
    findings.figures["all_s"] = round(time.monotonic() - started, 1)
    return findings


@contextmanager
def _small_disk(folder: Path) -> Generator[None]:
    """A disk in memory at the folder.

    Raises:
        PermissionError: this machine mounts none for us.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill_a_server(folder: Path, findings: Findings) -> None:
    folder.mkdir()
    server = ServerProcess(folder)
    try:
        with _small_disk(server.data):
            email = server.add_user("ann@example.org")
            server.start()
            try:
                asyncio.run(_fill(server, email, findings))
            finally:
                code = server.stop()
            if code:
                findings.violations.append(f"the server ended with {code}")
            findings.violations += [f"integrity: {line}" for line in verify(server.data / DATABASE_FILE)]
    except PermissionError as error:
        findings.figures["small_disk"] = f"not tried: {error}"


async def _fill(server: ServerProcess, email: str, findings: Findings) -> None:
    """Messages are sent while the disk fills up, while it is full, and after it was freed."""
    filler = server.data / "filler"
    async with signed_in(server.url, email) as person, person.live() as live:
        first = await _accepted(live, "before", findings)
        await live.ask("subscribe", thread_id=first["thread_id"])
        await live.until(first["run_id"], "message_delta")
        size = await asyncio.to_thread(_fill_up, filler)
        accepted, refused = await _send_until_refused(live, first["thread_id"], filler)
        over_http = await _post(person, first["thread_id"], refused["name"])
        ready = await person.http.get("/readyz")
        health = await person.http.get("/healthz")
        listed = await person.http.get("/v1/threads")
        await asyncio.to_thread(filler.unlink)
        started = time.monotonic()
        again = await _send(live, first["thread_id"], refused["name"])
        if again.get("ok"):
            accepted.append(again)
        else:
            findings.violations.append(f"after the disk was freed: {again}")
        for sent in (first, *accepted):
            await live.until(sent["run_id"])
    findings.figures |= {
        "small_disk": f"{SMALL} bytes, {size} of them filled while a run streamed",
        "accepted_on_a_full_disk": len(accepted) - 1,
        "refused_over_websocket": refused["answer"],
        "refused_over_http": f"{over_http.status_code} {over_http.json()['error']['code']}",
        "readiness_when_full": ready.status_code,
        "ended_after_it_was_freed_s": round(time.monotonic() - started, 2),
    }
    findings.violations += _judge_refusals(refused["answer"], over_http, health.status_code, listed.status_code)
    findings.violations += _judge_events(live.events, [sent["run_id"] for sent in (first, *accepted)])


def _judge_refusals(answer: dict[str, Any], over_http: httpx2.Response, health: int, listed: int) -> list[str]:
    error = answer.get("error", {})
    found: list[str] = []
    if (error.get("code"), error.get("retryable")) != ("storage_full", True):
        found.append(f"a full disk was told as {answer}")
    told = over_http.json().get("error", {})
    if over_http.status_code not in (503, 507) or told.get("code") != "storage_full":
        found.append(f"a full disk was told over HTTP as {over_http.status_code} {told}")
    if (health, listed) != (200, 200):
        found.append(f"on a full disk health was {health} and reading was {listed}")
    return found


def _judge_events(events: list[dict[str, Any]], runs: list[str]) -> list[str]:
    found = [str(broken) for broken in check_gapless([event["seq"] for event in events], after=0)]
    ends = Counter[str](
        event["run_id"] for event in events if event["type"] in ("agent_completed", "agent_failed", "agent_cancelled")
    )
    found += [f"{run_id} has {ends[run_id]} ends" for run_id in runs if ends[run_id] != 1]
    failed = [event for event in events if event["type"] == "agent_failed"]
    return [*found, *(f"a run failed: {event['data']}" for event in failed)]


def _fill_up(filler: Path) -> int:
    """Every byte of the disk that was free is taken; how many."""
    size = 0
    with filler.open("ab", buffering=0) as file:
        for piece in (65_536, 4_096, 512):
            with contextlib.suppress(OSError):
                while True:
                    size += file.write(bytes(piece))
    return size


async def _send(live: Live, thread_id: str | None, name: str) -> dict[str, Any]:
    where = {} if thread_id is None else {"thread_id": thread_id}
    return await live.ask("send", text=f"{name} {'x' * 2000}", client_message_id=name, agent="echo", **where)


async def _accepted(live: Live, name: str, findings: Findings) -> dict[str, Any]:
    answer = await live.ask("send", text=name, client_message_id=name, agent="worker")
    if not answer.get("ok"):
        findings.violations.append(f"before the disk was full: {answer}")
    return answer


async def _send_until_refused(live: Live, thread_id: str, filler: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What was accepted on the full disk, which has room in the files that it has, and the first refusal."""
    accepted: list[dict[str, Any]] = []
    for number in range(MOST_SENDS):
        name = f"full-{number}"
        answer = await _send(live, thread_id, name)
        if not answer.get("ok"):
            return accepted, {"name": name, "answer": answer}
        accepted.append(answer)
        await asyncio.to_thread(_fill_up, filler)
    raise OSError(errno.ENOSPC, f"{MOST_SENDS} messages did not fill the disk")


async def _post(person: Person, thread_id: str, name: str) -> httpx2.Response:
    body = {"text": f"{name} {'x' * 2000}", "client_message_id": name, "agent": "echo"}
    return await person.http.post(f"/v1/threads/{thread_id}/messages", json=body)


def main(argv: list[str]) -> int:
    options = arguments("disks", DEFAULTS, QUICK, argv)
    with scratch() as folder:
        found = run(
            folder,
            places=options.places,
            together=options.together,
            lasting=options.lasting,
            asks=bool(options.asks),
            server=bool(options.server),
            seed=options.seed,
        )
    return finish(found, options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
