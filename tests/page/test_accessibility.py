"""Everybody can use it: no violation of WCAG 2.2 AA on any page, in either theme, and no mouse needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from support.page import SECTIONS, SETTINGS, Person
from support.server_process import PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


def violations(page: Page) -> list[str]:
    """What axe finds wrong in either theme, and where."""
    wrong: list[str] = []
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        found = Axe().run(page, options=RULES).response["violations"]
        wrong += [f"{theme}: {one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]
    return wrong


@pytest.fixture(params=["desk", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, object]:
    return PHONE if request.param == "phone" else {}


def test_signing_in_has_no_violation(server: ServerProcess, people: Callable[..., Person]):
    page = people(server, "axe-gate", signed_in=False).page
    page.goto(server.url)
    expect(page.get_by_label("E-mail")).to_be_visible()
    gate = violations(page)
    page.get_by_label("E-mail").fill("nobody@example.org")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    refused = violations(page)
    page.goto(f"{server.url}/#setup=nothing")
    page.reload()
    expect(page.get_by_text("Welcome to Cloche")).to_be_visible()

    assert (gate, refused, violations(page)) == ([], [], [])


def test_a_conversation_has_no_violation(server: ServerProcess, people: Callable[..., Person], size: dict[str, object]):
    ada = people(server, f"axe-chat-{len(size)}", **size)
    page = ada.page
    fresh = violations(page)
    ada.send("red apples")
    expect(page.get_by_role("group", name="A question for you")).to_be_visible()
    page.get_by_role("button", name="Edit the arguments").click()
    asking = violations(page)
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("word9")).to_be_visible()
    for summary in page.locator("summary").all():
        summary.click()
    answered = violations(page)

    assert (fresh, asking, answered) == ([], [], [])


def test_what_lies_over_a_page_has_no_violation(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "axe-over")
    ada.send("look at [this](https://example.org/path) and ![that](https://example.org/x.png)", agent="echo")
    page = ada.page
    expect(ada.answer().get_by_role("link", name="this")).to_be_visible()
    page.keyboard.press("Control+k")
    palette = violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="This conversation").click()
    menu = violations(page)
    page.keyboard.press("Escape")
    ada.answer().get_by_role("link", name="this").click()
    expect(page.get_by_role("dialog")).to_contain_text("example.org")
    gate = violations(page)
    page.get_by_role("button", name="Stay").click()
    page.get_by_role("button", name="This conversation").click()
    page.get_by_role("menuitem", name="Delete").click()
    expect(page.get_by_text("Deleted.")).to_be_visible()

    assert (palette, menu, gate, violations(page)) == ([], [], [], [])


def test_what_went_wrong_has_no_violation(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "axe-bad")
    ada.send("please", agent="raises")
    expect(ada.answer().get_by_role("group", name="This run failed")).to_be_visible()
    failed = violations(ada.page)
    ada.page.context.set_offline(True)
    ada.send("waits")
    expect(ada.page.get_by_text("on its way")).to_be_visible()

    assert (failed, violations(ada.page)) == ([], [])


@pytest.mark.parametrize("path", [f"#/settings/{one}" for one in SETTINGS] + ["#/approvals", "#/archive"])
def test_the_other_pages_have_no_violation(server: ServerProcess, people: Callable[..., Person], path: str):
    ada = people(server, f"axe-page-{re.sub(r'[^a-z]', '', path)}")
    ada.page.goto(f"{server.url}/{path}")
    expect(ada.page.get_by_role("heading", level=1)).to_be_visible()
    ada.page.wait_for_load_state("networkidle")

    assert violations(ada.page) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_the_console_has_no_violation(server: ServerProcess, people: Callable[..., Person], section: str):
    ada = people(server, f"axe-console-{section}", role="admin")
    ada.ask_server("POST", "/v1/messages", {"text": "hello", "agent": "echo", "client_message_id": "1"})
    ada.page.goto(f"{server.url}/#/console/{section}")
    expect(ada.page.get_by_role("heading", level=1)).to_be_visible()
    ada.page.wait_for_load_state("networkidle")

    assert violations(ada.page) == []


def test_the_golden_path_needs_no_mouse(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "keyboard", signed_in=False)
    page = ada.page
    page.goto(server.url)
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(ada.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")

    expect(ada.field).to_be_focused()
    page.keyboard.type("red apples")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="A question for you")).to_be_visible()
    reach(page, "Edit the arguments")
    page.keyboard.press("Enter")
    reach(page, "line", backwards=True)
    page.keyboard.press("Control+a")
    page.keyboard.type("green apples")
    reach(page, "Approve as edited")
    page.keyboard.press("Space")
    expect(page.get_by_text("word9")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("new conv")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="New conversation")).to_be_visible()
    expect(ada.field).to_be_focused()
    assert server.lines()[-1] == "green apples"


def reach(page: Page, name: str, *, backwards: bool = False) -> None:
    """Tab until the control of that name has the focus, and it is seen to have it."""
    for _ in range(40):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        focus = page.evaluate(
            """() => {
                const at = document.activeElement;
                const label = at.getAttribute('aria-label') ?? at.labels?.[0]?.textContent ?? at.textContent;
                const style = getComputedStyle(at);
                return [label.trim(), style.outlineStyle !== 'none' || at.matches('textarea')];
            }"""
        )
        if focus[0].startswith(name):
            assert focus[1], f"one does not see that {name} has the focus"
            return
    raise AssertionError(f"{name} cannot be reached by the keyboard")
