"""What the documents say is so: pages follow the code, links lead somewhere, and what they tell to type works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from support.client import signed_in
from support.server_process import ServerProcess
from typer.core import TyperCommand, TyperGroup

from cloche.api.wire.frames import OPERATIONS, Notice
from cloche.cli.main import app as command_line
from cloche.domain.events import EVENTS
from cloche.domain.permissions import Permission
from cloche.errors import ClocheError
from cloche.settings import Settings
from cloche.telemetry import LogEvent

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
TUTORIAL = DOCS / "tutorial" / "first-agent.md"

_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_NAMED_FILE = re.compile(r"`(?P<name>[\w.]+)`[^\n`]*:\n\n```\w+\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_NODE = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>\w+)`")
_TARGET = re.compile(r"`make (?P<target>[a-z-]+)")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def anchors(path: Path) -> set[str]:
    """What the headings of the page are called in an address."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", read(path)), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(kept.replace(" ", "-"))
    return found


def blocks(path: Path, language: str) -> list[str]:
    return [fence["body"] for fence in _FENCE.finditer(read(path)) if fence["language"] == language]


def subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


@pytest.mark.slow
def test_the_generated_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_page_that_says_something_else_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, 'scripts'); import docs; "
        "docs.PAGES = {'states.md': docs.states_page, 'errors.md': docs.errors_page}; docs.ROOT = pathlib.Path(sys.argv[1]); "
        "print('\\n'.join(docs.differences(docs.ROOT)))"
    )
    (tmp_path / "states.md").write_text("# Other states\n")

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout.splitlines() == ["states.md is not what the code says", "errors.md is missing"]


def test_everything_that_can_be_set_or_happen_has_its_place() -> None:
    wanted = {
        "settings.md": [f"`{key}`" for section in sections() for key in section.model_fields if is_value(section, key)],
        "events.md": [f"### `{event.type}`" for event in EVENTS],
        "errors.md": [f"### `{kind.code}`\n" for kind in (ClocheError, *subclasses(ClocheError)) if is_ours(kind)],
        "permissions.md": [f"| `{permission}` |" for permission in Permission],
        "metrics.md": [f"- `{event}`" for event in LogEvent],
        "cli.md": [f"## `cloche {' '.join(words)}`\n" for words in commands(typer.main.get_group(command_line))],
        "websocket.md": [
            *(f"| `{kind.__struct_config__.tag}` |" for kind in OPERATIONS),
            *(f"| `{kind.__struct_config__.tag}` |" for kind in Notice.__subclasses__()),  # type: ignore[attr-defined]
        ],
    }

    missing = [
        f"{page}: {text!r}" for page, texts in wanted.items() for text in texts if text not in read(REFERENCE / page)
    ]

    assert missing == []


def sections() -> list:
    found = [Settings]
    for field in Settings.model_fields.values():
        inner = getattr(field.annotation, "__args__", (None, field.annotation))[-1]
        if hasattr(inner, "model_fields"):
            found.append(inner)
    return found


def is_value(section: type, key: str) -> bool:
    return section.model_fields[key].description is not None  # type: ignore[attr-defined]


def is_ours(kind: type) -> bool:
    return kind.__module__ == "cloche.errors"


def commands(group: TyperGroup, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], TyperCommand]:
    found: dict[tuple[str, ...], TyperCommand] = {}
    for name, inner in group.commands.items():
        if isinstance(inner, TyperGroup):
            found |= commands(inner, (*words, name))
        elif isinstance(inner, TyperCommand):
            found[(*words, name)] = inner
    return found


def test_every_link_inside_the_repository_leads_somewhere() -> None:
    broken: list[str] = []
    for page in pages():
        for link in _LINK.finditer(_FENCE.sub("", read(page))):
            address, _, anchor = link["target"].partition("#")
            if "://" in address:
                continue
            target = (page.parent / address).resolve() if address else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link['target']}")

    assert broken == []


def test_every_page_can_be_reached_from_the_first_one() -> None:
    waiting, reached = [ROOT / "README.md"], set[Path]()
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in _LINK.finditer(read(page)):
            target = (page.parent / link["target"].partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)

    assert [str(page.relative_to(ROOT)) for page in pages() if page.is_relative_to(DOCS) and page not in reached] == []


@pytest.mark.parametrize("page", ["README.md", "docs/reference/components.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = list(_NODE.finditer(read(ROOT / page)))

    missing = [node[0] for node in named if not has_test(ROOT / node["file"], node["test"])]

    assert named
    assert missing == []


def has_test(file: Path, test: str) -> bool:
    return file.is_file() and re.search(rf"^(?:async )?def {test}\(", read(file), re.MULTILINE) is not None


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))

    missing = {
        f"{page.relative_to(ROOT)}: {named['target']}"
        for page in pages()
        for named in _TARGET.finditer(read(page))
        if named["target"] not in targets
    }

    assert missing == set()


