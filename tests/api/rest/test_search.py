"""Search over HTTP."""

from __future__ import annotations

from typing import Any

import pytest


async def test_conversations_are_found_by_title_and_by_what_was_said(ada: Any, echo: None):
    sent = await ada.make("/v1/messages", 202, text="How do I prune " + "very " * 60 + "old roses, please?")
    called = await ada.make("/v1/threads", title="Roses")
    await ada.post(f"/v1/threads/{called['id']}/archive")
    await ada.make("/v1/threads", title="Tulips")

    found = (await ada.see("/v1/search?q=roses"))["items"]
    first = (await ada.see("/v1/search?q=roses&limit=1"))["items"]

    assert [(item["thread"]["id"], item["message_id"], item["role"]) for item in found] == [
        (called["id"], None, None),
        (sent["thread_id"], sent["message_id"], "user"),
    ]
    assert found[0]["snippet"] == "Roses"
    assert "old roses, please?" in found[1]["snippet"]
    assert len(found[1]["snippet"]) == 160
    assert found[1]["thread"] == await ada.see(f"/v1/threads/{sent['thread_id']}")
    assert first == found[:1]


async def test_what_is_deleted_or_another_s_is_not_found(ada: Any, bob: Any, eve: Any):
    made = await ada.make("/v1/threads", title="secret")

    strangers = [(await person.see("/v1/search?q=secret"))["items"] for person in (bob, eve)]
    own = (await ada.see("/v1/search?q=secret"))["items"]
    await ada.delete(f"/v1/threads/{made['id']}")
    gone = (await ada.see("/v1/search?q=secret"))["items"]

    assert (strangers, len(own), gone) == ([[], []], 1, [])


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20+", f"?q={'x' * 201}"])
async def test_a_search_needs_words(ada: Any, query: str):
    refused = await ada.get(f"/v1/search{query}")

    assert refused.status_code == 400
    assert refused.json()["error"]["details"]["place"] == "query.q"


async def test_control_characters_are_refused_before_anything_is_looked_for(ada: Any):
    assert (await ada.get("/v1/search?q=a%00b")).status_code == 400


@pytest.mark.parametrize("words", ["%25", "_", "%5C"])
async def test_signs_are_looked_for_as_they_are(ada: Any, words: str):
    await ada.make("/v1/threads", title="plain")

    assert (await ada.see(f"/v1/search?q={words}"))["items"] == []
