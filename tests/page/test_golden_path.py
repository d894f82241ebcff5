"""A person with a browser: from signing in to the answer, and through everything that can come between."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from support.page import Person
from support.page_agents import WORDS
from support.server_process import PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow]
WHOLE = " ".join(f"word{number}" for number in range(WORDS)) + " the end"


def test_from_signing_in_to_an_answer_with_a_question_in_between(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "golden", signed_in=False)
    ada.sign_in()

    ada.send("red apples")
    answer = ada.answer()
    expect(answer.get_by_text("I look it up first").first).to_be_visible()
    expect(answer.get_by_label("Tool look, done")).to_be_visible()
    question = answer.get_by_role("group", name="A question for you")
    expect(question).to_be_visible()
    expect(ada.page).to_have_title(re.compile(r"^\(1\) "))
    question.get_by_role("button", name="Edit the arguments").click()
    question.get_by_label("line").fill("green apples")
    question.get_by_role("button", name="Approve as edited").click()

    expect(answer.get_by_text("Approved, with edited arguments")).to_be_visible()
    expect(answer.get_by_label("Tool note, done")).to_be_visible()
    expect(answer.get_by_label("Tool note")).to_have_count(1)
    expect(answer.get_by_role("table")).to_contain_text("notes")
    expect(answer).to_contain_text("word9")
    expect(answer.get_by_role("button", name="Copy the answer")).to_be_visible()
    expect(ada.page.get_by_role("link", name="red apples")).to_be_visible()
    assert server.lines()[-1] == "green apples"
    shown = [event["type"] for event in story(ada)]
    assert {"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"} <= set(shown)


def test_a_reload_in_mid_stream_goes_on(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "reload")
    ada.send("slowly", agent="slow")
    expect(ada.answer()).to_contain_text("word8")

    ada.page.reload()

    expect(ada.answer()).to_contain_text("the end", timeout=10_000)
    assert words(ada) == WHOLE


def test_a_server_that_is_killed_in_mid_stream_finishes_the_answer_once(
    own_server: ServerProcess, people: Callable[..., Person]
):
    ada = people(own_server, "killed")
    ada.send("slowly", agent="slow")
    expect(ada.answer()).to_contain_text("word8")

    own_server.kill()
    expect(ada.page.get_by_text(re.compile("No connection|Connecting"))).to_be_visible()
    own_server.start()

    expect(ada.answer()).to_contain_text("the end", timeout=15_000)
    expect(ada.page.get_by_text("No connection")).to_have_count(0)
    assert words(ada) == WHOLE
    assert ada.page.locator(".turn").count() == 1


def test_two_people_share_nothing(server: ServerProcess, people: Callable[..., Person]):
    ada, bob = people(server, "apart-a"), people(server, "apart-b")
    ada.send("a secret of ada", agent="echo")
    expect(ada.answer()).to_contain_text("a secret of ada")

    bob.page.goto(ada.page.url)
    expect(bob.page.get_by_text("This conversation is not there")).to_be_visible()
    bob.page.get_by_placeholder("Search").fill("secret")
    expect(bob.page.get_by_text("Nothing found.")).to_be_visible()

    assert "a secret of ada" not in bob.page.content()


def test_two_tabs_of_a_thread_are_in_step(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "tabs")
    ada.send("first", agent="echo")
    expect(ada.answer()).to_contain_text("first")
    other = ada.another_tab()
    expect(other.locator(".answer")).to_have_count(1)

    ada.send("second")
    expect(other.locator(".question-text").last).to_have_text("second")
    other.get_by_role("button", name="Approve").click()

    for page in (ada.page, other):
        expect(page.get_by_text("word9")).to_be_visible()
        expect(page.get_by_label("Tool note, done")).to_have_count(1)


def test_stop_stops(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "stop")
    ada.send("slowly", agent="slow")
    expect(ada.answer()).to_contain_text("word5")

    ada.page.get_by_role("button", name="Stop").click()

    expect(ada.answer().get_by_role("group", name="Stopped")).to_be_visible()
    assert story(ada)[-1]["type"] == "agent_cancelled"
    ada.page.get_by_role("button", name="Try again").click()
    expect(ada.page.get_by_text("Tried again")).to_be_visible()
    expect(ada.answer()).to_contain_text("the end", timeout=10_000)


def test_escape_stops_too(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "escape")
    ada.send("slowly", agent="slow")
    expect(ada.answer()).to_contain_text("word3")

    ada.page.keyboard.press("Escape")

    expect(ada.answer().get_by_role("group", name="Stopped")).to_be_visible()


def test_a_failure_is_shown_as_one(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "failure")

    ada.send("please", agent="raises")

    failure = ada.answer().get_by_role("group", name="This run failed")
    expect(failure).to_contain_text("agent_failed")
    assert "secret text" not in ada.page.content()


def test_who_signs_out_in_one_tab_is_signed_out_in_all(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "leaver")
    other = ada.another_tab(server.url)
    expect(other.get_by_label("Message", exact=True)).to_be_visible()

    ada.page.keyboard.press("Control+k")
    ada.page.get_by_role("combobox", name="Command or conversation").fill("sign out")
    ada.page.keyboard.press("Enter")

    expect(ada.page.get_by_text("You are signed out.")).to_be_visible()
    expect(other.get_by_text("You signed out in another tab.")).to_be_visible()


def test_a_session_that_is_ended_elsewhere_ends_here(
    server: ServerProcess, people: Callable[..., Person], open_browser: Callable[..., Any]
):
    ada = people(server, "revoked")
    ada.send("hello", agent="echo")
    expect(ada.answer()).to_contain_text("hello")
    (session,) = [one for one in ada.ask_server("GET", "/v1/sessions")["items"] if one["is_current"]]
    elsewhere = Person(open_browser().new_page(), server, ada.email)
    elsewhere.sign_in()

    elsewhere.ask_server("DELETE", f"/v1/sessions/{session['id']}")

    expect(ada.page.get_by_text("Your session has ended")).to_be_visible()
    assert "hello" not in ada.page.locator("body").inner_text()


def test_a_message_that_was_written_offline_is_delivered_once(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "offline")
    ada.send("first", agent="echo")
    expect(ada.answer()).to_contain_text("first")
    ada.page.context.set_offline(True)
    expect(ada.page.get_by_text("Offline. What you send waits here.")).to_be_visible()

    ada.send("written on the train", agent="echo")
    expect(ada.page.get_by_text("on its way")).to_be_visible()
    ada.page.context.set_offline(False)

    expect(ada.answer(1)).to_contain_text("written on the train")
    expect(ada.page.get_by_text("on its way")).to_have_count(0)
    expect(ada.page.get_by_text(re.compile("Reconnected"))).to_be_visible()
    assert [event["type"] for event in story(ada)].count("message_created") == 2


def test_a_message_whose_answer_was_lost_is_delivered_once(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "lost")
    ada.send("first", agent="echo")
    expect(ada.answer()).to_contain_text("first")
    lost: list[str] = []

    def lose(route: Route) -> None:
        route.fetch()
        lost.append(route.request.url)
        route.abort()

    ada.page.route("**/messages", lose, times=1)
    ada.send("sent twice", agent="echo")

    expect(ada.answer(1)).to_contain_text("sent twice")
    expect(ada.page.get_by_text("on its way")).to_have_count(0)
    assert len(lost) == 1
    assert [event["type"] for event in story(ada)].count("message_created") == 2


def test_a_wrong_password_is_told_and_loses_nothing(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "wrong", signed_in=False)
    ada.page.goto(server.url)

    ada.page.get_by_label("E-mail").fill(ada.email)
    ada.page.get_by_label("Password").fill("not this one")
    ada.page.get_by_role("button", name="Sign in").click()
    expect(ada.page.get_by_role("alert")).to_have_text("the e-mail address or the password is wrong")
    ada.page.get_by_label("Password").fill(PASSWORD)
    ada.page.keyboard.press("Enter")

    expect(ada.field).to_be_visible()


def test_the_set_up_link_makes_the_first_administrator(own_server: ServerProcess, open_browser: Callable[..., Any]):
    link = own_server.wait_for(r"http://\S+/#setup=\S+")[0]
    page = open_browser().new_page()
    page.goto(link)

    expect(page).not_to_have_url(re.compile("setup="))
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password").fill("too short")
    page.keyboard.press("Enter")
    expect(page.get_by_text("a password has 12 to")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")

    expect(page.get_by_role("link", name="Console")).to_be_visible()
    expect(page.get_by_text("Hello Ada.")).to_be_visible()


def test_nothing_of_a_session_is_in_storage_or_address(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "storage")
    ada.send("hello", agent="echo")
    expect(ada.answer()).to_contain_text("hello")

    kept = ada.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")

    cookies: list[Any] = [*ada.page.context.cookies()]
    assert {cookie["name"] for cookie in cookies} == {"__Host-cloche_access", "__Host-cloche_refresh"}
    assert all(cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict" for cookie in cookies)
    assert not any(cookie["value"] in kept for cookie in cookies)
    assert "eyJ" not in kept


def story(person: Person) -> list[dict[str, Any]]:
    """The thread's events, as the server has them."""
    return person.page.evaluate(
        """async (thread) => {
            const events = [];
            const source = new EventSource(`/v1/threads/${thread}/events`);
            await new Promise((done) => {
                let timer = setTimeout(done, 400);
                source.onmessage = (message) => {
                    events.push(JSON.parse(message.data));
                    clearTimeout(timer);
                    timer = setTimeout(done, 400);
                };
            });
            source.close();
            return events;
        }""",
        person.thread_id,
    )


