"""The program keeps the rules of the house, and each rule can tell when it does not."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from house_rules import inert, names, prose, repository, structure
from house_rules.source import ROOT, SRC, Source, read_repository, read_source, sample

# Each of these lists only shrinks; a name more needs a reason beside it.
ALLOWED_NAMES = {
    "cloche.auth.attempts.base_exceptions": "the name that the library `limits` calls",
    "cloche.api.wire.strict_json.real": "a real number, as against a whole one",
    "cloche.domain.event_order._check_data": "`data` is the envelope's field on the wire",
    "cloche.domain.events.EventData": "`data` is the envelope's field on the wire",
    "cloche.ids.new": "RunId.new() is an id that nobody has had, beside RunId.parse()",
    "cloche.telemetry.info": "the level of a log line",
}
ALLOWED_TWICE: dict[str, str] = {}
ALLOWED_UNREACHED: dict[str, str] = {}
LONG_FILES: dict[str, tuple[int, str]] = {}
SUPPRESSION_CEILING = 20
SYSTEM_SCOPE_CEILING = 12

# One interface, several engines: the same name on each side is the design.
BACKENDS = (
    frozenset({"cloche.storage.sqlite", "cloche.storage.postgres"}),
    frozenset({"cloche.bus.local", "cloche.bus.nats"}),
)
# The migration tool finds these by their folder and runs them itself; every version has the same two functions.
MIGRATIONS = "cloche.storage.migrations."
RUN_BY_THE_MIGRATION_TOOL = (f"{MIGRATIONS}env", f"{MIGRATIONS}versions.")
# The test kit and its contract suites are imported by tests, ours and other people's.
TEST_KIT = "cloche.testing"

SOURCES = read_source()
FILES = read_repository()


def is_run_by_the_migration_tool(source: Source) -> bool:
    return source.module.startswith(RUN_BY_THE_MIGRATION_TOOL)


def is_test_kit(source: Source) -> bool:
    return f"{source.module}.".startswith(f"{TEST_KIT}.")


PROGRAM = [source for source in SOURCES if not is_run_by_the_migration_tool(source)]
PRODUCT = [source for source in SOURCES if not is_test_kit(source)]


def violations(rule: Callable[[Source], list[str]], sources: list[Source]) -> list[str]:
    return [complaint for source in sources for complaint in rule(source)]


def expect_none(found: list[str]) -> None:
    if found:
        pytest.fail("\n".join([f"{len(found)} found:", *found]), pytrace=False)


def entry_points() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {target.partition(":")[0] for group in groups for target in group.values()}


def test_there_is_something_to_check() -> None:
    assert {"cloche", "cloche.__main__", "cloche.domain"} <= {source.module for source in SOURCES}
    assert {"pyproject.toml", "tests/test_house_rules.py"} <= set(FILES)


# Names


def test_names_say_something() -> None:
    defined = {f"{source.module}.{node.name}" for source in SOURCES for node in source.definitions}
    assert set(ALLOWED_NAMES) <= defined | {source.module for source in SOURCES}
    expect_none(violations(lambda source: names.refused_names(source, ALLOWED_NAMES), PROGRAM))


@pytest.mark.parametrize(
    "text",
    [
        "class RunManager: ...",
        "class HTTPUtils: ...",
        "class BaseModel(Model): ...",
        "class EventHandler: ...",
        "def new_run(): ...",
        "async def load_data(): ...",
        "class Run:\n    def _legacy_id(self): ...",
        "class RunV2: ...",
    ],
)
def test_a_name_that_says_nothing_is_noticed(text: str) -> None:
    assert names.refused_names(sample(text), {})


def test_a_module_whose_name_says_nothing_is_noticed() -> None:
    assert names.refused_names(sample("", module="cloche.domain.run_utils"), {})


@pytest.mark.parametrize(
    "text",
    [
        "class ExecutionContext: ...",
        "class Base(ABC): ...",
        "def error_handler(): ...",
        "class Run:\n    def __new__(cls): ...",
        "def finalize(): ...",
        "def is_valid_id_format_compatible(): ...",
    ],
)
def test_a_name_that_only_looks_refused_is_left_alone(text: str) -> None:
    assert not names.refused_names(sample(text), {})


def test_a_public_name_is_defined_once() -> None:
    expect_none(names.defined_twice(PROGRAM, BACKENDS, ALLOWED_TWICE))


def test_a_second_definition_is_noticed_unless_it_is_a_sibling_engine() -> None:
    once, again = sample("class Run: ...", "cloche.domain.runs"), sample("class Run: ...", "cloche.execution.runs")
    engines = [sample("class Bus: ...", "cloche.bus.local"), sample("class Bus: ...", "cloche.bus.nats.bus")]

    assert names.defined_twice([once, again], BACKENDS, {}) == [
        "Run is defined in cloche.domain.runs and in cloche.execution.runs"
    ]
    assert names.defined_twice(engines, BACKENDS, {}) == []
    assert names.defined_twice([*engines, sample("class Bus: ...", "cloche.bus")], BACKENDS, {})


def test_the_product_does_not_know_of_tests() -> None:
    expect_none(violations(names.testing_words, PRODUCT))


@pytest.mark.parametrize("text", ["import pytest", "if is_test: ...", "class MockModel: ...", "x = {'bypass_auth': 1}"])
def test_a_program_that_knows_of_tests_is_noticed(text: str) -> None:
    assert names.testing_words(sample(text))


# Structure


def test_every_module_is_reached() -> None:
    roots = {"cloche.app", "cloche.cli", "cloche.__main__", TEST_KIT} | entry_points()
    roots |= {source.module for source in SOURCES if is_test_kit(source) or is_run_by_the_migration_tool(source)}
    expect_none(structure.unreachable(SOURCES, sorted(roots), ALLOWED_UNREACHED))


def test_a_module_that_nothing_imports_is_noticed() -> None:
    modules = [
        sample("from cloche.domain import runs", "cloche.app"),
        sample("", "cloche.domain", is_package=True),
        sample("", "cloche.domain.runs"),
        sample("from cloche.domain import runs", "cloche.domain.forgotten"),
    ]

    assert structure.unreachable(modules, ["cloche.app"], {}) == ["cloche.domain.forgotten is reached from nowhere"]
    assert structure.unreachable(modules, ["cloche.app"], {"cloche.domain.forgotten": "a reason"}) == []
    assert structure.unreachable([], ["cloche.app"], {}) == [
        "cloche.app is named as a root, but there is no such module"
    ]


def test_no_module_only_passes_on() -> None:
    expect_none(violations(structure.only_passes_on, PROGRAM))


@pytest.mark.parametrize(
    "text",
    [
        "from cloche.domain.runs import Run",
        '"""Runs."""\nfrom cloche.domain.runs import Run\n__all__ = ["Run"]',
        "from cloche.domain import runs\nRun = runs.Run",
    ],
)
def test_a_module_that_only_passes_on_is_noticed(text: str) -> None:
    assert structure.only_passes_on(sample(text))
    assert not structure.only_passes_on(sample(text, is_package=True))
    assert not structure.only_passes_on(sample(f"{text}\ndef follow(): ..."))


def test_packages_hold_no_logic() -> None:
    expect_none(violations(structure.logic_in_package, SOURCES))


@pytest.mark.parametrize("text", ["def follow(): ...", "register()", "registry = {}"])
def test_logic_in_a_package_is_noticed(text: str) -> None:
    assert structure.logic_in_package(sample(text, is_package=True))


def test_nothing_is_too_big() -> None:
    expect_none(violations(structure.too_big, PROGRAM))


@pytest.mark.parametrize(
    "text",
    [
        "def follow():\n" + "    step()\n" * 60,
        "def follow(a, b, c, d, e, f): ...",
        "class Hub:\n" + "".join(f"    def follow_{n}(self): ...\n" for n in range(16)),
        "class Log(typing.Protocol[T]):\n" + "".join(f"    async def read_{n}(self): ...\n" for n in range(8)),
    ],
)
def test_what_is_too_big_is_noticed(text: str) -> None:
    assert structure.too_big(sample(text))


def test_docstrings_privates_and_named_arguments_do_not_make_a_thing_big() -> None:
    text = 'class Hub:\n    def follow(self, a, b, c, d, e, *, f):\n        """' + "Text.\n" * 80 + '"""\n'
    text += "".join(f"    def _follow_{n}(self): ...\n    @property\n    def at_{n}(self): ...\n" for n in range(16))

    assert not structure.too_big(sample(text))


def test_no_file_is_too_long() -> None:
    expect_none(violations(lambda source: structure.too_long(source, LONG_FILES), SOURCES))
    assert set(LONG_FILES) <= {source.module for source in SOURCES}


def test_a_long_file_is_noticed_and_so_is_one_that_has_become_short() -> None:
    allowed = {"cloche.domain.sample": (600, "one table")}

    assert structure.too_long(sample("x = 1\n" * 501), {})
    assert not structure.too_long(sample("x = 1\n" * 501), allowed)
    assert structure.too_long(sample("x = 1\n" * 601), allowed)
    assert structure.too_long(sample("x = 1\n" * 500), allowed)


def test_time_identity_environment_and_tasks_stay_with_their_owners() -> None:
    expect_none(violations(lambda source: structure.calls_of_others(source, structure.OWNED_CALLS), PRODUCT))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("cloche.settings", "import time\nat = time.monotonic()"),
        ("cloche.clock", "import os\nwhere = os.environ['HOME']"),
        ("cloche.clock", "from uuid import uuid4\nid = uuid4()"),
        ("cloche.ids", "import asyncio\ntask = asyncio.create_task(work())"),
    ],
)
def test_an_owner_who_takes_what_is_another_one_s_is_noticed(module: str, text: str) -> None:
    assert structure.calls_of_others(sample(text, module), structure.OWNED_CALLS)


def test_only_the_claim_and_the_sweep_see_all_tenants() -> None:
    assert structure.count_calls(PRODUCT, "SystemScope") <= SYSTEM_SCOPE_CEILING


def test_calls_are_counted_where_they_are_made() -> None:
    text = "class SystemScope: ...\nfrom cloche.domain import scope\na = scope.SystemScope('claim')\nb = SystemScope()"

    assert structure.count_calls([sample(text)], "SystemScope") == 2


# Prose


def test_public_things_are_documented() -> None:
    expect_none(violations(prose.undocumented, PROGRAM))


@pytest.mark.parametrize("text", ["class Run: ...", "async def follow(): ..."])
def test_a_missing_docstring_is_noticed(text: str) -> None:
    assert prose.undocumented(sample(text))
    assert not prose.undocumented(sample(text.replace("class ", "class _").replace("def ", "def _")))


def test_docstrings_say_more_than_the_name() -> None:
    expect_none(violations(prose.repeats_the_name, PROGRAM))


@pytest.mark.parametrize("text", ['def cancel_run():\n    """Cancel the run."""', 'class Run:\n    """A run."""'])
def test_a_docstring_that_repeats_the_name_is_noticed(text: str) -> None:
    assert prose.repeats_the_name(sample(text))


def test_prose_tells_no_history() -> None:
    expect_none(violations(prose.history, SOURCES))


@pytest.mark.parametrize(
    "text",
    [
        "# Previously a list",
        '"""Fix for the slow path."""',
        "# TODO: faster",
        "# see #123",
        "# ------- helpers",
        "# Author: somebody",
        'class Run:\n    """What the user asked for.\n\n    Previously held its events.\n    """',
    ],
)
def test_history_is_noticed(text: str) -> None:
    assert prose.history(sample(text))


def test_a_wish_with_an_address_is_left_alone() -> None:
    assert not prose.history(sample("# TODO: drop it when https://example.org/issues/1 is closed"))


def test_suppressions_have_a_code_and_a_reason() -> None:
    expect_none(violations(prose.bad_suppressions, SOURCES))


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: BLE001",
        "# type: ignore",
        "# type: ignore[arg-type]",
        "# pyright: ignore[reportPrivateUsage]",
        "# pragma: no cover",
        "# ruff: noqa",
        "# ruff: noqa: S608 - many statements",
        "# pyright: basic",
        "# fmt: off",
    ],
)
def test_a_bare_suppression_is_noticed(comment: str) -> None:
    assert prose.bad_suppressions(sample(f"x = 1  {comment}"))


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: BLE001, S110 - the loop must go on",
        "# pyright: ignore[reportPrivateUsage] - the library has no public way",
        "# pragma: no cover - only on another system",
    ],
)
def test_a_suppression_with_code_and_reason_is_counted(comment: str) -> None:
    assert not prose.bad_suppressions(sample(f"x = 1  {comment}"))
    assert len(prose.suppressions(sample(f"x = 1  {comment}"))) == 1
    assert not prose.suppressions(sample(f"x = '{comment}'"))


def test_suppressions_only_become_fewer() -> None:
    count = sum(len(prose.suppressions(source)) for source in SOURCES)

    assert count <= SUPPRESSION_CEILING


# The repository


def test_no_file_is_stray() -> None:
    expect_none(repository.stray_files(FILES))


@pytest.mark.parametrize(
    "path",
    [
        "src/cloche/app.py.bak",
        "src/cloche/app_old.py",
        "src/cloche/app_2.py",
        "docs/copy (1).md",
        "docs/2031-01-31-measured.md",
        "docs/MIGRATION_REPORT.md",
        "tests/notes.txt",
        "DESIGN.md",
        "server.log",
        ".vscode/settings.json",
    ],
)
def test_a_stray_file_is_noticed(path: str) -> None:
    assert repository.stray_files([path])


@pytest.mark.parametrize(
    "path",
    ["docs/decisions/0001-engines.md", "src/cloche/storage/migrations/versions/0001_first.py", "README.md", "web/a.ts"],
)
def test_a_wanted_file_is_left_alone(path: str) -> None:
    assert not repository.stray_files([path])


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = [trace for path, content in FILES.items() for trace in repository.traces_of_a_machine(path, content)]

    expect_none(found)


@pytest.mark.parametrize(
    "line",
    ["cd /{}root/x", 'open("/{}tmp/x")', "see /{}home/ada/x", "file:{}///srv/x", "https://pypi{}.org/simple/six"],
)
def test_a_trace_of_a_machine_is_noticed(line: str) -> None:
    assert repository.traces_of_a_machine("a.md", line.format("").encode())


@pytest.mark.parametrize("line", ["GET /v1/threads", "src/tmp/x", "https://example.org/home/x", "/healthz"])
def test_a_path_that_is_not_a_machine_s_is_left_alone(line: str) -> None:
    assert not repository.traces_of_a_machine("a.md", line.encode())


# Importing


@pytest.mark.slow
def test_importing_only_defines_things() -> None:
    modules = [source.module for source in SOURCES if source.module != f"{MIGRATIONS}env"]

    expect_none(inert.acts_at_import(SRC, modules))


@pytest.mark.parametrize(
    "text",
    [
        "import socket\nlistening = socket.socket()",
        "import threading\nthreading.Thread(target=print).start()",
        "text = open(__file__).read()",
        "class Settings:\n    import subprocess\n    subprocess.run(['true'])",
        "raise RuntimeError",
    ],
)
def test_an_act_at_import_is_noticed(text: str, tmp_path: Path) -> None:
    (tmp_path / "acting.py").write_text(text)
    (tmp_path / "quiet.py").write_text("import json\ndef read():\n    return open(__file__)\n")

    assert inert.acts_at_import(tmp_path, ["quiet", "acting"])
    assert not inert.acts_at_import(tmp_path, ["quiet"])
