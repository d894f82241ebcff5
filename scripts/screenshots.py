"""Takes a picture of every page, in light, in dark and as on a phone, and writes the page that shows them."""

from __future__ import annotations

import base64
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.garden import CONFIG
from support.page import SECTIONS, SETTINGS, Person
from support.server_process import PASSWORD, ServerProcess

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURES = DOCS / "screenshots"
SCREENS = DOCS / "reference" / "screens.md"
MAX_PICTURE_BYTES = 80_000
MAX_BYTES = 4_000_000
_QUALITY = 0.72
_DESK = {"width": 1280, "height": 800}
_PHONE = {"width": 390, "height": 844}
_HOUR_US = 3_600_000_000
_WAIT_MS = 10_000
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OVER = frozenset({"completed", "failed", "timeout", "dead", "cancelled"})

_FERNS = "Which ferns need a larger pot this month, and have we got the pots?"
_CHECKS = (
    ("health", "alive, 0.1.0", 2.1),
    ("readiness", "ready", 3.4),
    ("sign in", "as ines.vale@example.org, an admin", 96.0),
    ("live connection", "open, protocol 1", 8.2),
    ("run", "completed", 148.0),
    ("first event", "after 21 ms", 21.0),
    ("events", "11 in their order, no gap", None),
    ("resume", "cut after 4 of 11 events; nothing missed, nothing twice", 19.5),
    ("isolation", "404, as for any that does not exist", 11.3),
    ("clean up", "archived and deleted", 7.8),
)


@dataclass(kw_only=True)
class Garden:
    """What there is to be seen: the server, the people's threads and the runs by what became of them."""

    server: ServerProcess
    threads: dict[str, str] = field(default_factory=dict[str, str])
    runs: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One page: who looks at it, where it is, and what is done before the picture is taken."""

    name: str
    title: str
    who: str = "ada"
    path: Callable[[Garden], str] = lambda _garden: "#/"
    prepare: Callable[[Page], None] = lambda _page: None


def main() -> int:
    """Every picture is there, and as small as it should be."""
    wanted = frozenset(sys.argv[1:])
    if not wanted:
        shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser_of_this_machine() as browser:
        garden = Garden(server=ServerProcess(Path(folder), config=CONFIG))
        try:
            people = open_doors(garden, browser)
            plant(garden, people)
            take_all(garden, browser, people, wanted)
        finally:
            if garden.server.process is not None:
                garden.server.kill()
    SCREENS.write_text(screens_page(), encoding="utf-8")
    return complain()


@contextmanager
def browser_of_this_machine() -> Iterator[Browser]:
    """The system's Chromium."""
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise SystemExit("the pictures need Chromium: apt-get install chromium")
    # Chromium's own sandbox does not run as root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*options, "--font-render-hinting=none"])
        yield browser
        browser.close()


def open_window(browser: Browser, *, is_phone: bool = False) -> BrowserContext:
    context = browser.new_context(
        viewport=_PHONE if is_phone else _DESK,  # type: ignore[arg-type]
        has_touch=is_phone,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
    )
    context.set_default_timeout(_WAIT_MS)
    return context


# --- What there is to be seen ---------------------------------------------------------------------------------------


def open_doors(garden: Garden, browser: Browser) -> dict[str, Person]:
    """The server runs, and its people are signed in."""
    server = garden.server
    names = {"ada": ("Ada Moss", "member"), "ines": ("Ines Vale", "admin"), "tom": ("Tom Birch", "member")}
    emails = {who: f"{name.lower().replace(' ', '.')}@example.org" for who, (name, _) in names.items()}
    for who, (name, role) in names.items():
        done = server.command(
            *("users", "add", emails[who], "--name", name, "--role", role),
            *("--data", str(server.data), "--password-stdin"),
            text=PASSWORD,
        )
        if done.returncode != 0:
            raise SystemExit(done.stderr)
    server.start()
    people = {who: Person(open_window(browser).new_page(), server, emails[who]) for who in names}
    for person in people.values():
        person.sign_in()
    return people


