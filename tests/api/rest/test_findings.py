"""The repair view over HTTP: of the own tenant only, without anybody's content, and one finding at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.conftest import Switches
from cloche.domain.permissions import Permission
from cloche.execution.intake import Accepted
from support.world import World

SECRET = "what nobody else may read"

Plant = Callable[[Any], Awaitable[dict[str, Any]]]


@pytest.fixture
def plant(world: World, echo: None) -> Plant:
    """A run of that person is over, and its row points beside its last event; what was answered to the message."""

    async def work(person: Any) -> dict[str, Any]:
        sent = await person.make("/v1/messages", 202, text=SECRET)
        accepted = Accepted(**{name: sent[name] for name in ("thread_id", "message_id", "run_id", "seq")})
        await world.until(person.scope, accepted)
        statement = "UPDATE runs SET last_seq = 0 WHERE id = ?"
        await world.database.write(lambda tx: tx.execute(statement, sent["run_id"]))
        return sent

    return work


async def test_what_disagrees_is_listed_with_ids_and_what_would_be_done(admin: Any, ada: Any, plant: Plant):
    sent = await plant(ada)

    answer = await admin.get("/v1/admin/findings")

    assert SECRET not in answer.text
    page = answer.json()
    assert page["more"] is False
    finding = page["items"][0]
    assert (finding["kind"], finding["run_id"], finding["thread_id"]) == (
        "run_without_end",
        sent["run_id"],
        sent["thread_id"],
    )
    assert (finding["user_id"], finding["state"], finding["repairable"]) == (str(ada.scope.user_id), "completed", True)
    assert finding["age_s"] >= 0
    assert finding["what"].startswith("the run is completed")
    assert finding["would"].startswith("write the missing event")


async def test_a_finding_is_repaired_once_and_is_in_the_trail(admin: Any, ada: Any, plant: Plant):
    sent = await plant(ada)
    finding = (await admin.see("/v1/admin/findings"))["items"][0]

    repaired = await admin.make("/v1/admin/repairs", 200, finding=finding["id"])
    again = await admin.make("/v1/admin/repairs", 404, finding=finding["id"])

    assert repaired["id"] == finding["id"]
    assert again["error"]["code"] == "not_found"
    assert (await admin.see("/v1/admin/findings"))["items"] == []
    line = (await admin.see("/v1/admin/audit?limit=1"))["items"][0]
    assert (line["action"], line["actor"], line["target"]) == (
        "finding.repaired",
        str(admin.scope.user_id),
        sent["run_id"],
    )


async def test_what_needs_a_person_is_a_conflict(admin: Any, ada: Any, plant: Plant, world: World):
    sent = await plant(ada)
    statement = "UPDATE threads SET head_seq = head_seq + 1 WHERE id = ?"
    await world.database.write(lambda tx: tx.execute(statement, sent["thread_id"]))
    found = (await admin.see("/v1/admin/findings"))["items"]
    finding = next(one for one in found if one["kind"] == "log_cut_short")

    refused = await admin.make("/v1/admin/repairs", 409, finding=finding["id"])

    assert finding["repairable"] is False
    assert refused["error"]["code"] == "not_repairable"


async def test_another_tenant_s_finding_is_like_one_that_does_not_exist(admin: Any, ada: Any, eve: Any, plant: Plant):
    await plant(ada)
    finding = (await admin.see("/v1/admin/findings"))["items"][0]["id"]
    missing = finding[:-4] + "0000"

    foreign, unknown = [(await eve.make("/v1/admin/repairs", 404, finding=one))["error"] for one in (finding, missing)]

    assert (await eve.see("/v1/admin/findings"))["items"] == []
    assert {**foreign, "request_id": ""} == {**unknown, "request_id": ""}
    assert len((await admin.see("/v1/admin/findings"))["items"]) == 1


async def test_a_member_sees_and_repairs_nothing(ada: Any, plant: Plant):
    await plant(ada)

    seen, repaired = await ada.get("/v1/admin/findings"), await ada.post("/v1/admin/repairs", json={"finding": "x"})

    assert (seen.status_code, repaired.status_code) == (403, 403)
    assert seen.json()["error"]["details"]["permission"] == "admin:runs"
    assert repaired.json()["error"]["details"]["permission"] == "admin:repairs"


async def test_who_may_look_may_not_repair_by_that(admin: Any, ada: Any, plant: Plant, switches: Switches):
    await plant(ada)
    switches.granted = frozenset({str(Permission.ADMIN_RUNS)})

    finding = (await admin.see("/v1/admin/findings"))["items"][0]["id"]
    refused = await admin.make("/v1/admin/repairs", 403, finding=finding)

    assert refused["error"]["code"] == "permission_denied"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("since=yesterday", "query.since"),
        ("since=1893456000", "query.since"),
        ("since=2030-01-01T00:00", "query.since"),
    ],
)
async def test_a_look_back_that_is_no_time_is_refused(admin: Any, path: str, place: str):
    answer = await admin.get(f"/v1/admin/findings?{path}")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)


async def test_the_look_back_is_as_far_as_is_asked_for(admin: Any, ada: Any, plant: Plant):
    await plant(ada)

    later = await admin.see("/v1/admin/findings?since=2999-01-01T00:00:00Z")
    earlier = await admin.see("/v1/admin/findings?since=2001-01-01T00:00:00Z")

    assert (later["items"], later["looked_back_to"]) == ([], "2999-01-01T00:00:00.000Z")
    assert len(earlier["items"]) == 1


@pytest.mark.parametrize("body", [{}, {"finding": "x"}, {"finding": "x" * 300}, {"finding": 1}])
async def test_what_names_no_finding_is_refused(admin: Any, body: dict[str, object]):
    answer = await admin.post("/v1/admin/repairs", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, "$.finding")
