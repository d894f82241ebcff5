"""The command line against a real server: a conversation at a terminal and in a pipe, and the check-up."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from support.client import signed_in
from support.server_process import CONFIG, PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(60)]

MakeServer = Callable[..., ServerProcess]
PATIENCE_S = 20.0
WITH_APPROVAL = CONFIG.replace("[tools.note]\n", "[tools.note]\nneeds_approval = true\n")


class Terminal:
    """A program at a terminal of its own, and what it has written there."""

    def __init__(self, server: ServerProcess, *arguments: str) -> None:
        self._own, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloche", *arguments],
            cwd=server.folder,
            env={**server.environment(), "TERM": "dumb", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""
        self._seen = 0

    def until(self, pattern: str) -> re.Match[str]:
        """The next match after the last one, as soon as it is there."""
        end = time.monotonic() + PATIENCE_S
        while (found := re.compile(pattern).search(self.shown, self._seen)) is None:
            ready, _, _ = select.select([self._own], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{pattern!r} is not in {self.shown[self._seen :]!r}"
            self.shown += self._read()
        self._seen = found.end()
        return found

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Everything is read, and the program has ended; its exit code."""
        while part := self._read():
            self.shown += part
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._own)

    def _read(self) -> str:
        try:
            return os.read(self._own, 65_536).decode("utf-8", "replace")
        except OSError:  # how Linux says that nobody holds the other side
            return ""


@pytest.fixture
def sit_down() -> Generator[Callable[..., Terminal]]:
    """Starts ``cloche chat`` of the administrator at a terminal, up to its prompt."""
    made: list[Terminal] = []

    def start(server: ServerProcess, *arguments: str, until: str = "you> ") -> Terminal:
        terminal = Terminal(server, "chat", *sign_in(server), *arguments)
        made.append(terminal)
        terminal.until(until)
        return terminal

    yield start
    for terminal in made:
        terminal.close()


def sign_in(server: ServerProcess) -> list[str]:
    file = server.folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    return ["--url", server.url, "--email", server.admin_email, "--password-file", str(file)]


