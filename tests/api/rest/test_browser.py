"""A browser's session: cookies in place of tokens, and what a page must prove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest

from cloche.api.wire.cookies import ACCESS_COOKIE, REFRESH_COOKIE
from cloche.api.wire.parts import EdgeParts
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.setup import SetUp
from cloche.ids import ThreadId

PASSWORD = "correct horse battery staple"
PAGE = {"Sec-Fetch-Site": "same-origin"}
SESSION = "/v1/browser-session"


class Browser:
    """A person's browser: it keeps cookies by itself, and its page keeps the CSRF token."""

    def __init__(self, person: Any) -> None:
        self.person = person
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    async def send(self, method: str, path: str, /, headers: dict[str, str] | None = None, **more: Any) -> Any:
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        proof = {"X-CSRF-Token": self.csrf} if self.csrf else {}
        sent = {**PAGE, **proof, **(headers or {}), **({"Cookie": jar} if jar else {})}
        answer = await self.person.request(
            method, path, headers={name: value for name, value in sent.items() if value}, **more
        )
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0" or not morsel.value:
                    del self.cookies[name]
        if answer.is_success and answer.content and "csrf_token" in answer.text:
            self.csrf = answer.json()["csrf_token"]
        return answer

    async def sign_in(self, email: str) -> dict[str, Any]:
        answer = await self.send("POST", SESSION, json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture
async def browser(ada: Any, stranger: Any) -> Browser:
    """Ada's, signed in."""
    found = Browser(stranger)
    await found.sign_in("ada@example.org")
    return found


async def test_the_tokens_stay_in_cookies_that_no_script_and_no_other_site_gets(ada: Any, stranger: Any):
    answer = await stranger.post(SESSION, headers=PAGE, json={"email": "ada@example.org", "password": PASSWORD})

    cookies = [SimpleCookie(line) for line in answer.headers.get_list("set-cookie")]
    found = {name: morsel for cookie in cookies for name, morsel in cookie.items()}
    assert set(found) == {ACCESS_COOKIE, REFRESH_COOKIE}
    for morsel in found.values():
        assert (morsel["httponly"], morsel["secure"], morsel["samesite"].lower()) == (True, True, "strict")
        assert (morsel["path"], morsel["domain"]) == ("/", "")
        assert morsel.value not in answer.text
    assert int(found[ACCESS_COOKIE]["max-age"]) <= 900
    assert 13 * 86_400 < int(found[REFRESH_COOKIE]["max-age"]) <= 14 * 86_400


async def test_a_page_that_is_opened_again_finds_its_session(browser: Browser):
    found = await browser.send("GET", SESSION)

    assert found.status_code == 200
    assert found.json()["user"]["email"] == "ada@example.org"
    assert "threads:read" in found.json()["permissions"]
    assert 0 < found.json()["expires_in"] <= 900


async def test_a_browser_reads_and_changes_what_is_its_person_s(browser: Browser):
    made = await browser.send("POST", "/v1/threads", json={"title": "Plans"})
    seen = await browser.send("GET", "/v1/threads")

    assert (made.status_code, seen.status_code) == (201, 200)
    assert [thread["title"] for thread in seen.json()["items"]] == ["Plans"]


@pytest.mark.parametrize("token", ["", "wrong", "x" * 1000])
async def test_a_change_without_the_csrf_token_is_refused(browser: Browser, token: str):
    browser.csrf = token

    answer = await browser.send("POST", "/v1/threads", json={"title": "Plans"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_refused")
    browser.csrf = ""
    assert (await browser.send("GET", "/v1/threads")).json()["items"] == []


async def test_the_csrf_token_of_one_session_does_not_open_another(
    browser: Browser, bob: Any, people: Callable[..., Awaitable[Any]]
):
    other = Browser(await people())
    await other.sign_in("bob@example.org")
    browser.csrf = other.csrf

    answer = await browser.send("POST", "/v1/threads", json={"title": "Plans"})

    assert answer.json()["error"]["code"] == "csrf_refused"


def test_a_csrf_token_outlives_the_key_that_signs():
    first, second = make_key(), make_key()
    before, after = SigningKeys([first]), SigningKeys([first, second])

    assert before.tag(b"x") in after.tags(b"x")
    assert before.tag(b"x") != after.tag(b"x")
    assert after.tag(b"x") != after.tag(b"y")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "SAME-ORIGIN", "same-origin, same-origin"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", SESSION), ("POST", f"{SESSION}/refresh"), ("POST", f"{SESSION}/setup"), ("POST", "/v1/threads")],
)
async def test_what_no_page_of_this_server_asks_for_is_not_done(browser: Browser, method: str, path: str, site: str):
    bodies: dict[str, dict[str, str]] = {
        SESSION: {"email": "ada@example.org", "password": PASSWORD},
        f"{SESSION}/setup": {"secret": "x", "email": "ada@example.org", "password": PASSWORD},
        "/v1/threads": {"title": "Plans"},
    }

    answer = await browser.send(method, path, headers={"Sec-Fetch-Site": site}, json=bodies.get(path, {}))

    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_refused")
    assert not answer.headers.get_list("set-cookie")


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
async def test_only_this_server_s_pages_and_the_person_read_with_cookies(browser: Browser, site: str, status: int):
    answer = await browser.send("GET", "/v1/threads", headers={"Sec-Fetch-Site": site})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("origin", "status"), [("http://testserver", 201), ("http://evil.example", 403), ("null", 403), ("", 403)]
)
async def test_a_browser_without_fetch_metadata_is_known_by_its_origin(browser: Browser, origin: str, status: int):
    answer = await browser.send(
        "POST", "/v1/threads", headers={"Sec-Fetch-Site": "", "Origin": origin}, json={"title": "Plans"}
    )

    assert answer.status_code == status


async def test_a_bearer_token_counts_before_cookies_and_needs_no_csrf_token(browser: Browser, bob: Any):
    browser.csrf = ""

    answer = await browser.send(
        "POST", "/v1/threads", headers={"Authorization": bob.headers["Authorization"]}, json={"title": "Bob's"}
    )

    assert answer.status_code == 201
    assert (await browser.send("GET", "/v1/threads")).json()["items"] == []


async def test_a_wrong_bearer_token_is_not_made_up_for_by_a_cookie(browser: Browser):
    answer = await browser.send("GET", "/v1/threads", headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401


async def test_a_refresh_gives_other_cookies_to_the_same_session(browser: Browser):
    before, csrf = dict(browser.cookies), browser.csrf

    answer = await browser.send("POST", f"{SESSION}/refresh")

    assert answer.status_code == 200
    assert browser.cookies[REFRESH_COOKIE] != before[REFRESH_COOKIE]
    assert browser.csrf == csrf
    assert (await browser.send("GET", SESSION)).json()["session_id"] == answer.json()["session_id"]


async def test_a_browser_that_never_signed_in_has_nothing_to_refresh(stranger: Any):
    answer = await Browser(stranger).send("POST", f"{SESSION}/refresh")

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


async def test_signing_out_ends_the_session_and_empties_the_jar(browser: Browser):
    kept = dict(browser.cookies)

    answer = await browser.send("DELETE", SESSION)
    assert (answer.status_code, browser.cookies) == (204, {})
    browser.cookies = kept
    looked = await browser.send("GET", SESSION)
    refreshed = await browser.send("POST", f"{SESSION}/refresh")

    assert [looked.json()["error"]["code"], refreshed.json()["error"]["code"]] == ["session_revoked"] * 2
    assert browser.cookies == {}


async def test_the_first_administrator_is_made_in_the_browser(services: EdgeParts, stranger: Any):
    secret = await services.sign_in.setup.ensure_setup()
    assert isinstance(services.sign_in.setup, SetUp)
    browser = Browser(stranger)

    answer = await browser.send(
        "POST", f"{SESSION}/setup", json={"secret": secret, "email": "root@example.org", "password": PASSWORD}
    )

    assert answer.status_code == 201
    assert "admin:users" in answer.json()["permissions"]
    assert (await browser.send("GET", SESSION)).json()["user"]["role"] == "admin"


async def test_a_browser_gets_a_ticket_for_its_live_connection(browser: Browser):
    answer = await browser.send("POST", "/v1/ws-tickets")

    assert answer.status_code == 201
    assert answer.json()["ticket"]


async def test_an_unknown_thing_is_unknown_to_a_browser_too(browser: Browser):
    answer = await browser.send("GET", f"/v1/threads/{ThreadId.new()}")

    assert answer.status_code == 404
