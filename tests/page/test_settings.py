"""What a person sees and changes of their own account, and what it does to the other browsers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from support.page import Person
from support.server_process import PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(40)]
OTHER_PASSWORD = "a stable horse without a battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def test_another_password_ends_the_other_sessions_and_signs_in(
    server: ServerProcess, people: Callable[..., Person], open_browser: Callable[..., BrowserContext]
):
    ada = people(server, "password")
    elsewhere = Person(open_browser().new_page(), server, ada.email)
    elsewhere.sign_in()
    show(ada, "password")

    change_password(ada.page, PASSWORD)

    expect(ada.page.get_by_text("The password is changed. Every other session is over.")).to_be_visible()
    expect(elsewhere.page.get_by_text("Your session has ended")).to_be_visible()
    ada.page.reload()
    expect(ada.page.get_by_role("heading", name="Password")).to_be_visible()
    fill_in(elsewhere, PASSWORD)
    expect(elsewhere.page.get_by_text("the e-mail address or the password is wrong")).to_be_visible()
    fill_in(elsewhere, OTHER_PASSWORD)
    expect(elsewhere.field).to_be_visible()
    assert elsewhere.faults == []


def test_who_does_not_know_the_present_password_changes_nothing(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "guesser")
    show(ada, "password")

    change_password(ada.page, "not this one", again="not the same one")
    expect(ada.page.get_by_text("These two are not the same.")).to_be_visible()
    change_password(ada.page, "not this one")
    expect(ada.page.get_by_role("alert")).to_contain_text("password")

    ada.page.context.clear_cookies()
    ada.page.goto("about:blank")
    ada.sign_in()


def test_the_sessions_of_both_browsers_are_listed_and_one_ends_the_other(
    server: ServerProcess, people: Callable[..., Person], open_browser: Callable[..., BrowserContext]
):
    ada = people(server, "sessions")
    elsewhere = Person(open_browser(user_agent=FIREFOX).new_page(), server, ada.email)
    elsewhere.sign_in()
    show(ada, "sessions")
    rows = ada.page.get_by_role("region", name="Sessions").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="this one")).to_contain_text("in use here")

    rows.filter(has_text="Firefox on Linux").get_by_role("button", name="End the session").click()

    expect(elsewhere.page.get_by_text("Your session has ended")).to_be_visible()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("this one")
    expect(ada.page.get_by_role("button", name="Sign out everywhere else")).to_be_disabled()
    assert elsewhere.faults == []


def test_signing_out_here_is_not_signing_out_elsewhere(
    server: ServerProcess, people: Callable[..., Person], open_browser: Callable[..., BrowserContext]
):
    ada = people(server, "here")
    elsewhere = Person(open_browser().new_page(), server, ada.email)
    elsewhere.sign_in()
    show(ada, "sessions")

    ada.page.get_by_role("button", name="Sign out here").click()
    expect(ada.page.get_by_text("You are signed out.")).to_be_visible()

    show(elsewhere, "sessions")
    expect(elsewhere.page.get_by_role("region", name="Sessions").locator("tbody tr")).to_have_count(1)
    assert elsewhere.faults == []


def test_the_theme_that_was_chosen_survives_a_reload(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "theme", color_scheme="light")
    show(ada, "profile")
    before = background(ada.page)

    ada.page.get_by_label("Dark").check()
    dark = background(ada.page)
    ada.page.reload()

    expect(ada.page.get_by_label("Dark")).to_be_checked()
    expect(ada.page.locator("html")).to_have_attribute("data-theme", "dark")
    assert background(ada.page) == dark != before
    ada.page.get_by_label("As the system").check()
    ada.page.reload()
    expect(ada.page.get_by_label("As the system")).to_be_checked()
    assert background(ada.page) == before


def test_everything_that_was_said_can_be_taken_along(
    server: ServerProcess, people: Callable[..., Person], tmp_path: Path
):
    ada, bob = people(server, "export"), people(server, "export-other")
    ada.send("a sentence of mine", agent="echo")
    bob.send("a sentence of another", agent="echo")
    expect(ada.answer()).to_contain_text("a sentence of mine")
    expect(bob.answer()).to_contain_text("a sentence of another")
    show(ada, "data")

    with ada.page.expect_download() as saved:
        ada.page.get_by_role("link", name="Download my conversations").click()
    saved.value.save_as(tmp_path / "export.zip")

    assert saved.value.suggested_filename.endswith(".zip")
    with ZipFile(tmp_path / "export.zip") as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    (profile,) = [text for name, text in texts.items() if name.endswith("profile.json")]
    (thread,) = [text for name, text in texts.items() if name.endswith(".md") and "a sentence of mine" in text]
    assert ada.email in profile
    assert json.loads(profile)
    assert thread.count("a sentence of mine") >= 2, "the question, and the answer"
    assert not any("a sentence of another" in text for text in texts.values())


def show(person: Person, section: str) -> None:
    """The section of the settings is shown."""
    person.page.goto(f"{person.server.url}/#/settings/{section}")
    current = person.page.get_by_role("navigation", name="Settings").locator("[aria-current=page]")
    expect(current).to_have_attribute("href", f"#/settings/{section}")


def change_password(page: Page, present: str, *, again: str = OTHER_PASSWORD) -> None:
    page.get_by_label("Present password").fill(present)
    page.get_by_label("New password", exact=True).fill(OTHER_PASSWORD)
    page.get_by_label("New password, once more").fill(again)
    page.get_by_role("button", name="Change the password").click()


def fill_in(person: Person, password: str) -> None:
    """The form of the gate is sent."""
    person.page.get_by_label("E-mail").fill(person.email)
    person.page.get_by_label("Password").fill(password)
    person.page.get_by_role("button", name="Sign in").click()


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")