def plant(garden: Garden, people: dict[str, Person]) -> None:
    """A week of a garden: conversations that ended well and not, that wait, that go on and that stand still."""
    ada, tom, ines = people["ada"], people["tom"], people["ines"]
    grow_history(garden, ada, tom, ines)
    say(garden, ada, "archived", "Where did we buy the bonsai soil?", agent="assistant")
    ada.ask_server("POST", f"/v1/threads/{garden.threads['archived']}/archive", {})
    say(garden, ada, "timed_out", "Be quick about the seed list", agent="hasty")
    say(garden, ada, "failed", "What does the card index say about the blue orchid?", agent="records")
    say(garden, ada, "ferns", _FERNS)
    branch = ada.ask_server("POST", f"/v1/threads/{garden.threads['ferns']}/branch", {"message_id": first_message(ada)})
    garden.threads["branch"] = branch["id"]
    say(garden, ada, "branch", "Which ferns need a larger pot this year, and have we got the pots?")
    say(garden, ada, "ferns", "And how many of them are older than 12 × 4 months?", agent="assistant")
    say(garden, tom, "stuck", "Read the station on the roof", agent="weather", until="running")
    age(garden, "stuck", hours=7 / 60)
    say(garden, ada, "asking", "Order the pot for the tree fern.", agent="buyer", until="waiting")
    say(garden, tom, "tom_asks", "Order labels for house 5.", agent="buyer", until="waiting")
    say(
        garden, ada, "working", "Walk through the houses and tell me what is in leaf", agent="surveyor", until="running"
    )
    checks = [{"name": name, "ok": True, "detail": detail, "duration_ms": took} for name, detail, took in _CHECKS]
    late = [{**one, "ok": one["name"] != "resume"} for one in checks]
    late[7]["detail"] = "the stream did not open within 5 s"
    for is_ok, lines in ((False, late), (True, checks)):
        ines.ask_server("POST", "/v1/admin/checkups", {"is_ok": is_ok, "users": 0, "checks": lines})


def grow_history(garden: Garden, ada: Person, tom: Person, ines: Person) -> None:
    """What was asked on the days before."""
    said = (
        (ada, "What is 17 × 23, and what day is it?", "assistant", 150),
        (ada, "Search for what we wrote about orchids", "assistant", 99),
        (tom, "How many hours are 3 × 7 days?", "assistant", 76),
        (ada, "What is 365 / 7?", "assistant", 75),
        (ines, "Which ferns are due?", "gardener", 52),
        (tom, "What is 48 × 12?", "assistant", 51),
        (ada, "Plan the watering of the fern house", "gardener", 27),
        (tom, "The card of the black tulip, please", "records", 26),
        (ada, "How many labels are 14 × 36?", "assistant", 24.5),
        (tom, "Which ferns go to the spring show?", "gardener", 3),
        (ines, "What is 1,200 / 8?", "assistant", 1.5),
        (tom, "What time is it?", "assistant", 0.7),
        (ines, "What is (18 + 24) × 3?", "assistant", 0.4),
    )
    for number, (person, text, agent, hours) in enumerate(said):
        say(garden, person, f"past_{number}", text, agent=agent)
        age(garden, f"past_{number}", hours=hours)


def say(garden: Garden, person: Person, name: str, text: str, *, agent: str = "gardener", until: str = "") -> None:
    """The message is sent on the thread of that name, and its run is over, or in the state that is named."""
    body = {"text": text, "agent": agent, "client_message_id": f"{name}-{text}"[:60]}
    thread_id = garden.threads.get(name)
    path = "/v1/messages" if thread_id is None else f"/v1/threads/{thread_id}/messages"
    accepted = person.ask_server("POST", path, body)
    if "run_id" not in accepted:
        raise SystemExit(f"{text!r} was refused: {accepted}")
    garden.threads[name], garden.runs[name] = accepted["thread_id"], accepted["run_id"]
    end = time.monotonic() + 20
    state = ""
    while state not in ({until} if until else _OVER):
        if time.monotonic() > end:
            raise SystemExit(f"{text!r} is still {state}")
        time.sleep(0.05)
        state = str(person.ask_server("GET", f"/v1/runs/{accepted['run_id']}")["state"])


def first_message(person: Person) -> str:
    """The id of the question of the ferns."""
    threads: list[dict[str, Any]] = person.ask_server("GET", "/v1/threads?limit=1")["items"]
    messages = person.ask_server("GET", f"/v1/threads/{threads[0]['id']}/messages")["items"]
    return next(str(one["id"]) for one in messages if one["role"] == "user")


