"""What an operator sees and does in the console, and what nobody but the owner of a run ever sees."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Locator, Page, Response, expect

from support.page import SECTIONS, Person
from support.server_process import PASSWORD, ServerProcess

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(40)]
CANARY = "kanarienvogel"
NUMBERS = count()
# What each section reads; whoever waits for it has seen the section filled.
ROUTES = {
    "runs": "/v1/admin/runs",
    "operations": "/v1/admin/operations",
    "throughput": "/v1/admin/throughput",
    "errors": "/v1/admin/failures",
    "users": "/v1/admin/users",
    "usage": "/v1/admin/usage/days",
    "approvals": "/v1/admin/runs",
    "doctor": "/v1/admin/checkups",
    "audit": "/v1/admin/audit",
}


# Runs


def test_an_operator_finds_a_stuck_run_and_stops_it(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "stuck")
    ask(root, "endless")
    ada.send("hello", agent="hangs")
    expect(ada.page.get_by_role("button", name="Stop")).to_be_visible()
    stuck = only_run(root, agent="hangs")
    ask(root, "endless")
    ask(root, "confides")
    page = root.page
    page.clock.install()
    show(root, "runs")
    runs = rows(page, "Runs")
    expect(runs).to_have_count(4)
    expect(runs.filter(has_text="endless").filter(has_text="running")).to_have_count(2)
    expect(runs.filter(has_text="confides")).to_contain_text("a yes to ask")
    expect(runs.first).to_contain_text("hangs")
    page.get_by_role("button", name="Pause").click()
    page.clock.fast_forward(40_000)
    expect(runs.first.locator(".run-why")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    expect(runs.first.locator(".run-why")).to_have_count(0)

    runs.first.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"#/console/runs/{stuck}$"))
    expect(page.get_by_role("region", name="Events of the run")).to_contain_text("agent_started")
    expect(facts(page)).to_contain_text("stuck-ada@example.org")
    page.get_by_role("button", name="Cancel the run").click()
    page.get_by_label("Reason").fill("it hung for an hour")
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()

    expect(ada.answer().get_by_role("group", name="Stopped")).to_be_visible()
    expect(facts(page)).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel the run")).to_have_count(0)
    show(root, "audit", query="action=run.")
    (line,) = root.ask_server("GET", "/v1/admin/audit?action=run.")["items"]
    assert (line["action"], line["target"]) == ("run.cancelled", stuck)
    assert line["actor"] == root.ask_server("GET", "/v1/me")["user"]["id"]
    told = rows(page, "Audit trail")
    expect(told).to_have_count(1)
    expect(told).to_contain_text("run.cancelled")
    expect(told).to_contain_text("it hung for an hour")
    expect(told).to_contain_text(line["actor"][-6:])
    for run in live(root):
        root.ask_server("POST", f"/v1/admin/runs/{run}/cancel", {})


def test_the_steps_of_a_live_run_are_shown_while_it_waits(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "steps")
    run = ask(ada, "confides")
    show(root, "runs", run)
    page = root.page

    expect(facts(page)).to_contain_text("waiting")
    steps = rows(page, "Steps of the run")
    expect(steps.filter(has_text="repeat")).to_contain_text("done")
    expect(steps.filter(has_text="(no such tool)")).to_have_count(1)
    expect(rows(page, "Approvals of the run")).to_contain_text("not yet")
    show(root, "approvals")
    waiting = rows(page, "Runs that wait for a person")
    expect(waiting).to_have_count(1)
    expect(waiting).to_contain_text("steps-ada")
    waiting.get_by_role("link").click()
    expect(page).to_have_url(re.compile(f"#/console/runs/{run}$"))
    decide(ada, run, "Approve", "Approve")

    expect(facts(page)).to_contain_text("completed")
    expect(rows(page, "Effects of the run")).to_contain_text("note")
    expect(rows(page, "Approvals of the run").filter(has_text="approved")).to_have_count(2)


def test_an_operator_never_sees_what_was_said(server: ServerProcess, people: Callable[..., Person]):
    ada, root = (
        people(server, "secret-ada", tenant="secret"),
        people(server, "secret-root", tenant="secret", role="admin"),
    )
    failed, waiting, done = (ask(ada, "confides", CANARY) for _ in range(3))
    decide(ada, failed, "Deny")
    decide(ada, done, "Approve", "Approve")
    show(root, "runs", done)
    expect(facts(root.page)).to_contain_text("completed")
    show(root, "runs", failed)
    expect(facts(root.page)).to_contain_text("failed")
    ear = Ear(root.page)

    for section in SECTIONS:
        with root.page.expect_response(lambda answer, way=ROUTES[section]: way in answer.url):  # type: ignore[misc]
            show(root, section)
        expect(root.page.get_by_text("Looking…")).to_have_count(0)
        assert CANARY not in root.page.content().lower(), section
        ear.listen()
    for run in (failed, waiting, done):
        with root.page.expect_response(re.compile(f"{run}/logs")):
            show(root, "runs", run)
        expect(rows(root.page, "Steps of the run").filter(has_text="repeat")).to_have_count(1)
        expect(root.page.get_by_role("region", name="Log lines of the run")).to_be_visible()
        events = root.page.get_by_role("region", name="Events of the run")
        expect(events).to_contain_text("agent_started")
        with root.page.expect_download() as saved:
            root.page.get_by_role("button", name="JSON").click()
        text = saved.value.path().read_text(encoding="utf-8")
        assert "tool_executing" in {event["type"] for event in json.loads(text)}
        assert CANARY not in text.lower()
        assert CANARY not in root.page.content().lower()
        ear.listen()

    assert {"/events", "/logs", "/audit", "/failures", "/users"} <= {path[path.rindex("/") :] for path in ear.heard}
    assert [path for path, body in ear.heard.items() if CANARY in body.lower()] == []
    show_thread(ada, waiting)
    expect(ada.page.locator(".question-text")).to_have_text(CANARY)
    expect(ada.page.locator(".chat-title")).to_contain_text(CANARY)
    expect(ada.page.get_by_role("group", name="A question for you")).to_contain_text(f"May I tell {CANARY}?")
    show_thread(ada, done)
    expect(ada.page.locator(".answer")).to_contain_text(CANARY)


def test_filters_are_in_the_address_and_survive_a_reload(server: ServerProcess, people: Callable[..., Person]):
    ada, root = (
        people(server, "filter-ada", tenant="filter"),
        people(server, "filter-root", tenant="filter", role="admin"),
    )
    ask(ada, "raises")
    ask(ada, "echo")
    ask(root, "echo")
    page = root.page
    show(root, "runs")

    page.get_by_role("button", name="over", exact=True).click()
    expect(rows(page, "Runs")).to_have_count(3)
    page.get_by_role("button", name="completed", exact=True).click()
    expect(rows(page, "Runs")).to_have_count(2)
    page.get_by_label("Agent", exact=True).select_option("echo")
    page.get_by_role("button", name="Only runs of filter-ada").click()
    expect(rows(page, "Runs")).to_have_count(1)
    address = page.url
    page.reload()

    expect(rows(page, "Runs")).to_have_count(1)
    expect(rows(page, "Runs")).to_contain_text("filter-ada")
    expect(page.get_by_role("button", name="completed", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Agent", exact=True)).to_have_value("echo")
    user = ada.ask_server("GET", "/v1/me")["user"]["id"]
    assert page.url == address
    assert set(address.split("?")[1].split("&")) == {"state=completed", "agent=echo", f"user={user}"}
    page.get_by_role("button", name="show everybody's").click()
    expect(rows(page, "Runs")).to_have_count(2)


def test_a_pasted_run_id_opens_the_run(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "paste")
    run = ask(ada, "echo")
    page = root.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(root, "runs")
    field = page.get_by_label("Open a run by its id")
    field.fill("no id at all")
    field.press("Enter")
    expect(page.get_by_text("That holds no id of a run.")).to_be_visible()
    field.fill("")

    page.evaluate("text => navigator.clipboard.writeText(text)", f'{{"run": "{run}", "level": "info"}}')
    field.press("Control+v")

    expect(page).to_have_url(re.compile(f"#/console/runs/{run}$"))
    expect(facts(page)).to_contain_text("paste-ada@example.org")


def test_whoever_pauses_is_asked_nothing_for(server: ServerProcess, people: Callable[..., Person]):
    root = people(server, "pause-root", tenant="pause", role="admin")
    page = root.page
    page.clock.install()
    show(root, "runs")
    expect(page.get_by_text("Nothing runs now, and nothing waits.")).to_be_visible()
    with page.expect_request(re.compile("/v1/admin/runs")):
        page.clock.fast_forward(3_000)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused, as of")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.clock.fast_forward(60_000)
    root.ask_server("GET", "/v1/me")

    assert [url for url in asked if "/v1/admin/" in url] == []
    with page.expect_request(re.compile("/v1/admin/runs")):
        page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_a_replay_steps_through_a_finished_run_to_its_end(server: ServerProcess, people: Callable[..., Person]):
    root = people(server, "replay", tenant="replay", role="admin")
    run = ask(root, "hostile")
    page = root.page
    show(root, "runs", run)
    expect(facts(page)).to_contain_text("completed")
    replay = page.get_by_role("group", name="Replay")
    slider = replay.get_by_label("Event", exact=True)
    last = int(slider.get_attribute("max") or "0")
    assert last > 3

    at, seen = 0, 0
    slider.focus()
    while at < last:
        slider.press("ArrowRight")
        expect(slider).not_to_have_value(str(at))
        at, before = int(slider.input_value()), at
        assert at > before
        seen += 1
    expect(replay).to_contain_text(f"{last} of {last} events")
    assert seen > 1
    now = page.locator(".event-now")
    expect(now).to_contain_text("agent_completed")
    slider.press("Home")
    expect(replay).to_contain_text(f"0 of {last} events")
    replay.get_by_role("button", name="max").click()
    replay.get_by_role("button", name="Replay", exact=True).click()

    expect(replay).to_contain_text(f"{last} of {last} events")
    expect(replay.get_by_role("button", name="Replay", exact=True)).to_be_visible()
    expect(now).to_contain_text("agent_completed")
    replay.get_by_role("button", name="Leave the replay").click()
    expect(now).to_have_count(0)


def test_a_failure_is_among_the_errors_and_leads_to_its_run(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "fail")
    ada.send("please", agent="raises")
    expect(ada.answer().get_by_role("group", name="This run failed")).to_be_visible()
    run = only_run(root, agent="raises")
    page = root.page
    show(root, "errors")
    line = rows(page, "Failures by reason")
    expect(line).to_have_count(1)
    expect(line).to_contain_text("agent_failed")
    expect(line).to_contain_text("raises")

    line.get_by_role("link").last.click()
    expect(page).to_have_url(re.compile(f"#/console/runs/{run}$"))
    expect(facts(page)).to_contain_text("agent_failed")
    page.go_back()
    line.get_by_role("link", name="1", exact=True).click()

    expect(page).to_have_url(re.compile(r"#/console/runs\?state=failed&agent=raises$"))
    expect(rows(page, "Runs")).to_have_count(1)
    expect(rows(page, "Runs")).to_contain_text("agent_failed")


# The installation


def test_what_the_doctor_found_is_shown(server: ServerProcess, people: Callable[..., Person]):
    root = people(server, "doctor", tenant="doctor", role="admin")
    page = root.page
    show(root, "doctor")
    expect(page.get_by_text("The doctor was not called yet")).to_be_visible()
    file = server.folder / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD)
    expect(page.locator(".command")).to_have_text(f"cloche doctor --url {server.url} --email {root.email}")
    called = (page.locator(".command").text_content() or "").split()[1:]

    done = server.command(*called, "--password-file", str(file), "--agent", "echo", "--any-answer", "--json")
    page.get_by_role("button", name="Look again").click()

    report = json.loads(done.stdout)
    card = page.locator(".checkup")
    expect(card).to_have_count(1)
    expect(card).to_contain_text(f"by {root.email}")
    checks = card.locator("tbody tr")
    expect(checks).to_have_count(len(report["checks"]) + 1)
    for check in report["checks"]:
        expect(checks.filter(has=page.get_by_role("cell", name=check["name"], exact=True))).to_have_count(1)


def test_usage_shows_what_the_model_calls_of_a_run_took(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "usage")
    page = root.page
    show(root, "usage")
    expect(page.get_by_text("Nothing was used.")).to_be_visible()
    ada.send("hello", agent="assistant")
    expect(ada.answer()).to_contain_text("scripted", timeout=15_000)
    expect(ada.page.get_by_role("button", name="Copy the answer")).to_be_visible()
    run = only_run(root, agent="assistant")
    used = root.ask_server("GET", f"/v1/admin/runs/{run}")["usage"]
    figures = [str(used["input_tokens"]), str(used["output_tokens"])]

    page.reload()

    expect(rows(page, "Used by agent").locator("td")).to_have_text(
        [*["assistant", "1", *figures], *["all together", "1", *figures]]
    )
    page.get_by_role("button", name="by user").click()
    expect(rows(page, "Used by user").first).to_contain_text(ada.email)
    expect(page).to_have_url(re.compile("by=user"))
    ada.page.goto(f"{server.url}/#/settings/usage")
    expect(rows(ada.page, "Used by agent").first).to_contain_text("assistant, scripted")
    assert used["output_tokens"] > 0


# People


def test_a_session_that_an_administrator_ends_is_over_at_once(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "end")
    page = root.page
    choose(root, ada, "Sessions")
    sessions = rows(page, "Sessions")
    expect(sessions).to_have_count(1)

    sessions.get_by_role("button", name="End the session").click()

    expect(ada.page.get_by_text("Your session has ended")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("There is no live session.")
    ada.sign_in()


def test_whoever_is_disabled_is_out_and_stays_out(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "off")
    choose(root, ada, "Disable")
    root.page.get_by_role("dialog").get_by_role("button", name="Disable").click()

    expect(ada.page.get_by_text("Your session has ended")).to_be_visible()
    expect(user_row(root, ada)).to_contain_text("disabled")
    ada.page.get_by_label("E-mail").fill(ada.email)
    ada.page.get_by_label("Password").fill(PASSWORD)
    ada.page.get_by_role("button", name="Sign in").click()
    expect(ada.page.get_by_text("the e-mail address or the password is wrong")).to_be_visible()
    choose(root, ada, "Enable")
    expect(user_row(root, ada)).to_contain_text("active")
    ada.sign_in()


def test_another_role_counts_at_once(server: ServerProcess, people: Callable[..., Person]):
    ada, root = both(people, server, "role")
    way = ada.page.get_by_role("link", name="Console")
    expect(way).to_have_count(0)
    assert ada.ask_server("GET", "/v1/admin/users")["error"]["code"] == "permission_denied"

    choose(root, ada, "Make an administrator")
    root.page.get_by_role("dialog").get_by_role("button", name="Make an administrator").click()
    expect(user_row(root, ada)).to_contain_text("admin")

    assert len(ada.ask_server("GET", "/v1/admin/users")["items"]) == 2
    ada.page.reload()
    way.click()
    expect(ada.page.get_by_role("heading", level=1, name="Runs")).to_be_visible()
    choose(root, ada, "Make a member")
    root.page.get_by_role("dialog").get_by_role("button", name="Make a member").click()
    expect(user_row(root, ada)).to_contain_text("member")
    assert ada.ask_server("GET", "/v1/admin/users")["error"]["code"] == "permission_denied"
    ada.page.reload()
    expect(ada.page.get_by_text("This needs the permission admin:runs")).to_be_visible()
    expect(way).to_have_count(0)


def test_a_member_who_types_the_address_is_refused_in_words(server: ServerProcess, people: Callable[..., Person]):
    ada = people(server, "curious", tenant="curious")
    statuses: set[int] = set()

    def hear(answer: Response) -> None:
        if "/v1/admin/" in answer.url:
            statuses.add(answer.status)

    ada.page.on("response", hear)

    for section in SECTIONS:
        show(ada, section)
        expect(ada.page.get_by_role("alert")).to_contain_text("This needs the permission admin:")
        expect(ada.page.get_by_role("table")).to_have_count(0)
    show(ada, "users")
    expect(ada.page.get_by_role("alert")).to_contain_text("admin:users, which you do not have")
    refused = [ada.ask_server("GET", path) for path in ROUTES.values()]

    assert {answer["error"]["code"] for answer in refused} == {"permission_denied"}
    assert statuses == {403}


class Ear:
    """Every body of JSON that the server gives to a page, by its path."""

    def __init__(self, page: Page) -> None:
        self.heard: dict[str, str] = {}
        self._answers: list[Response] = []
        page.on("response", self._hear)

    def _hear(self, answer: Response) -> None:
        self._answers.append(answer)

    def listen(self) -> None:
        """What arrived since the last time is read."""
        while self._answers:
            answer = self._answers.pop(0)
            if "json" not in answer.headers.get("content-type", ""):
                continue
            path = answer.url.split("?")[0]
            self.heard[path] = self.heard.get(path, "") + answer.text()


def both(people: Callable[..., Person], server: ServerProcess, name: str) -> tuple[Person, Person]:
    """A member and an administrator of a tenant of their own."""
    root = people(server, f"{name}-root", tenant=name, role="admin")
    return people(server, f"{name}-ada", added_by=root), root


def show(person: Person, section: str, run_id: str = "", *, query: str = "") -> None:
    """The section of the console is in the address, and its head in the page."""
    place = f"#/console/{section}{run_id and f'/{run_id}'}{query and f'?{query}'}"
    person.page.goto(f"{person.server.url}/{place}")
    expect(person.page.get_by_role("heading", level=1)).to_be_visible()


def show_thread(person: Person, run_id: str) -> None:
    thread = person.ask_server("GET", f"/v1/runs/{run_id}")["thread_id"]
    person.page.goto(f"{person.server.url}/#/t/{thread}")


def facts(page: Page) -> Locator:
    """The card that tells how the run stands."""
    return page.get_by_role("region", name="The run", exact=True)


def rows(page: Page, label: str) -> Locator:
    """The rows of the table of that name."""
    return page.get_by_role("region", name=label, exact=True).locator("tbody tr")


def ask(person: Person, agent: str, text: str = "hello") -> str:
    """The run that answers the person in a conversation of its own."""
    body = {"text": text, "agent": agent, "client_message_id": f"message-{next(NUMBERS)}"}
    return person.ask_server("POST", "/v1/messages", body)["run_id"]


def decide(person: Person, run_id: str, *answers: str) -> None:
    """The person answers the questions of the run, one after another, in its conversation."""
    show_thread(person, run_id)
    for number, answer in enumerate(answers, start=1):
        person.page.get_by_role("button", name=answer, exact=True).click()
        expect(person.page.locator(".approval-decided")).to_have_count(number)


def only_run(root: Person, *, agent: str) -> str:
    """The run of the agent in the tenant."""
    (run,) = root.ask_server("GET", f"/v1/admin/runs?agent={agent}")["items"]
    return run["id"]


def live(root: Person) -> list[str]:
    return [run["id"] for run in root.ask_server("GET", "/v1/admin/runs?live=true")["items"]]


def user_row(root: Person, user: Person) -> Locator:
    return rows(root.page, "Users").filter(has_text=user.email)


def choose(root: Person, user: Person, action: str) -> None:
    """The administrator chooses an action for the user."""
    show(root, "users")
    root.page.get_by_role("button", name=f"Actions for {user.email}").click()
    root.page.get_by_role("menuitem", name=action).click()
