"""What a person does with conversations: branches, the archive, undo, search, marks, queues and files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.page import Person
from support.server_process import ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]


def asked(person: Person, *texts: str) -> None:
    """A conversation in which each of these was said and said back."""
    for number, text in enumerate(texts):
        person.send(text, agent="echo")
        expect(person.answer(number).locator(".md")).to_have_text(text)


def menu(person: Person, item: str) -> None:
    person.page.get_by_role("button", name="This conversation").click()
    person.page.get_by_role("menuitem", name=item).click()


def test_an_edited_message_begins_a_branch_and_leaves_the_conversation_as_it_was(
    server: ServerProcess, people: Callable[..., Person]
):
    ada = people(server, "branch")
    asked(ada, "one", "two")
    origin = ada.thread_id

    ada.page.locator(".turn").nth(1).get_by_role("button", name="Edit and send as a branch").click()
    ada.page.get_by_label("Your message, to be sent again").fill("three")
    ada.page.get_by_role("button", name="Send as a branch", exact=True).click()

    expect(ada.page).not_to_have_url(re.compile(origin))
    expect(ada.page.locator(".question-text")).to_have_text(["one", "three"])
    expect(ada.page.get_by_role("button", name="2 branches")).to_be_visible()
    ada.page.get_by_role("button", name="2 branches").click()
    ada.page.get_by_role("menuitem", name="Where it branched off").click()
    expect(ada.page).to_have_url(re.compile(origin))
    expect(ada.page.locator(".question-text")).to_have_text(["one", "two"])


def test_an_answer_is_given_again_on_a_branch(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "again")
    asked(ada, "one")

    ada.answer().get_by_role("button", name="Answer again, as a branch").click()

    expect(ada.page.get_by_role("button", name="2 branches")).to_be_visible()
    expect(ada.page.locator(".question-text")).to_have_text(["one"])
    expect(ada.answer().locator(".md")).to_have_text("one")


def test_a_deleted_conversation_comes_back_at_a_click(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "delete")
    asked(ada, "keep me")

    menu(ada, "Delete")
    expect(ada.page.get_by_role("link", name="keep me")).to_have_count(0)
    ada.page.get_by_role("button", name="Undo").click()

    ada.page.get_by_role("link", name="keep me").click()
    expect(ada.answer().locator(".md")).to_have_text("keep me")


def test_an_archived_conversation_is_in_the_archive_alone(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "aside")
    asked(ada, "put aside")

    menu(ada, "Archive")
    expect(ada.page.get_by_role("link", name="put aside")).to_have_count(0)
    ada.page.get_by_role("link", name="Archive").click()
    ada.page.get_by_role("button", name="Take out").click()

    expect(ada.page.get_by_text("Nothing was put aside.")).to_be_visible()
    expect(ada.page.get_by_role("link", name="put aside")).to_have_count(1)


def test_a_new_title_is_seen_in_every_tab(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "rename")
    asked(ada, "first words")
    other = ada.another_tab()
    expect(other.get_by_role("heading", name="first words", level=1)).to_be_visible()

    menu(ada, "Rename")
    ada.page.get_by_label("Title", exact=True).fill("Another title")
    ada.page.keyboard.press("Enter")

    for page in (ada.page, other):
        expect(page.get_by_role("heading", name="Another title", level=1)).to_be_visible()
        expect(page.get_by_role("link", name="Another title")).to_be_visible()


def test_words_are_found_wherever_they_were_said(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "search")
    asked(ada, "about the greenhouse")
    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    asked(ada, "about something else")

    ada.page.get_by_placeholder("Search").fill("greenhouse")
    found = ada.page.get_by_role("list", name="Found")
    expect(found.get_by_role("link")).to_have_count(1)
    found.get_by_role("link").click()

    expect(ada.answer().locator(".md")).to_have_text("about the greenhouse")


def test_a_list_shows_what_is_at_work_and_what_is_unread(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "marks")
    ada.send("slowly", agent="slow")
    line = ada.page.locator(".thread-place", has_text="slowly")
    expect(line.get_by_label("at work")).to_be_visible()

    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    expect(line.get_by_label("unread")).to_be_visible()
    expect(line.get_by_label("at work")).to_have_count(0, timeout=8_000)
    line.get_by_role("link").click()

    expect(ada.answer()).to_contain_text("the end")
    expect(line.get_by_label("unread")).to_have_count(0)
    ada.page.reload()
    expect(ada.answer()).to_contain_text("the end")
    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    expect(line.get_by_label("unread")).to_have_count(0)


def test_a_message_to_a_busy_thread_waits_interrupts_or_is_refused_as_its_sender_wants(
    server: ServerProcess, people: Callable[..., Person]
):
    ada = people(server, "busy")
    ada.send("slowly", agent="slow")
    expect(ada.answer()).to_contain_text("word2")
    policy = ada.page.get_by_label("While the agent works")

    policy.select_option("only if nothing runs")
    ada.send("refused", agent="echo")
    expect(ada.page.get_by_role("alert").get_by_text("a run is working on the thread")).to_be_visible()
    ada.page.get_by_role("button", name="Discard").click()
    policy.select_option("answer it next")
    ada.send("queued", agent="echo")
    expect(ada.answer().get_by_text("Number 2 in the queue")).to_be_visible()
    policy.select_option("stop what runs, answer this")
    ada.send("interrupts", agent="echo")

    expect(ada.answer(2).locator(".md")).to_have_text("interrupts", timeout=10_000)
    expect(ada.answer(0).get_by_role("group", name="Stopped")).to_be_visible()
    expect(ada.page.get_by_text("refused", exact=True)).to_have_count(0)


def test_a_conversation_is_taken_along_as_a_file(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "export")
    asked(ada, "take me along")

    with ada.page.expect_download() as markdown:
        menu(ada, "Export as Markdown")
    with ada.page.expect_download() as structured:
        menu(ada, "Export as JSON")

    assert markdown.value.suggested_filename == "take me along.md"
    assert Path(markdown.value.path()).read_text(encoding="utf-8").count("take me along") >= 2
    thread = json.loads(Path(structured.value.path()).read_text(encoding="utf-8"))
    assert thread["thread"]["id"] == ada.thread_id


def test_a_text_file_becomes_part_of_the_message(server: ServerProcess, people: Callable[..., Person], tmp_path: Path):
    ada = people(server, "attach")
    notes, picture = tmp_path / "notes.md", tmp_path / "picture.txt"
    notes.write_text("a ``` fence inside", encoding="utf-8")
    picture.write_bytes(b"\x89PNG\x00\xff\xfe")

    ada.page.get_by_label("Add text files").set_input_files([notes])
    expect(ada.field).to_have_value("notes.md:\n````\na ``` fence inside\n````")
    ada.page.get_by_label("Add text files").set_input_files([picture])

    expect(ada.page.get_by_text("picture.txt is not a text file")).to_be_visible()
    expect(ada.field).to_have_value(re.compile("fence inside"))


def test_without_sockets_everything_comes_over_plain_http(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "streams", signed_in=False)

    ada.page.add_init_script(
        """window.WebSocket = class extends EventTarget {
            static OPEN = 1;
            readyState = 0;
            constructor() {
                super();
                setTimeout(() => this.dispatchEvent(Object.assign(new Event('close'), {code: 1006, reason: ''})));
            }
            close() {}
            send() {}
        };"""
    )
    ada.sign_in()
    ada.send("slowly", agent="slow")

    expect(ada.answer()).to_contain_text("the end", timeout=15_000)
    expect(ada.page.get_by_text("over HTTP")).to_be_visible()
    assert len(ada.answer().locator(".md").inner_text().split()) == 62


def test_a_draft_waits_for_its_writer(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "draft")
    asked(ada, "first")
    ada.field.fill("not finished")

    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    expect(ada.field).to_have_value("")
    ada.page.get_by_role("link", name="first").click()

    expect(ada.field).to_have_value("not finished")
