"""Power cuts at random places of a workload: what was acknowledged is there, nothing is doubled, every run ends once.

One workload over the real parts is recorded once: every write, truncate, sync and delete of SQLite, and between them
the moment at which somebody was told something. Each cut is a prefix of that tape and a random subset, torn at sector
boundaries, of what was not synced by then. Every cut is opened and checked; on a sample of them a whole server is
started, which has to end every run, and whose own work is recorded and cut again.

``--plant normal`` and ``--plant early`` put the fault in that the harness exists for; it has to turn red.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

import apsw

from chaos.crowd import Cast, Crowd, Entry, Ledger, Told, add, check
from chaos.report import Findings, arguments, finish
from chaos.tapes import Act, Platter, recording
from chaos.tuned import replaced, tuned
from cloche.domain.scope import Scope
from cloche.events.log import EventLog
from cloche.ids import ThreadId
from cloche.storage.database import Transaction
from cloche.storage.events import EventDraft, EventRepository, StoredEvent
from cloche.storage.sqlite import DATABASE_FILE
from support.world import opened_world, working

DEFAULTS = {"cuts": 10_000, "users": 4, "recover": 25, "again": 5}
QUICK = {"cuts": 400, "users": 2, "recover": 40, "again": 5}
PLANTS = ("none", "normal", "early")
# The log is copied into the file this often, so that cuts fall into that as well. In pages; the server's own is 4,000.
CHECKPOINT_PAGES = 60
AGENTS = (["worker", "worker", "asker"], ["held", "worker"])
LIVES = 2
MOST_VIOLATIONS = 200
# Parts of parts that the planted fault reaches for.
_HUB, _DATABASE, _LOOP = "_hub", "_database", "_loop"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A workload's tape, and what was told at which place of it."""

    acts: Sequence[Act]
    entries: Sequence[Entry]


def record(folder: Path, *, users: int, plant: str = "none") -> Recorded:
    """Several people's runs, in two lives of a server: the first ends in the middle of some of them."""
    with recording() as tape, _prepared(plant):
        ledger = Ledger(lambda: tape.position)
        for life in range(LIVES):
            asyncio.run(_live(folder / DATABASE_FILE, ledger, f"life{life}", users))
        return Recorded(tape.acts, ledger.entries)


async def _live(path: Path, ledger: Ledger, name: str, users: int) -> None:
    async with opened_world(path) as world:
        Cast().join(world)
        crowd = Crowd(world, ledger)
        await world.recovery.recover_all()
        async with working(world), asyncio.TaskGroup() as people:
            for user in range(users):
                scope = await world.person()
                for number, agents in enumerate(AGENTS):
                    talk = crowd.talk(scope, f"{name}-user{user}-{number}", agents, leave=number == 1)
                    people.create_task(talk)


@contextmanager
def _prepared(plant: str) -> Generator[None]:
    """Databases copy their log often; and the planted fault is there."""
    pragmas = [f"wal_autocheckpoint={CHECKPOINT_PAGES}", f"journal_size_limit={CHECKPOINT_PAGES * 4096}"]
    if plant == "normal":
        pragmas.append("synchronous=NORMAL")
    with tuned(*pragmas), replaced(EventLog, "append", lambda usual: _append_early if plant == "early" else usual):
        yield


async def _append_early(
    log: EventLog,
    tx: Transaction,
    scope: Scope,
    thread_id: ThreadId,
    drafts: Sequence[EventDraft],
    *,
    at: datetime,
    moves_thread: bool = True,
    own: int = 0,
) -> list[StoredEvent]:
    """Like the log's own, but followers hear before the commit."""
    events = await EventRepository(scope).append(tx, thread_id, drafts, at=at, moves_thread=moves_thread, own=own)
    publish, key = getattr(log, _HUB).publish, (scope.tenant_id, thread_id)
    getattr(getattr(log, _DATABASE), _LOOP).call_soon_threadsafe(publish, key, events)
    return events