def words(person: Person) -> str:
    return " ".join(person.answer().locator(".md").inner_text().split())


def test_a_part_that_cannot_be_loaded_is_told_and_loaded_later(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "parts")
    ada.page.route("**/assets/Settings-*.js", lambda route: route.abort())

    ada.page.get_by_role("link", name="parts").click()
    expect(ada.page.get_by_text("This part of the page could not be shown.")).to_be_visible()
    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    expect(ada.field).to_be_visible()
    ada.page.unroute_all()
    ada.page.get_by_role("link", name="parts").click()
    ada.page.get_by_role("button", name="Load the page again").click()

    expect(ada.page.get_by_role("heading", level=1)).to_have_text("Profile")
    ada.faults.clear()  # the cut that this test made


def test_who_comes_next_to_a_browser_finds_nothing_of_who_was_there(
    server: ServerProcess, people: Callable[..., Person]
):
    ada = people(server, "leaves")
    bob = server.add_user("comes-next@example.org")
    ada.send("a secret of ada", agent="echo")
    expect(ada.answer()).to_contain_text("a secret of ada")
    ada.page.get_by_role("link", name="New conversation", exact=True).click()
    ada.field.fill("a draft of ada")
    ada.page.route("**/v1/messages", lambda route: route.abort())
    ada.send("never sent by ada")
    expect(ada.page.get_by_text("on its way")).to_be_visible()
    ada.field.fill("another draft of ada")

    ada.page.keyboard.press("Control+k")
    ada.page.get_by_role("combobox", name="Command or conversation").fill("sign out")
    ada.page.keyboard.press("Enter")
    expect(ada.page.get_by_text("You are signed out.")).to_be_visible()
    ada.page.get_by_label("E-mail").fill(bob)
    ada.page.get_by_label("Password").fill(PASSWORD)
    ada.page.keyboard.press("Enter")
    expect(ada.field).to_have_value("")

    shown = ada.page.content() + ada.page.evaluate("JSON.stringify({...localStorage})")
    assert "ada" not in shown.replace("comes-next", "")