def pipe(server: ServerProcess, lines: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return server.command("chat", *sign_in(server), *arguments, text=lines)


# A pipe


def test_each_line_of_a_pipe_is_a_message_and_answers_are_plain(shared_server: ServerProcess) -> None:
    done = pipe(shared_server, "one\n\ntwo", "--agent", "echo")

    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo\n", "")


def test_a_run_that_fails_in_a_pipe_is_told_and_gives_exit_code_1(shared_server: ServerProcess) -> None:
    done = pipe(shared_server, "one\n", "--agent", "raises")

    assert (done.returncode, done.stdout) == (1, "")
    assert "(agent_failed)" in done.stderr
    assert "a secret text" not in done.stderr


def test_a_message_that_cannot_be_sent_is_told(shared_server: ServerProcess) -> None:
    too_long, no_agent = pipe(shared_server, "x" * 70_000), pipe(shared_server, "one\n", "--agent", "nobody")

    assert (too_long.returncode, no_agent.returncode) == (1, 1)
    assert "at most 60000" in too_long.stderr
    assert "no such agent" in no_agent.stderr


def test_nobody_can_be_asked_in_a_pipe_so_an_approval_is_denied(make_server: MakeServer) -> None:
    server = make_server(config=WITH_APPROVAL)
    server.admin_email = server.add_user("admin@example.org", role="admin")
    server.start()

    done = pipe(server, "delete it\n")

    assert "denied" in done.stderr
    assert server.lines() == []


def test_a_wrong_password_is_one_line(shared_server: ServerProcess) -> None:
    done = shared_server.command(
        "chat", "--url", shared_server.url, "--email", "eve@example.org", "--password-stdin", text="not hers at all\n"
    )

    assert done.returncode == 1
    assert done.stderr == "cloche: the e-mail address or the password is wrong (not_authenticated)\n"


def test_a_thread_that_is_not_there_ends_the_conversation(shared_server: ServerProcess) -> None:
    done = pipe(shared_server, "one\n", "--thread", "thread_01m7yzybb8eka83hx8yp2w1wg1")

    assert done.returncode == 1
    assert "no such thread" in done.stderr


# A terminal


def test_a_run_is_shown_as_it_happens(shared_server: ServerProcess, sit_down: Callable[..., Terminal]) -> None:
    terminal = sit_down(shared_server, "--agent", "assistant")

    terminal.type("What time is it?\n")
    terminal.until("assistant · scripted:demo")
    terminal.until("I call the tool clock")
    terminal.until("⚙ clock {")
    terminal.until(r"✓ clock \d+ ms → ")
    terminal.until("The tool clock answered")
    terminal.until(r"done in .* 1 tool call")
    terminal.until("you> ")
    terminal.type("\x04")

    assert terminal.end() == 0
    assert "Go on with: cloche chat" in terminal.shown


def test_a_thread_is_gone_on_with(shared_server: ServerProcess, sit_down: Callable[..., Terminal]) -> None:
    first = sit_down(shared_server, "--agent", "echo")
    first.type("the word is plover\n")
    first.until("done in")
    first.until("you> ")
    first.type("\x04")
    thread = first.until(r"--thread (thread_\w{26})")[1]
    first.end()

    again = sit_down(shared_server, "--thread", thread, "--agent", "echo", until="you: the word is plover")

    again.until("the word is plover")
    again.until("you> ")


def test_an_interrupt_stops_the_run_and_the_next_one_leaves(
    shared_server: ServerProcess, sit_down: Callable[..., Terminal]
) -> None:
    terminal = sit_down(shared_server, "--agent", "endless")

    terminal.type("go\n")
    terminal.until("on and on")
    terminal.interrupt()
    terminal.until("cancelled: ")
    terminal.until("you> ")
    terminal.interrupt()

    assert terminal.end() == 130


def test_an_approval_is_asked_for_in_place(make_server: MakeServer, sit_down: Callable[..., Terminal]) -> None:
    server = make_server(config=WITH_APPROVAL)
    server.admin_email = server.add_user("admin@example.org", role="admin")
    server.start()
    terminal = sit_down(server)

    terminal.type("write this\n")
    terminal.until("yes or no")
    terminal.type("perhaps\n")
    terminal.until("answer y or n")
    terminal.until("yes or no")
    terminal.type("y\n")
    terminal.until("approved")
    terminal.until("noted 1")
    terminal.until("you> ")

    assert server.lines() == ["write this"]


def test_a_killed_server_is_come_back_to_and_nothing_is_missed(
    server: ServerProcess, sit_down: Callable[..., Terminal]
) -> None:
    terminal = sit_down(server)
    terminal.type("go\n")
    terminal.until("3 4 5 ")

    server.kill()
    terminal.until("not connected")
    server.start()

    terminal.until("reconnected, nothing missed")
    terminal.until("the text above is void")
    terminal.until("0 1 2 .* 39 noted 1")
    terminal.until("you> ")
    assert server.lines() == ["go"]


def test_a_person_who_is_kept_out_is_told_why_the_conversation_ends(
    server: ServerProcess, sit_down: Callable[..., Terminal]
) -> None:
    server.add_user("other@example.org", role="admin")
    terminal = sit_down(server, "--agent", "echo")
    terminal.type("hello\n")
    terminal.until("done in")
    terminal.until("you> ")

    server.command("users", "disable", server.admin_email, "--data", str(server.data))
    terminal.type("still here?\n")

    terminal.until("the server ended the connection for good")
    assert terminal.end() == 1


# The check-up


def test_a_healthy_server_is_found_well_and_nothing_is_left_there(shared_server: ServerProcess) -> None:
    done = shared_server.command("doctor", *sign_in(shared_server), "--agent", "assistant", "--json")

    report = json.loads(done.stdout)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    # A busy machine may be slow; nothing may be wrong.
    assert set(verdicts.values()) <= {"ok", "slow"}, report
    assert {"sign_in", "first_event", "events_in_order", "delivery_p95", "resume", "foreign_thread"} <= set(verdicts)
    assert done.returncode == int("slow" in verdicts.values())


async def test_the_check_up_signs_out_and_archives(shared_server: ServerProcess) -> None:
    email = shared_server.add_user("patient@example.org")

    shared_server.command(
        "doctor", "--url", shared_server.url, "--email", email, "--password-stdin", "--any-answer", text=PASSWORD
    )

    async with signed_in(shared_server.url, email) as person:
        threads = (await person.http.get("/v1/threads")).json()["items"]
        archived = (await person.http.get("/v1/threads?archived=true")).json()["items"]
        sessions = (await person.http.get("/v1/sessions")).json()["items"]
    assert threads == []
    assert [thread["title"] for thread in archived] == ["cloche doctor"]
    assert len(sessions) == 1


def test_an_agent_that_shows_no_thinking_is_not_well_unless_any_answer_will_do(shared_server: ServerProcess) -> None:
    arguments = ("doctor", *sign_in(shared_server), "--agent", "echo", "--json")

    strict, lenient = shared_server.command(*arguments), shared_server.command(*arguments, "--any-answer")

    def verdict(done: subprocess.CompletedProcess[str]) -> str:
        checks = json.loads(done.stdout)["checks"]
        return next(check["verdict"] for check in checks if check["name"] == "events_in_order")

    assert (strict.returncode, verdict(strict), verdict(lenient)) == (1, "failed", "ok")


def test_a_check_up_without_credentials_says_how_to_give_them(shared_server: ServerProcess) -> None:
    done = shared_server.command("doctor", "--url", shared_server.url)

    assert done.returncode == 1
    assert "--email" in done.stdout
    assert "--password-stdin" in done.stdout


def test_a_server_that_is_not_there_is_not_well(tmp_path: Path, make_server: MakeServer) -> None:
    metrics = tmp_path / "doctor.prom"

    done = make_server().command("doctor", "--url", "http://127.0.0.1:1", "--metrics-file", str(metrics))

    assert done.returncode == 1
    assert "nobody answers" in done.stdout
    assert 'cloche_doctor_check_ok{check="health",url="http://127.0.0.1:1"} 0.0' in metrics.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ""] == ["doctor.prom"]


def test_a_repeated_check_up_ends_with_an_interrupt(shared_server: ServerProcess) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cloche", "doctor", "--url", shared_server.url, "--json", "--every", "1s"],
        cwd=shared_server.folder,
        env={**shared_server.environment(), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        rounds = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)

        assert process.wait(PATIENCE_S) == 130
    assert [one["ok"] for one in rounds] == [False, False]


# The first administrator


def test_the_link_of_a_new_server_makes_its_administrator(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    secret = server.wait_for(r"#setup=(\S+)")[1]
    link = f"{server.url}/#setup={secret}"

    made = server.command("setup", link, "--email", "ada@example.org", "--password-stdin", text=PASSWORD)
    again = server.command("setup", link, "--email", "eve@example.org", "--password-stdin", text=PASSWORD)

    assert (made.returncode, again.returncode) == (0, 1), made.stderr
    assert "not_authenticated" in again.stderr
    assert "ada@example.org" in server.command("users", "list", "--data", str(server.data)).stdout
