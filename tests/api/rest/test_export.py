"""Downloads of threads, and of everything."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from cloche.agents.function import AgentRun
from cloche.api.rest import export as export_module
from cloche.execution.intake import Accepted
from cloche.tools.tool import tool
from support.world import World


def accepted_of(answer: dict[str, Any]) -> Accepted:
    return Accepted(**{name: answer[name] for name in ("thread_id", "message_id", "run_id", "seq")})


@pytest.fixture
async def thread(ada: Any, world: World) -> str:
    """A thread with a question, a tool, an answer, and a run that failed."""

    async def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    async def agent(run: AgentRun) -> str:
        if run.text == "fail":
            raise RuntimeError
        await run.call_tool("double", number=21)
        return "It is **42**."

    world.programs.add("clerk", agent, tools={"double": tool(double)})
    first = await ada.make("/v1/messages", 202, text='Twice 21? "Ärger"')
    await world.until(ada.scope, accepted_of(first))
    path = f"/v1/threads/{first['thread_id']}/messages"
    await world.until(ada.scope, accepted_of(await ada.make(path, 202, text="fail")))
    return first["thread_id"]


async def test_a_thread_is_downloaded_as_markdown(ada: Any, thread: str):
    answer = await ada.get(f"/v1/threads/{thread}/export")

    lines = [line for line in answer.text.splitlines() if line]
    assert answer.headers["Content-Type"].startswith("text/markdown")
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename=\"Twice 21 _rger.md\"; filename*=UTF-8''Twice%2021%20%C3%84rger.md"
    )
    assert lines[0] == '# Twice 21? "Ärger"'
    assert lines[1].startswith(f"Thread `{thread}`, begun ")
    assert lines[2].startswith("## You, 20")
    assert lines[3] == 'Twice 21? "Ärger"'
    assert lines[4].startswith("- Tool `double`: done in ")
    assert lines[5].startswith("## clerk, 20")
    assert lines[6] == "It is **42**."
    assert lines[7].startswith("## You, 20")
    assert lines[8] == "fail"
    assert lines[9].startswith("> The run of clerk ended as failed, ")
    assert lines[9].endswith("(`agent_failed`)")
    assert len(lines) == 10


async def test_a_thread_is_downloaded_as_json(ada: Any, thread: str):
    answer = await ada.get(f"/v1/threads/{thread}/export?format=json")

    found, shown = answer.json(), await ada.see(f"/v1/threads/{thread}")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"].endswith(".json")
    assert (found["format"], sorted(found)) == ("cloche.thread.v1", ["entries", "exported_at", "format", "thread"])
    assert found["thread"] == {
        name: shown[name]
        for name in ("id", "title", "metadata", "created_at", "updated_at", "archived_at", "branched_from")
    }
    messages = (await ada.see(f"/v1/threads/{thread}/messages"))["items"][::-1]
    said = [entry for entry in found["entries"] if entry["type"] == "message"]
    assert [(one["message_id"], one["role"], one["parts"], one["at"], one["run_id"]) for one in said] == [
        (one["id"], one["role"], one["parts"], one["created_at"], one["run_id"]) for one in messages
    ]
    assert [one["agent"] for one in said] == [None, "clerk", None]
    [call] = [entry for entry in found["entries"] if entry["type"] == "tool_call"]
    assert (call["tool"], call["ok"], call["run_id"]) == ("double", True, messages[0]["run_id"])
    ends = [entry for entry in found["entries"] if entry["type"] == "run_ended"]
    assert [(one["state"], one["failure"] and one["failure"]["code"]) for one in ends] == [
        ("completed", None),
        ("failed", "agent_failed"),
    ]


async def test_a_branch_and_an_empty_thread_are_downloaded(ada: Any, thread: str):
    messages = (await ada.see(f"/v1/threads/{thread}/messages"))["items"]
    branch = await ada.make(f"/v1/threads/{thread}/branch", message_id=messages[0]["id"])
    empty = await ada.make("/v1/threads")

    of_branch = (await ada.get(f"/v1/threads/{branch['id']}/export?format=json")).json()
    of_empty = (await ada.get(f"/v1/threads/{empty['id']}/export?format=json")).json()

    assert of_branch["thread"]["branched_from"] == branch["branched_from"]
    assert [entry["parts"][0]["text"] for entry in of_branch["entries"]] == ['Twice 21? "Ärger"', "It is **42**."]
    assert of_empty["entries"] == []


@pytest.mark.parametrize("query", ["format=pdf", "format="])
async def test_other_formats_are_refused(ada: Any, query: str):
    made = await ada.make("/v1/threads")

    refused = await ada.get(f"/v1/threads/{made['id']}/export?{query}")

    assert (refused.status_code, refused.json()["error"]["details"]["place"]) == (400, "query.format")


async def test_everything_is_downloaded_as_a_zip(ada: Any, bob: Any, thread: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export_module, "PAGE_THREADS", 2)
    made = [thread, *[(await ada.make("/v1/threads", title=title))["id"] for title in ("../up", "Roses", "")]]
    await ada.post(f"/v1/threads/{made[2]}/archive")
    await ada.delete(f"/v1/threads/{made[3]}")
    await bob.make("/v1/threads", title="Bob's")

    answer = await ada.get("/v1/me/export")

    found = zipfile.ZipFile(io.BytesIO(answer.content))
    assert (answer.headers["Content-Type"], found.testzip()) == ("application/zip", None)
    assert found.namelist() == [
        "profile.json",
        *(
            f"threads/{name}-{thread_id}.{extension}"
            for name, thread_id in zip(("Twice 21 Ärger", "up", "Roses"), made[:3], strict=True)
            for extension in ("md", "json")
        ),
    ]
    profile, me = json.loads(found.read("profile.json")), await ada.see("/v1/me")
    assert profile == me["user"]
    texts = {name: found.read(name).decode() for name in found.namelist()}
    assert "It is **42**." in texts[f"threads/Twice 21 Ärger-{thread}.md"]
    assert json.loads(texts[f"threads/Roses-{made[2]}.json"])["thread"]["archived_at"] is not None
    assert not [text for text in texts.values() if "Bob's" in text]
