"""A real browser, real server processes, and the people in front of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from support.page import CONFIG, Person
from support.server_process import PASSWORD, ServerProcess

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def launch() -> Generator[Callable[..., Browser]]:
    """Starts the system's Chromium. Where there is none the tests are skipped; in CI that is a failure."""
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if path is None:
        reason = "the page's tests need Chromium: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    # Chromium's own sandbox does not run as root.
    always = ["--no-sandbox"] if os.geteuid() == 0 else []
    made: list[Browser] = []
    with sync_playwright() as playwright:

        def start(*options: str) -> Browser:
            made.append(playwright.chromium.launch(executable_path=path, args=[*always, *options]))
            return made[-1]

        yield start
        for browser in made:
            browser.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Browser:
    """One browser for all tests of a module."""
    return launch()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ServerProcess]:
    """One ready server for all tests of a module; each has people of its own."""
    found = ServerProcess(tmp_path_factory.mktemp("page"), config=CONFIG)
    found.admin_email = found.add_user("admin@example.org", role="admin")
    found.start()
    yield found
    found.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Generator[ServerProcess]:
    """A ready server that the test may stop."""
    found = ServerProcess(tmp_path, config=CONFIG)
    found.start()
    yield found
    if isinstance(found.process, subprocess.Popen):
        found.kill()


@pytest.fixture
def open_browser(browser: Browser) -> Generator[Callable[..., BrowserContext]]:
    """Makes a browser with nothing in it, as another person's would be."""
    made: list[BrowserContext] = []

    def open_one(**options: object) -> BrowserContext:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(8_000)
        made.append(context)
        return context

    yield open_one
    for context in made:
        context.close()


@pytest.fixture
def people(open_browser: Callable[..., BrowserContext]) -> Generator[Callable[..., Person]]:
    """Makes a person with a browser: ``people(server, "ada")``, in the common tenant and signed in."""
    made: list[Person] = []

    def make(
        server: ServerProcess,
        name: str,
        *,
        role: str = "member",
        tenant: str | None = None,
        added_by: Person | None = None,
        signed_in: bool = True,
        **options: object,
    ) -> Person:
        email = f"{name}@example.org"
        if added_by is None:
            server.add_user(email, role=role, tenant=tenant)
        else:
            user = {"email": email, "name": "", "role": role, "password": PASSWORD}
            assert "id" in added_by.ask_server("POST", "/v1/admin/users", user)
        page: Page = open_browser(**options).new_page()
        person = Person(page, server, email)
        made.append(person)
        if signed_in:
            person.sign_in()
        return person

    yield make
    for person in made:
        assert person.faults == [], "the page threw, or its policy refused something of its own"
