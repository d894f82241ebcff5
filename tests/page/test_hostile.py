"""What others write is text: nothing of it runs, loads, leads anywhere unasked, or breaks the page."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from cloche.ids import MessageId, ThreadId
from cloche.storage.sqlite import DATABASE_FILE
from support.page import CONFIG, Person
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
PAYLOADS: list[dict[str, str]] = json.loads((ROOT / "web" / "tests" / "payloads.json").read_text(encoding="utf-8"))
PARTS = 6
TEXTS = [payload["text"] for payload in PAYLOADS]

# What is wrong in the page as it is now: elements and attributes that no text may make, links that lead elsewhere than
# to the web, and anything that is wider than its place.
INSPECT = """() => {
    const wrong = [];
    const own = '.md, .question-text, .thinking, .json, .thread-title, .chat-title, .plain-text';
    for (const place of document.querySelectorAll(own)) {
        for (const element of place.querySelectorAll('*')) {
            if (element.closest('svg.icon') || element.closest('button')) continue;
            if (/^(img|script|iframe|object|embed|form|input|style|link|meta|base|video|audio|math|svg|template)$/i
                .test(element.localName)) wrong.push(`element ${element.outerHTML.slice(0, 200)}`);
            for (const {name, value} of element.attributes) {
                if (name.startsWith('on') || name === 'style' || name === 'src' || name === 'srcdoc' || name === 'id')
                    wrong.push(`attribute ${name} in ${element.outerHTML.slice(0, 200)}`);
                if (name === 'href' && !/^(https?:|mailto:)/.test(value)) wrong.push(`link ${value.slice(0, 200)}`);
            }
        }
        for (const link of place.querySelectorAll('a')) {
            if (link.target !== '_blank' || !link.rel.includes('noopener')) wrong.push(`open link ${link.outerHTML}`);
        }
    }
    for (const selector of ['html', 'body', '.turns', '.threads', '.chat-head']) {
        const element = document.querySelector(selector);
        if (element === null || element.scrollWidth <= element.clientWidth + 1) continue;
        // Whatever is wider than itself without hiding or scrolling it, the innermost first.
        const wide = [...element.querySelectorAll('*')].filter((one) => one.clientWidth > 1
            && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX === 'visible').reverse();
        const told = wide.slice(0, 3).map((one) => one.outerHTML.slice(0, 300)).join(' IN ');
        wrong.push(`${selector} is ${element.scrollWidth} instead of ${element.clientWidth} wide: ${told}`);
    }
    for (const selector of ['.composer', '.sidebar']) {
        const box = document.querySelector(selector)?.getBoundingClientRect();
        if (!box || box.left < 0 || box.right > innerWidth || box.bottom > innerHeight) wrong.push(`${selector} is away`);
    }
    return wrong;
}"""


class Guard:
    """What the page may not do, however it is brought to do it."""

    def __init__(self, page: Page, server: ServerProcess) -> None:
        self.done: list[str] = []
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.done.append(f"opened {popup.url}"))
        page.on("request", lambda request: self._request(request.url, server.url))
        page.on("framenavigated", lambda frame: self._request(frame.url, server.url))

    def _dialog(self, dialog: Any) -> None:
        self.done.append(f"ran a script: {dialog.message}")
        dialog.dismiss()

    def _request(self, url: str, own: str) -> None:
        if not url.startswith((own, own.replace("http", "ws"), "about:blank", "chrome-extension:")):
            self.done.append(f"asked for {url[:200]}")


def test_there_are_payloads_enough():
    assert len(PAYLOADS) >= 200
    assert len({payload["name"] for payload in PAYLOADS}) == len(PAYLOADS)


@pytest.mark.parametrize("part", range(PARTS))
def test_messages_of_any_content_do_nothing(tmp_path: Path, people: Callable[..., Person], part: int):
    server = ServerProcess(tmp_path, config=CONFIG)
    texts = TEXTS[part::PARTS]
    ada = people(server, "hostile", signed_in=False)
    thread_id = ThreadId.new()
    write_conversation(server.data / DATABASE_FILE, thread_id, texts)
    server.start()
    try:
        guard = Guard(ada.page, server)
        ada.sign_in()
        ada.page.goto(f"{server.url}/#/t/{thread_id}")
        expect(ada.page.locator(".turn").last).to_be_visible()
        shown, wrong = look_through(ada.page)
    finally:
        server.kill()

    assert wrong == []
    assert guard.done == []
    assert shown == len(texts)


def test_names_of_threads_and_people_do_nothing(tmp_path: Path, people: Callable[..., Person]):
    server = ServerProcess(tmp_path, config=CONFIG)
    ada = people(server, "named", role="admin", signed_in=False)
    write_titles(server.data / DATABASE_FILE)
    server.start()
    try:
        guard = Guard(ada.page, server)
        ada.sign_in()
        page = ada.page
        expect(page.locator(".thread-line")).not_to_have_count(0)
        for _ in range(20):
            page.locator(".thread-line").last.scroll_into_view_if_needed()
            page.evaluate("new Promise(requestAnimationFrame)")
        wrong = found_wrong(page)
        page.keyboard.press("Control+k")
        expect(page.get_by_role("listbox", name="Commands").get_by_role("option").first).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_placeholder("Search").fill("script")
        expect(page.get_by_role("list", name="Found")).to_be_visible()
        wrong += found_wrong(page)
        page.locator(".thread-found").first.click()
        expect(page.locator(".composer")).to_be_visible()
        wrong += found_wrong(page)
        for path in ("#/settings/profile", "#/console/users", "#/archive"):
            page.goto(f"{server.url}/{path}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            page.wait_for_load_state("networkidle")
    finally:
        server.kill()

    assert wrong == []
    assert guard.done == []


@pytest.mark.parametrize("part", range(PARTS))
def test_thoughts_tool_calls_and_streamed_answers_of_any_content_do_nothing(
    server: ServerProcess, people: Callable[..., Person], part: int
):
    ada = people(server, f"streamed-{part}")
    guard = Guard(ada.page, server)
    texts = [text for text in TEXTS[part::PARTS] if len(text) < 2_000 and "\0" not in text]
    for at in range(0, len(texts), 12):
        ada.ask_server(
            "POST",
            "/v1/messages" if at == 0 else f"/v1/threads/{ada.thread_id}/messages",
            {"text": "\n\n".join(texts[at : at + 12]), "agent": "hostile", "client_message_id": str(at)},
        )
        if at == 0:
            ada.page.locator(".thread-line").first.click(timeout=10_000)
            expect(ada.page.locator(".turn")).to_have_count(1)
    count = -(-len(texts) // 12)
    expect(ada.page.get_by_role("button", name="Stop")).to_have_count(0)
    for summary in ada.page.locator("summary").all():
        if summary.is_visible():
            summary.click()
    shown, wrong = look_through(ada.page)

    assert wrong == []
    assert guard.done == []
    assert shown == count


def test_a_link_is_opened_by_a_person_who_has_seen_where_it_leads(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "links")
    guard = Guard(ada.page, server)
    ada.send("[harmless](https://example.org/?q=what+was+said) ![cat](https://example.org/cat.png)", agent="echo")
    link = ada.answer().get_by_role("link", name="harmless")

    for press in ({}, {"button": "middle"}, {"modifiers": ["Control"]}):
        link.click(**press)  # type: ignore[arg-type]
        dialog = ada.page.get_by_role("dialog")
        expect(dialog).to_contain_text("https://example.org/?q=what+was+said")
        dialog.get_by_role("button", name="Stay").click()
    ada.answer().get_by_role("link", name="cat").click()

    expect(ada.page.get_by_role("dialog")).to_contain_text("https://example.org/cat.png")
    assert ada.page.locator(".answer img").count() == 0
    assert guard.done == []


def found_wrong(page: Page) -> list[str]:
    """What is wrong once the page has come to rest: what is on its way to its place is not out of it."""
    wrong: list[str] = []
    for _ in range(60):
        page.evaluate("new Promise(requestAnimationFrame)")
        wrong = page.evaluate(INSPECT)
        if not wrong:
            break
    return wrong


def look_through(page: Page) -> tuple[int, list[str]]:
    """How many turns the conversation has shown, from its end to its beginning, and what was wrong in any."""
    seen: set[str] = set()
    wrong: list[str] = []
    for _ in range(400):
        page.evaluate("new Promise(requestAnimationFrame)")
        seen.update(page.locator(".turn").evaluate_all("all => all.map((one) => one.parentElement.dataset.index)"))
        wrong += found_wrong(page)
        is_at_start = page.evaluate(
            """() => {
                const turns = document.querySelector('.turns');
                const before = turns.scrollTop;
                turns.scrollTop -= turns.clientHeight;
                return before === 0;
            }"""
        )
        if is_at_start and "0" in seen:
            break
    return len(seen), list(dict.fromkeys(wrong))


def owner(connection: sqlite3.Connection) -> tuple[str, str]:
    ((tenant, user),) = connection.execute("SELECT tenant_id, id FROM users").fetchall()
    return tenant, user


def add_thread(connection: sqlite3.Connection, thread_id: ThreadId, title: str, head: int, at: int) -> None:
    connection.execute(
        "INSERT INTO threads (tenant_id, user_id, id, title, metadata, log_epoch, head_seq, first_seq, created_at, "
        "updated_at) VALUES (?, ?, ?, ?, '{}', 1, ?, ?, ?, ?)",
        (*owner(connection), thread_id, title[:200], head, head + 1, at, at),
    )


def write_conversation(path: Path, thread_id: ThreadId, texts: list[str]) -> None:
    """A thread in which each payload is asked and answered."""
    with sqlite3.connect(path) as connection:
        add_thread(connection, thread_id, texts[0], 2 * len(texts), 1)
        for number, text in enumerate([text for text in texts for _ in range(2)], 1):
            connection.execute(
                "INSERT INTO messages (tenant_id, user_id, id, thread_id, role, seq, created_at, parts) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(*owner(connection), MessageId.new(), thread_id, "user" if number % 2 else "assistant"),
                    *(number, number, json.dumps([{"type": "text", "text": text}])),
                ),
            )
    connection.close()


def write_titles(path: Path) -> None:
    """A thread for each payload, which is its title; and a person with a payload for a name."""
    with sqlite3.connect(path) as connection:
        for number, text in enumerate(TEXTS, 1):
            add_thread(connection, ThreadId.new(), " ".join(text.split()), 0, number)
        connection.execute("UPDATE users SET name = ?", ('<img src=x onerror=alert(1)>"><script>alert(2)</script>',))
    connection.close()