class _Bench:
    """Opens what power cuts left, and keeps what was found and counted."""

    def __init__(self, folder: Path, random: Random, findings: Findings) -> None:
        self._folder = folder
        self._random = random
        self._findings = findings
        self.cuts = self.losses = self.recoveries = 0
        self.looked_s = 0.0

    def cut(self, platter: Platter, told: Told, place: str) -> dict[str, bytes]:
        """What a cut of the disk now leaves; opened as after any crash it holds everything that was told."""
        before = time.monotonic()
        left = platter.cut(self._random)
        path = self._lay_out(left, "cut")
        try:
            connection = apsw.Connection(str(path))
            try:
                found = check(connection, told)
            finally:
                connection.close()
        except apsw.Error as error:
            found = [f"it cannot be opened: {error!r}"]
        self.cuts += 1
        self.losses += bool(found)
        self._judge(found, place)
        self.looked_s += time.monotonic() - before
        return left

    def recover(self, left: dict[str, bytes], told: Told, place: str, *, again: int) -> None:
        """A server is started on it, ends every run, and takes no message twice; its own work is cut so often."""
        path = self._lay_out(left, "recovery")
        self.recoveries += 1
        with recording() as tape:
            ledger = Ledger(lambda: tape.position)
            try:
                found = asyncio.run(_recover(path, told, ledger))
            except (apsw.Error, TimeoutError, ExceptionGroup) as error:
                found = [f"the recovery failed: {error!r}"]
        self._judge(found, f"{place}, recovered")
        again_recorded = Recorded(tape.acts, ledger.entries)
        for _ in self.cut_along(again_recorded, Platter(left), deepcopy(told), again, place=f"{place}, then"):
            pass

    def cut_along(
        self, recorded: Recorded, platter: Platter, told: Told, cuts: int, *, place: str = ""
    ) -> Generator[tuple[dict[str, bytes], Told, str]]:
        """Cut the tape at so many random places, in order; what each left, what was told by then, and where it was."""
        places = sorted(self._random.randrange(1, len(recorded.acts) + 1) for _ in range(cuts))
        done = heard = 0
        for number, end in enumerate(places):
            platter.do(recorded.acts[done:end])
            done = end
            heard = _hear(told, recorded.entries, heard, end)
            name = f"{place} cut {number} after act {end}".strip()
            yield self.cut(platter, told, name), told, name

    def _lay_out(self, left: dict[str, bytes], name: str) -> Path:
        """The files are on a disk again; the database's path."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, content in left.items():
            (folder / file).write_bytes(content)
        return folder / DATABASE_FILE

    def _judge(self, found: Iterable[str], place: str) -> None:
        room = MOST_VIOLATIONS - len(self._findings.violations)
        self._findings.violations += [f"{place}: {line}" for line in found][: max(room, 0)]


async def _recover(path: Path, told: Told, ledger: Ledger) -> list[str]:
    cast = Cast()
    async with opened_world(path) as world:
        cast.join(world)
        crowd = Crowd(world, ledger)
        await world.recovery.recover_all()
        async with working(world), asyncio.timeout(15):
            found = await crowd.send_again(told)
            await crowd.end_everything(path)
    repeated = told.finished_calls.intersection(cast.calls)
    found += [f"{call} was told as completed and was made again" for call in repeated]
    connection = apsw.Connection(str(path))
    try:
        found += check(connection, told, all_ended=True)
        found += check(connection, ledger.told(), all_ended=True)
    finally:
        connection.close()
    return found


def run(
    folder: Path, *, cuts: int, users: int, recover: int, again: int = 5, seed: int = 1, plant: str = "none"
) -> Findings:
    """Record a workload and cut it; every ``recover``-th cut is recovered by a whole server, which is cut ``again``."""
    findings = Findings(harness="power_cuts")
    (folder / "recorded").mkdir(parents=True)
    started = time.monotonic()
    recorded = record(folder / "recorded", users=users, plant=plant)
    recorded_s = time.monotonic() - started
    bench = _Bench(folder, Random(seed), findings)
    for number, (left, told, place) in enumerate(bench.cut_along(recorded, Platter(), Told(), cuts)):
        if number % recover == recover // 2:
            bench.recover(left, told, place, again=again)
    findings.figures |= _figures(recorded)
    findings.figures |= {
        "cuts": bench.cuts,
        "cuts_with_a_loss": bench.losses,
        "recovered_by_a_server": bench.recoveries,
        "cuts_in_a_recovery": bench.cuts - cuts,
        "cuts_per_s": round(bench.cuts / bench.looked_s, 1),
        "recording_s": round(recorded_s, 2),
        "all_s": round(time.monotonic() - started, 1),
    }
    return findings


def _hear(told: Told, entries: Sequence[Entry], heard: int, place: int) -> int:
    until = heard
    while until < len(entries) and entries[until].position <= place:
        until += 1
    add(told, entries[heard:until])
    return until


def _figures(recorded: Recorded) -> dict[str, object]:
    told = Told()
    add(told, recorded.entries)
    kinds = [act.kind for act in recorded.acts]
    return {
        "acts": len(kinds),
        **{f"{kind}s": kinds.count(kind) for kind in ("write", "sync", "truncate", "delete")},
        "told_messages": len(told.sent),
        "told_events": sum(len(events) for events in told.events.values()),
        "told_ends": len(told.ended),
    }


@contextmanager
def scratch() -> Generator[Path]:
    """A folder in memory where there is one: what survives a cut is decided here, not by the machine's disk."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="cloche-chaos-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str]) -> int:
    planting = argparse.ArgumentParser(add_help=False)
    planting.add_argument("--plant", choices=PLANTS, default=PLANTS[0])
    planted, others = planting.parse_known_args(argv)
    options = arguments("power_cuts", DEFAULTS, QUICK, others)
    with scratch() as folder:
        found = run(
            folder,
            cuts=options.cuts,
            users=options.users,
            recover=options.recover,
            seed=options.seed,
            again=options.again,
            plant=planted.plant,
        )
    return finish(found, options.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
