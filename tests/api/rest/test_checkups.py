"""What the doctor found, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

LINE: dict[str, object] = {"name": "sign in", "ok": True, "detail": "200 ms", "duration_ms": 200.0}
BODY: dict[str, object] = {"is_ok": True, "users": 0, "checks": [LINE]}


async def test_check_ups_are_stored_and_listed_newest_first(admin: Any, ada: Any, eve: Any):
    first = await admin.make("/v1/admin/checkups", **BODY)
    second = await admin.make("/v1/admin/checkups", is_ok=False, users=3, checks=[{**LINE, "ok": False}])

    items = (await admin.see("/v1/admin/checkups"))["items"]

    assert items == [second, first]
    assert first["by"] == {"id": str(admin.scope.user_id), "email": "root@example.org"}
    assert (first["is_ok"], first["users"], first["checks"]) == (True, 0, [LINE])
    assert (second["is_ok"], second["users"], second["checks"][0]["ok"]) == (False, 3, False)
    assert (await admin.see("/v1/admin/checkups?limit=1"))["items"] == [second]
    assert (await eve.see("/v1/admin/checkups"))["items"] == []
    assert (await ada.post("/v1/admin/checkups", json=BODY)).status_code == 403


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"checks": []}, "$.checks"),
        ({"checks": [LINE] * 101}, "$.checks"),
        ({"checks": [{**LINE, "detail": "x" * 401}]}, "$.checks[0].detail"),
        ({"checks": [{**LINE, "name": "<b>"}]}, "$.checks[0].name"),
        ({"checks": [{**LINE, "duration_ms": -1}]}, "$.checks[0].duration_ms"),
        ({"checks": [{**LINE, "more": 1}]}, "$.checks[0].more"),
        ({"users": -1}, "$.users"),
        ({"is_ok": None}, "$.is_ok"),
        ({"at": "2026-01-01T00:00:00Z"}, "$.at"),
    ],
)
async def test_what_is_no_check_up_is_refused(admin: Any, change: dict[str, object], place: str):
    answer = await admin.post("/v1/admin/checkups", json={**BODY, **change})

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)
    assert (await admin.see("/v1/admin/checkups"))["items"] == []
