"""What the documents say is so: pages follow the code, links lead somewhere, and what they tell to type works."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import msgspec
import pytest
import typer.main
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.toolsets import FunctionToolset
from typer.core import TyperCommand, TyperGroup

from cloche.agents.author_tools import author_tool_spec
from cloche.agents.function import AgentFunction
from cloche.agents.model_agents import ModelAgents
from cloche.agents.registry import load_object
from cloche.api.wire.frames import OPERATIONS, Notice
from cloche.catalogue import make_agents, make_tools
from cloche.cli.main import app as command_line
from cloche.clock import SystemClock
from cloche.domain.approvals import ApprovalDecision
from cloche.domain.event_order import decoded
from cloche.domain.events import EVENTS, ApprovalRequested, Envelope, MessageCompleted
from cloche.domain.permissions import Permission
from cloche.domain.scope import Scope
from cloche.domain.tools import Effect
from cloche.errors import ClocheError, InvalidInputError
from cloche.execution.intake import Accepted
from cloche.ids import ApprovalId
from cloche.settings import Settings, load
from cloche.telemetry import LogEvent
from cloche.tools.tool import Tool
from support.payments import payments
from support.world import World, opened_world, working

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
TUTORIAL = DOCS / "tutorial" / "first-agent.md"

_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_NAMED_FILE = re.compile(r"`(?P<name>\w+\.\w+)`[^\n`]*:\n\n```\w+\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
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
def test_a_page_that_says_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("docs_generator", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    monkeypatch.setattr(generator, "PAGES", {"states.md": generator.states_page, "errors.md": generator.errors_page})
    (tmp_path / "states.md").write_text("# Other states\n")

    found = generator.differences(tmp_path)

    assert found == ["states.md is not what the code says", "errors.md is missing"]


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


def sections() -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [Settings]
    for field in Settings.model_fields.values():
        inner = getattr(field.annotation, "__args__", (None, field.annotation))[-1]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found.append(inner)
    return found


def is_value(section: type[BaseModel], key: str) -> bool:
    return section.model_fields[key].description is not None


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


def test_every_part_of_the_program_that_a_page_names_exists() -> None:
    named = {
        (page.relative_to(ROOT), name)
        for page in pages()
        if page.is_relative_to(DOCS)
        for name in re.findall(r"`(cloche(?:\.\w+)+)`", read(page))
        if name.rpartition(".")[2] not in {"db", "toml", "v1", "lock"}
    }

    assert named
    assert {f"{page}: {name}" for page, name in named if not is_there(name)} == set()


def is_there(name: str) -> bool:
    """Whether the dotted name leads to a module, or to something in one."""
    found: object = importlib.import_module("cloche")
    path = "cloche"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        if not hasattr(found, part) and importlib.util.find_spec(path) is None:
            return False
        found = getattr(found, part, None) or importlib.import_module(path)
    return True


def test_every_metric_that_a_page_names_is_served() -> None:
    served = set(re.findall(r"^\| `(cloche_\w+)` \|", read(REFERENCE / "metrics.md"), re.MULTILINE))

    named = {name for page in pages() for name in re.findall(r"\b(cloche_\w+?)(?=[\[{`) ])", read(page))}

    assert served
    assert {name for name in named - served if name not in {"cloche_id"}} == set()


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


# What the pages tell to write


@dataclass(frozen=True)
class Taught:
    """The default agent and the tools of a page's settings, loaded from the page's own files."""

    agent: AgentFunction
    tools: dict[str, Tool]

    def add_to(self, world: World) -> None:
        world.programs.add("agent", self.agent, tools=self.tools)


def write_files(page: Path, folder: Path, changes: Mapping[str, str] | None = None) -> list[str]:
    """The files that the page tells to write are in the folder, with these texts in place of others."""
    text = read(page)
    for old, wanted in (changes or {}).items():
        text = text.replace(old, wanted)
    found = {match["name"]: match["body"] for match in _NAMED_FILE.finditer(text)}
    for name, body in found.items():
        (folder / name).write_text(body, encoding="utf-8")
    return list(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The present folder, whose modules can be imported and are forgotten afterwards."""
    made = tmp_path / "place"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if (made / f"{name}.py").exists():
            del sys.modules[name]


def taught(page: Path, folder: Path, changes: Mapping[str, str] | None = None) -> Taught:
    write_files(page, folder, changes)
    settings, _ = load(None)
    tools = make_tools(settings, {}, folder)
    entry = settings.agents[settings.default_agent]
    agent = cast("AgentFunction", load_object(entry.use, str(page)))
    return Taught(agent, {name: tools[name] for name in entry.tools})


@pytest.fixture
def gardener(folder: Path) -> Taught:
    return taught(TUTORIAL, folder)


@pytest.fixture
def greeter(folder: Path) -> Taught:
    return taught(ROOT / "README.md", folder)


def said(events: list[Envelope]) -> list[str]:
    found = [decoded(event) for event in events]
    return [one.parts[0].text for one in found if isinstance(one, MessageCompleted)]


@pytest.mark.slow
async def test_the_agent_of_the_readme_greets(greeter: Taught, world: World) -> None:
    greeter.add_to(world)
    scope = await world.person()

    events = await world.until(scope, await world.send(scope, "fern"))

    assert said(events) == ["Hello, F-E-R-N!"]


