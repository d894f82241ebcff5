"""The doctor with many users at once, and its repair view, against a real server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from cloche.cli.guests import open_guests
from cloche.cli.rest import Account, UnreachableError
from support.client import signed_in
from support.server_process import PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(60)]

PATIENCE_S = 30.0
QUICK = ("--agent", "echo", "--any-answer")
WELL = {"ok", "slow"}  # a busy machine may be slow; nothing may be wrong


def options(server: ServerProcess, email: str | None = None) -> list[str]:
    file = server.folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    return ["--url", server.url, "--email", email or server.admin_email, "--password-file", str(file)]


def doctor(server: ServerProcess, *arguments: str, email: str | None = None) -> tuple[int, dict[str, Any]]:
    """Exit code and report of one round."""
    done = server.command("doctor", *options(server, email), "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def guests(server: ServerProcess) -> list[str]:
    """The status of every user that a check-up made."""
    listed = server.command("users", "list", "--data", str(server.data)).stdout.splitlines()
    return [
        next(word for word in ("active", "disabled") if word in line) for line in listed if "doctor.invalid" in line
    ]


def plant(server: ServerProcess, *statements: str) -> None:
    """Rows are changed behind the running server's back."""
    database = apsw.Connection(str(server.data / "cloche.db"))
    database.set_busy_timeout(5_000)
    for statement in statements:
        database.execute(statement)
        assert database.changes(), statement
    database.close()


# Many users


def test_several_users_walk_the_path_at_once_and_cannot_sign_in_afterwards(shared_server: ServerProcess) -> None:
    before = len(guests(shared_server))

    code, report = doctor(shared_server, "--users", "3", "--agent", "assistant")

    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert set(verdicts.values()) <= WELL, report
    assert {"sign_in", "first_event", "delivery_p95", "journey", "isolation", "delete", "sign_out"} <= set(verdicts)
    assert (report["users"], code) == (3, int(not report["ok"]))
    assert guests(shared_server)[: len(guests(shared_server)) - before] == ["disabled"] * 3


def test_an_agent_that_tells_one_user_what_another_said_is_noticed(shared_server: ServerProcess) -> None:
    code, report = doctor(shared_server, "--users", "2", "--agent", "gossip", "--any-answer")

    isolation = next(check for check in report["checks"] if check["name"] == "isolation")
    assert (code, isolation["verdict"]) == (1, "failed")
    assert any(
        trouble["detail"].startswith("of others arrived here: canary_message_") for trouble in isolation["troubles"]
    )
    assert set(guests(shared_server)) == {"disabled"}


