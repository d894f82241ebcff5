"""Somebody in front of the page, and what that person does with it."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

from support.server_process import PASSWORD, ServerProcess

CONFIG = """
default_agent = "guide"

[agents.guide]
use = "support.page_agents:guide"
description = "Looks things up, asks before it writes, and answers at length."
tools = ["look", "note"]

[agents.echo]
use = "support.agents:echo"
description = "Says what was said."

[agents.slow]
use = "support.page_agents:slow"
description = "Answers slowly."

[agents.raises]
use = "support.agents:raises"
description = "Fails."

[agents.hostile]
use = "support.page_agents:hostile"
description = "Says what was said: as thinking, as a tool's result, and as an answer."
tools = ["repeat"]

[agents.confides]
use = "support.page_agents:confides"
description = "Says what was said wherever an agent says anything."
tools = ["repeat", "note"]

[agents.hangs]
use = "support.agents:hangs"
description = "Does nothing, for ever."

[agents.endless]
use = "support.agents:endless"
description = "Answers without an end."

[tools.look]
use = "support.page_agents:look"
effect = "none"

[tools.repeat]
use = "support.page_agents:repeat"
effect = "none"

[tools.note]
use = "support.agents:note"
effect = "internal"
needs_approval = true

[runs]
drain_s = 0.5

[telemetry]
log_format = "json"
"""

SETTINGS = ("profile", "password", "sessions", "usage", "data")
SECTIONS = (
    "runs",
    "operations",
    "throughput",
    "errors",
    "users",
    "usage",
    "approvals",
    "doctor",
    "audit",
)

_EXPECTED = re.compile(r"Failed to load resource|WebSocket connection to|ERR_CONNECTION|ERR_INTERNET|ERR_NETWORK|net::")


class Person:
    """A person's page. ``faults`` is what went wrong in it: errors that were thrown, and what a policy refused."""

    def __init__(self, page: Page, server: ServerProcess, email: str) -> None:
        self.page = page
        self.server = server
        self.email = email
        self.faults: list[str] = []
        self.watch(page)

    def watch(self, page: Page) -> None:
        """What goes wrong in this page counts, too."""
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        # A refused or broken request is told by the page itself.
        if message.type == "error" and not _EXPECTED.search(message.text):
            self.faults.append(message.text)

    def sign_in(self) -> None:
        """The person is signed in, by the form."""
        self.page.goto(self.server.url)
        self.page.get_by_label("E-mail").fill(self.email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.field).to_be_visible()

    def another_tab(self, address: str = "") -> Page:
        """A second tab of the same browser."""
        tab = self.page.context.new_page()
        self.watch(tab)
        tab.goto(address or self.page.url)
        return tab

    @property
    def field(self) -> Locator:
        """Where a message is written."""
        return self.page.get_by_label("Message", exact=True)

    def send(self, text: str, *, agent: str = "") -> None:
        """The message is sent, by the keyboard."""
        if agent:
            self.page.get_by_label("Agent", exact=True).select_option(label=agent)
        self.field.fill(text)
        self.field.press("Enter")

    def answer(self, number: int = -1) -> Locator:
        """The text of an answer; by default of the last one."""
        found = self.page.locator(".answer")
        return found.last if number < 0 else found.nth(number)

    def ask_server(self, method: str, path: str, body: object = None) -> Any:
        """What the server answers to the page itself: by the browser's own session, CSRF token and all."""
        return self.page.evaluate(
            """async ([method, path, body]) => {
                const session = await (await fetch('/v1/browser-session')).json();
                const headers = {'x-csrf-token': session.csrf_token, 'content-type': 'application/json'};
                const sent = body === null ? null : JSON.stringify(body);
                const answer = await fetch(path, {method, headers, body: sent});
                const text = await answer.text();
                return text === '' ? null : JSON.parse(text);
            }""",
            [method, path, body],
        )

    @property
    def thread_id(self) -> str:
        """The thread that is open."""
        found = re.search(r"#/t/(thread_\w+)", self.page.url)
        assert found is not None, self.page.url
        return found[1]