@pytest.mark.slow
async def test_the_gardener_of_the_tutorial_leaves_warm_plants_alone(gardener: Taught, world: World) -> None:
    gardener.add_to(world)
    scope = await world.person()

    events = await world.until(scope, await world.send(scope, "Lisbon"))

    assert said(events) == ["The coldest night in Lisbon will have 9 °C.", "Your plants need nothing."]


async def approve(world: World, scope: Scope, accepted: Accepted, decision: ApprovalDecision) -> None:
    asked = decoded((await world.until(scope, accepted, "approval_requested"))[-1])
    assert isinstance(asked, ApprovalRequested)
    await world.decisions.decide(scope, ApprovalId(asked.approval_id), decision)


@pytest.mark.slow
async def test_the_gardener_takes_no_for_an_answer(gardener: Taught, world: World) -> None:
    gardener.add_to(world)
    scope = await world.person()

    accepted = await world.send(scope, "Berlin")
    await approve(world, scope, accepted, ApprovalDecision.DENY)

    assert said(await world.until(scope, accepted))[-1].startswith(
        "I did not cover your plants: the approval was denied"
    )


@pytest.mark.slow
async def test_after_the_crash_of_the_tutorial_nothing_is_done_twice_in_silence(
    gardener: Taught, database_path: Path
) -> None:
    async with opened_world(database_path) as world:
        gardener.add_to(world)
        scope = await world.person()
        async with working(world):
            accepted = await world.send(scope, "Berlin")
            await approve(world, scope, accepted, ApprovalDecision.APPROVE)
            # The first call is that of the other tool.
            await world.until(scope, accepted, "tool_executing", count=2)
    async with opened_world(database_path) as world:
        gardener.add_to(world)
        await world.recovery.recover_all()
        async with working(world):
            events = await world.until(scope, accepted)

    assert [event.type for event in events].count("approval_requested") == 1
    assert said(events)[-1].startswith("I did not cover your plants: the server stopped while cover_plants was running")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (None, "Sent: Paid back 800 for A 17."),
        ("Dear friend", "Sent: Dear friend"),
        ("", "Paid, and no letter was sent: it was denied."),
    ],
)
async def test_the_clerk_of_the_how_to_asks_twice_and_does_what_is_said(
    folder: Path, world: World, text: str | None, answer: str
) -> None:
    page = DOCS / "how-to" / "ask-a-person.md"
    (await asyncio.to_thread(taught, page, folder)).add_to(world)
    (body,) = await asyncio.to_thread(blocks, page, "json")
    scope = await world.person()
    accepted = await world.send(scope, "A 17")

    async def asked(count: int) -> ApprovalId:
        requested = decoded((await world.until(scope, accepted, "approval_requested", count=count))[-1])
        assert isinstance(requested, ApprovalRequested)
        return ApprovalId(requested.approval_id)

    said_of_it = msgspec.json.decode(body)
    decision = ApprovalDecision(said_of_it["decision"])
    await world.decisions.decide(scope, await asked(1), decision, arguments=said_of_it["arguments"])
    letter = await asked(2)
    with pytest.raises(InvalidInputError, match=r"\$\.arguments\.text"):
        await world.decisions.decide(scope, letter, ApprovalDecision.APPROVE, arguments={"text": ""})
    edited = None if not text else {"text": text}
    decision = ApprovalDecision.DENY if text == "" else ApprovalDecision.APPROVE
    await world.decisions.decide(scope, letter, decision, arguments=edited)

    assert said(await world.until(scope, accepted)) == [answer]


@pytest.mark.slow
async def test_the_payer_of_the_how_to_pays_once(folder: Path, database_path: Path) -> None:
    page = DOCS / "how-to" / "call-another-system-once.md"
    async with payments() as outside:
        changes = {"http://127.0.0.1:9000/payments": outside.url}
        payer = await asyncio.to_thread(taught, page, folder, changes)
        async with opened_world(database_path) as world, working(world):
            payer.add_to(world)
            scope = await world.person()
            accepted = await world.send(scope)
            async with asyncio.timeout(10):
                await outside.paid.wait()
        async with opened_world(database_path) as world:
            payer.add_to(world)
            await world.recovery.recover_all()
            async with working(world):
                events = await world.until(scope, accepted)

    assert said(events) == ["receipt 1"]
    assert (len(outside.keys), len(outside.taken)) == (2, 1)


def test_the_pydantic_ai_agent_of_the_how_to_is_loaded(folder: Path, clock: SystemClock) -> None:
    page = DOCS / "how-to" / "bring-a-pydantic-ai-agent.md"
    write_files(page, folder)
    with (folder / "helpers.py").open("a", encoding="utf-8") as file:
        file.write(blocks(page, "python")[1])
    settings, _ = load(None)

    made = make_agents(settings, ModelAgents(AsyncExitStack(), clock), folder)

    assert settings.default_agent in [agent.spec.name for agent in made]
    helper = load_object(settings.agents["helper"].use, str(page))
    assert isinstance(helper, Agent)
    (own,) = [toolset for toolset in helper.toolsets if isinstance(toolset, FunctionToolset)]
    assert author_tool_spec("shout", own.tools["shout"].tool_def).effect is Effect.NONE