def test_every_command_that_a_page_tells_to_type_is_understood() -> None:
    known = commands(typer.main.get_group(command_line))
    wrong: list[str] = []
    for page in pages():
        typed = [line.strip() for block in blocks(page, "sh") for line in block.splitlines()]
        for line in typed:
            words = shlex.split(line, comments=True)
            if words and words[0].endswith("bin/cloche") and not is_understood(words[1:], known):
                wrong.append(f"{page.relative_to(ROOT)}: {line}")

    assert wrong == []


def is_understood(words: list[str], known: dict[tuple[str, ...], TyperCommand]) -> bool:
    """Whether there is such a command, and it has all of these options."""
    command = next((known[tuple(words[:length])] for length in (1, 2) if tuple(words[:length]) in known), None)
    if command is None:
        return False
    options = {name for parameter in command.params for name in parameter.opts}
    return all(word in options for word in words if word.startswith("--"))


def test_decisions_fit_on_a_page_and_say_what_would_prove_them_wrong() -> None:
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))

    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for record in records:
        text = read(record)
        assert len(text.splitlines()) <= 60, record.name
        for heading in ("## Context", "## Decision", "## Consequences", "## What would prove it wrong"):
            assert heading in text, f"{record.name}: {heading}"


# What the tutorial and the README tell to write and to type


def written(page: Path, folder: Path) -> list[str]:
    """The files that the page tells to write, in the folder."""
    found = {match["name"]: match["body"] for match in _NAMED_FILE.finditer(read(page))}
    for name, body in found.items():
        (folder / name).write_text(body, encoding="utf-8")
    return list(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def server(folder: Path) -> Generator[ServerProcess]:
    """A server in the folder, whose settings a test writes before it starts it."""
    made = ServerProcess(folder)
    yield made
    if made.process is not None:
        made.stop()


EMAIL = "you@example.org"


@pytest.mark.slow
@pytest.mark.system
async def test_the_tutorial_works_as_it_is_written(server: ServerProcess, folder: Path) -> None:
    assert written(TUTORIAL, folder) == ["garden.py", "cloche.toml"]
    server.add_user(EMAIL, role="admin")
    server.start()

    async with signed_in(server.url, EMAIL) as person, person.live() as live:
        thread = (await person.http.post("/v1/threads", json={})).json()["id"]
        await live.ask("subscribe", thread_id=thread)
        warm = await live.ask("send", thread_id=thread, text="Lisbon", client_message_id="1")
        assert said(await live.until(warm["run_id"]))[-1] == "Your plants need nothing."

        cold = await live.ask("send", thread_id=thread, text="Berlin", client_message_id="2")
        asked = await live.until(cold["run_id"], "approval_requested")
        await live.ask("decide", approval_id=asked[-1]["data"]["approval_id"], decision="deny")
        assert said(await live.until(cold["run_id"]))[-1].startswith(
            "I did not cover your plants: the approval was denied"
        )

        again = await live.ask("send", thread_id=thread, text="Berlin", client_message_id="3")
        asked = await live.until(again["run_id"], "approval_requested")
        await live.ask("decide", approval_id=asked[-1]["data"]["approval_id"], decision="approve")
        executing = await live.until(again["run_id"], "tool_executing", "agent_failed")
        while executing[-1]["data"].get("tool") != "cover_plants":
            await live.frame()
            executing = [event for event in live.events if event["run_id"] == again["run_id"]]
        head = live.events[-1]["seq"]
        server.kill()

    server.start()
    async with signed_in(server.url, EMAIL) as person, person.live() as live:
        await live.ask("subscribe", thread_id=thread, after=head)
        rest = await live.until(again["run_id"])

    assert [event["type"] for event in rest].count("approval_requested") == 0
    assert said(rest)[-1].startswith("I did not cover your plants: the server stopped while cover_plants was running")


def said(events: list[dict]) -> list[str]:
    return [event["data"]["parts"][0]["text"] for event in events if event["type"] == "message_completed"]


@pytest.mark.slow
@pytest.mark.system
async def test_the_agent_of_the_readme_works_as_it_is_written(server: ServerProcess, folder: Path) -> None:
    assert written(ROOT / "README.md", folder) == ["greeter.py", "cloche.toml"]
    server.add_user(EMAIL)
    server.start()

    async with signed_in(server.url, EMAIL) as person, person.live() as live:
        thread = (await person.http.post("/v1/threads", json={})).json()["id"]
        await live.ask("subscribe", thread_id=thread)
        sent = await live.ask("send", thread_id=thread, text="fern", client_message_id="1")
        events = await live.until(sent["run_id"])

    assert said(events) == ["Hello, F-E-R-N!"]


@pytest.mark.slow
def test_the_pydantic_ai_agent_of_the_how_to_is_loaded(folder: Path) -> None:
    page = DOCS / "how-to" / "bring-a-pydantic-ai-agent.md"
    server = ServerProcess(folder)

    names = written(page, folder)
    with (folder / "helpers.py").open("a", encoding="utf-8") as file:
        file.write(blocks(page, "python")[1])
    done = server.command("check-config")

    assert names == ["helpers.py", "cloche.toml"]
    assert done.returncode == 0, done.stderr
    assert 'use = "helpers:helper"' in done.stdout