def age(garden: Garden, name: str, *, hours: float) -> None:
    """Everything about the thread happened so many hours earlier. A lease and a deadline stay what they are."""
    database = apsw.Connection(str(garden.server.data / "cloche.db"))
    database.setbusytimeout(5_000)
    thread_id, run_id, by = garden.threads[name], garden.runs[name], round(hours * _HOUR_US)
    with database:
        for table, key, value in (
            ("threads", "id", thread_id),
            ("messages", "thread_id", thread_id),
            ("events", "thread_id", thread_id),
            ("runs", "id", run_id),
            ("executions", "run_id", run_id),
            ("steps", "run_id", run_id),
            ("tool_intents", "run_id", run_id),
            ("usage_entries", "run_id", run_id),
        ):
            columns = [str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")]
            moved = [one for one in columns if one.endswith("_at") and one not in {"deadline_at", "branched_at"}]
            sets = ", ".join(f"{one} = {one} - {by}" for one in moved)
            database.execute(f"UPDATE {table} SET {sets} WHERE {key} = ?", (value,))
    database.close()


# --- The pictures ---------------------------------------------------------------------------------------------------


def thread(name: str) -> Callable[[Garden], str]:
    return lambda garden: f"#/t/{garden.threads[name]}"


def at(path: str) -> Callable[[Garden], str]:
    return lambda _garden: path


def edit_arguments(page: Page) -> None:
    page.get_by_role("button", name="Edit the arguments").click()
    page.get_by_label("quantity").fill("1")
    page.get_by_label("delivery").select_option("express")


def show_answer(page: Page) -> None:
    expect(page.locator("table")).to_be_visible()


def show_tools(page: Page) -> None:
    for summary in page.locator(".answer summary").all()[:3]:
        summary.click()
    page.locator(".answer summary").first.scroll_into_view_if_needed()


def search(page: Page) -> None:
    show_sidebar(page)
    page.get_by_label("Search conversations").fill("ferns")
    expect(page.get_by_role("list", name="Found")).to_be_visible()


def show_sidebar(page: Page) -> None:
    button = page.get_by_role("button", name="Conversations", exact=True)
    if button.is_visible():
        button.click()


def open_thread_menu(page: Page) -> None:
    show_sidebar(page)
    place = page.get_by_role("listitem").filter(has_text="Plan the watering").last
    place.hover()
    place.get_by_role("button").click()


def open_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Command or conversation").fill("con")


SHOTS = (
    Shot(name="sign-in", title="Sign in", who=""),
    Shot(name="set-up", title="The set-up link of a fresh server", who="", path=at("#setup=once")),
    Shot(name="new-conversation", title="A new conversation"),
    Shot(name="conversation", title="A conversation", path=thread("branch"), prepare=show_answer),
    Shot(name="tools", title="What a run did", path=thread("branch"), prepare=show_tools),
    Shot(name="branches", title="A conversation with a branch", path=thread("ferns")),
    Shot(name="approval", title="A question, with edited arguments", path=thread("asking"), prepare=edit_arguments),
    Shot(name="working", title="A run at work", path=thread("working")),
    Shot(name="failure", title="A run that failed", path=thread("failed")),
    Shot(name="conversations", title="The list of conversations", prepare=open_thread_menu),
    Shot(name="search", title="Search", prepare=search),
    Shot(name="palette", title="The command palette", who="ines", prepare=open_palette),
    Shot(name="questions", title="Questions", path=at("#/approvals")),
    Shot(name="archive", title="Archive", path=at("#/archive")),
    *(Shot(name=f"settings-{one}", title=f"Settings: {one}", path=at(f"#/settings/{one}")) for one in SETTINGS),
    *(
        Shot(name=f"console-{one}", title=f"Console: {one}", who="ines", path=at(f"#/console/{one}"))
        for one in SECTIONS
    ),
    Shot(
        name="console-run",
        title="Console: a run",
        who="ines",
        path=lambda garden: f"#/console/runs/{garden.runs['branch']}",
    ),
    Shot(
        name="console-stuck",
        title="Console: a run that stands still",
        who="ines",
        path=lambda garden: f"#/console/runs/{garden.runs['stuck']}",
    ),
)
KINDS = ("light", "dark", "phone")


def take_all(garden: Garden, browser: Browser, people: dict[str, Person], wanted: frozenset[str]) -> None:
    """A picture of each page of each kind; all of one person one after the other."""
    nobody, nobodys_phone = open_window(browser).new_page(), open_window(browser, is_phone=True).new_page()
    desks = {"": nobody, **{who: person.page for who, person in people.items()}}
    phones = {"": nobodys_phone}
    darkroom = open_window(browser).new_page()
    for who in {shot.who for shot in SHOTS} - {""}:
        person = Person(open_window(browser, is_phone=True).new_page(), garden.server, people[who].email)
        person.sign_in()
        phones[who] = person.page
    for shot in SHOTS:
        if wanted and shot.name not in wanted:
            continue
        take(garden, shot, desks[shot.who], darkroom, ("light", "dark"))
        take(garden, shot, phones[shot.who], darkroom, ("phone",))


def take(garden: Garden, shot: Shot, page: Page, darkroom: Page, kinds: tuple[str, ...]) -> None:
    # The same fragment again would be no way to anywhere, and leave what was opened over the page.
    page.goto("about:blank")
    page.goto(f"{garden.server.url}/{shot.path(garden)}")
    expect(page.get_by_role("heading", level=1).first).to_be_visible()
    page.wait_for_load_state("networkidle")
    # Until what shows Markdown is there, a text is shown as it was written.
    expect(page.locator(".plain-text")).to_have_count(0)
    # A conversation opens at its end, which moves until everything in it has its size.
    expect(page.locator(".to-end")).to_have_count(0)
    shot.prepare(page)
    for kind in kinds:
        page.emulate_media(color_scheme="dark" if kind == "dark" else "light", reduced_motion="reduce")
        page.wait_for_timeout(250)
        taken = page.screenshot(animations="disabled", caret="hide")
        (PICTURES / picture(shot, kind)).write_bytes(as_webp(darkroom, taken))


def as_webp(darkroom: Page, taken: bytes) -> bytes:
    """The same picture in a fraction of the bytes: a page of the browser has it drawn and written."""
    address = darkroom.evaluate(
        """async ([picture, quality]) => {
            const found = await (await fetch(`data:image/png;base64,${picture}`)).blob();
            const bitmap = await createImageBitmap(found);
            const canvas = Object.assign(document.createElement('canvas'), {width: bitmap.width, height: bitmap.height});
            canvas.getContext('2d').drawImage(bitmap, 0, 0);
            return canvas.toDataURL('image/webp', quality);
        }""",
        [base64.b64encode(taken).decode(), _QUALITY],
    )
    return base64.b64decode(str(address).partition(",")[2])


def picture(shot: Shot, kind: str) -> str:
    return f"{shot.name}-{kind}.webp"


def screens_page() -> str:
    """All pictures, page by page."""
    lines = [
        "<!-- Written by `make screenshots`: change scripts/screenshots.py, not this page. -->",
        "",
        "# Screens",
        "",
        "Every page that the server ships, in light, in dark, and as wide as a phone. What can be done on them:",
        "[use the page](../how-to/use-the-page.md). The people and their plants are made up.",
    ]
    for shot in SHOTS:
        cells = [f"![{shot.title}, {kind}](../screenshots/{picture(shot, kind)})" for kind in KINDS]
        lines += ["", f"## {shot.title}", "", "| light | dark | phone |", "|---|---|---|", f"| {' | '.join(cells)} |"]
    return "\n".join(lines) + "\n"


def complain() -> int:
    """1 and the names of the pictures that are too large; else 0."""
    sizes = {path.name: path.stat().st_size for path in sorted(PICTURES.iterdir())}
    wrong = [f"{name} has {size} bytes" for name, size in sizes.items() if size > MAX_PICTURE_BYTES]
    if sum(sizes.values()) > MAX_BYTES:
        wrong.append(f"all pictures together have {sum(sizes.values())} bytes")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(sizes)} pictures, {sum(sizes.values()):,} bytes, largest {max(sizes.values()):,}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