def test_who_may_not_add_users_is_told_what_is_needed(shared_server: ServerProcess) -> None:
    member = shared_server.add_user("no-admin@example.org")

    done = shared_server.command("doctor", *options(shared_server, member), "--users", "2")

    assert done.returncode == 1
    assert "admin:users" in done.stderr
    assert "administrator" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_check_up_leaves_nobody_who_can_sign_in(
    shared_server: ServerProcess, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cloche",
            "doctor",
            *options(shared_server),
            "--users",
            "2",
            *QUICK,
            "--every",
            "1h",
            "--json",
        ],
        cwd=shared_server.folder,
        env={**shared_server.environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert json.loads(process.stdout.readline())["users"] == 2
        assert "active" in guests(shared_server)
        process.send_signal(number)

        assert process.wait(PATIENCE_S) == code
    assert "active" not in guests(shared_server)


async def test_an_interrupt_while_users_are_being_added_leaves_none_of_them(shared_server: ServerProcess) -> None:
    account = Account(email=shared_server.admin_email, password=PASSWORD)
    block = open_guests(shared_server.url, account, 20)

    async def enter() -> None:
        async with block:
            raise AssertionError("twenty users were added")

    async with signed_in(shared_server.url, shared_server.admin_email) as admin:

        async def active() -> int:
            users = (await admin.http.get("/v1/admin/users?limit=100")).json()["items"]
            return sum(user["email"].endswith("doctor.invalid") and user["status"] == "active" for user in users)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(enter())
            while not await active():
                assert not task.done()
            task.cancel()
            await asyncio.wait({task})

        assert await active() == 0


async def test_users_who_cannot_be_disabled_are_named(server: ServerProcess) -> None:
    account = Account(email=server.admin_email, password=PASSWORD)

    async def lose_the_server() -> None:
        async with open_guests(server.url, account, 1):
            await asyncio.to_thread(server.kill)

    with pytest.raises(UnreachableError, match=r"cloche users disable.*@doctor.invalid"):
        await lose_the_server()


# The repair view


def test_a_server_that_is_well_has_nothing_to_repair(shared_server: ServerProcess) -> None:
    _, report = doctor(shared_server, *QUICK)

    assert report["repairs"] == {"ok": True, "left": [], "repaired": [], "more": False, "trouble": None}


async def test_an_administrator_s_report_is_stored_and_a_member_s_is_not(server: ServerProcess) -> None:
    member = server.add_user("probe@example.org")
    _, report = doctor(server, *QUICK)
    doctor(server, *QUICK, email=member)
    doctor(server, *QUICK, "--repair", email=member)
    _, crowd = doctor(server, *QUICK, "--users", "2")

    async with signed_in(server.url, server.admin_email) as admin:
        items = (await admin.http.get("/v1/admin/checkups")).json()["items"]

    assert [report["not_stored"], crowd["not_stored"]] == [None, None]
    assert [one["users"] for one in items] == [2, 0]
    assert items[1]["by"]["email"] == server.admin_email
    assert items[1]["is_ok"] == report["ok"]
    told = {line["name"]: line["ok"] for line in items[1]["checks"]}
    assert told == {check["name"]: check["verdict"] == "ok" for check in report["checks"]} | {"repairs": True}
    assert [line["name"] for line in items[0]["checks"]] == [one["name"] for one in crowd["checks"]] + ["repairs"]


def test_what_disagrees_is_shown_repaired_and_gone(server: ServerProcess) -> None:
    doctor(server, *QUICK)
    plant(server, "UPDATE runs SET last_seq = 0", "UPDATE executions SET ended_at = NULL, state = 'running'")

    code, seen = doctor(server, *QUICK)
    _, mended = doctor(server, *QUICK, "--repair")
    _, after = doctor(server, *QUICK)

    kinds = sorted({finding["kind"] for finding in seen["repairs"]["left"]})
    assert (code, seen["ok"], kinds) == (1, False, ["execution_open", "run_without_end"])
    assert len(mended["repairs"]["repaired"]) == len(seen["repairs"]["left"]) == 4
    assert [view["repairs"]["left"] for view in (mended, after)] == [[], []]


def test_what_needs_a_person_stays_and_the_exit_code_says_so(server: ServerProcess) -> None:
    doctor(server, *QUICK)
    plant(server, "UPDATE threads SET head_seq = head_seq + 1 WHERE deleted_at IS NULL")

    done = server.command("doctor", *options(server), *QUICK, "--repair")

    assert done.returncode == 1
    assert "log cut short" in done.stdout
    assert "1 finding is left" in done.stdout


def test_a_member_is_shown_no_findings_and_is_well_without_them(shared_server: ServerProcess) -> None:
    member = shared_server.add_user("probe@example.org")

    _, report = doctor(shared_server, *QUICK, email=member)

    assert report["repairs"] is None
    assert {check["verdict"] for check in report["checks"]} <= WELL


def test_a_member_who_would_repair_is_told_what_is_needed(shared_server: ServerProcess) -> None:
    member = shared_server.add_user("mender@example.org")

    code, report = doctor(shared_server, *QUICK, "--repair", email=member)

    assert code == 1
    assert "admin:repairs" in report["repairs"]["trouble"]


def test_findings_are_in_the_metrics(make_server: Callable[..., ServerProcess]) -> None:
    server = make_server()
    server.admin_email = server.add_user("admin@example.org", role="admin")
    server.start()
    metrics = server.folder / "doctor.prom"

    doctor(server, *QUICK)
    plant(server, "UPDATE runs SET last_seq = 0")
    doctor(server, *QUICK, "--users", "2", "--metrics-file", str(metrics))

    text = metrics.read_text()
    assert f'cloche_doctor_findings{{kind="run_without_end",url="{server.url}"}} 2.0' in text
    assert f'cloche_doctor_users{{url="{server.url}"}} 2.0' in text
    assert f'cloche_doctor_ok{{url="{server.url}"}} 0.0' in text
