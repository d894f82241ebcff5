"""Signing in and out over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cloche.api.wire.parts import EdgeParts

PASSWORD = "correct horse battery staple"


async def test_a_person_signs_in_and_is_who_they_are(ada: Any, stranger: Any):
    answer = await stranger.make("/v1/auth/login", 200, email=" ADA@example.org ", password=PASSWORD)
    stranger.headers["Authorization"] = f"bearer {answer['access_token']}"
    me = await stranger.see("/v1/me")

    assert answer["token_type"] == "Bearer"
    assert 0 < answer["expires_in"] <= 900
    assert answer["user"] == me["user"]
    assert (me["user"]["email"], me["user"]["role"], me["user"]["name"]) == ("ada@example.org", "member", "ada")
    assert "threads:read" in me["permissions"]
    assert "admin:users" not in me["permissions"]


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@example.org", "wrong"),
        ("nobody@example.org", PASSWORD),
        ("ada@example.org", ""),
        ("ada@example.org", "x" * 2000),
    ],
)
async def test_a_refused_sign_in_does_not_say_what_was_wrong(ada: Any, stranger: Any, email: str, password: str):
    answer = await stranger.post("/v1/auth/login", json={"email": email, "password": password})

    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "the e-mail address or the password is wrong"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"email": "ada@example.org"}, "$.password"),
        ({"password": PASSWORD}, "$.email"),
        ({"email": "nobody", "password": PASSWORD}, "$.email"),
        ({"email": "ada@example.org", "password": 5}, "$.password"),
        ({"email": "ada@example.org", "password": PASSWORD, "role": "admin"}, "$.role"),
    ],
)
async def test_a_sign_in_that_is_none_is_refused_without_showing_what_was_sent(
    stranger: Any, body: dict[str, object], place: str
):
    answer = await stranger.post("/v1/auth/login", json=body)

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, place)
    assert PASSWORD not in answer.text


async def test_who_is_in_two_tenants_is_asked_for_one(people: Any, stranger: Any):
    for tenant in ("acme", "other"):
        await people("ada", tenant=tenant)

    unclear = await stranger.post("/v1/auth/login", json={"email": "ada@example.org", "password": PASSWORD})
    clear = await stranger.post(
        "/v1/auth/login", json={"email": "ada@example.org", "password": PASSWORD, "tenant": "other"}
    )

    assert (unclear.status_code, unclear.json()["error"]["code"]) == (409, "tenant_required")
    assert [tenant["slug"] for tenant in unclear.json()["error"]["details"]["tenants"]] == ["acme", "other"]
    assert clear.status_code == 200


async def test_too_many_attempts_are_told_when_to_come_back(ada: Any, stranger: Any):
    body = {"email": "ada@example.org", "password": "wrong"}
    for _ in range(10):
        await stranger.post("/v1/auth/login", json=body)

    answer = await stranger.post("/v1/auth/login", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 300


async def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_session(ada: Any, stranger: Any):
    first = ada.signed_in.refresh_token
    second = (await stranger.make("/v1/auth/refresh", 200, refresh_token=first))["refresh_token"]
    third = await stranger.make("/v1/auth/refresh", 200, refresh_token=second)

    replayed = await stranger.post("/v1/auth/refresh", json={"refresh_token": first})
    stranger.headers["Authorization"] = f"Bearer {third['access_token']}"
    after = await stranger.get("/v1/me")

    assert (replayed.status_code, replayed.json()["error"]["code"]) == (401, "session_revoked")
    assert (after.status_code, after.json()["error"]["code"]) == (401, "session_revoked")


@pytest.mark.parametrize("token", ["", "x", "cr.x.y", 5, None])
async def test_what_is_no_refresh_token_is_refused(stranger: Any, token: object):
    answer = await stranger.post("/v1/auth/refresh", json={"refresh_token": token})

    assert answer.status_code == (401 if isinstance(token, str) else 400)


async def test_after_a_logout_the_token_is_refused_everywhere(ada: Any):
    answer = await ada.post("/v1/auth/logout")

    refused = await ada.get("/v1/threads")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "session_revoked")
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_the_first_administrator_is_made_with_the_secret_and_only_once(stranger: Any, services: EdgeParts):
    secret = await services.sign_in.setup.ensure_setup()
    body = {"secret": secret, "email": "root@example.org", "password": PASSWORD, "name": "Root"}

    weak = await stranger.post("/v1/auth/setup", json={**body, "password": "short"})
    made = await stranger.post("/v1/auth/setup", json=body)
    again = await stranger.post("/v1/auth/setup", json=body)

    assert (weak.status_code, weak.json()["error"]["details"]["place"]) == (400, "$.password")
    assert made.status_code == 201
    assert (made.json()["user"]["role"], made.json()["user"]["name"]) == ("admin", "Root")
    assert again.status_code == 401


async def test_without_the_secret_nobody_becomes_administrator(stranger: Any, services: EdgeParts):
    await services.sign_in.setup.ensure_setup()

    answer = await stranger.post(
        "/v1/auth/setup", json={"secret": "cs.x.y", "email": "root@example.org", "password": PASSWORD}
    )

    assert answer.status_code == 401


async def test_a_ticket_is_good_for_its_session_once(ada: Any, services: EdgeParts):
    ticket = (await ada.make("/v1/ws-tickets"))["ticket"]

    principal = await services.sign_in.tickets.redeem_ticket(ticket)

    assert principal == ada.signed_in.principal


async def test_the_published_keys_verify_the_tokens_and_hold_nothing_secret(ada: Any, stranger: Any):
    keys = (await stranger.see("/.well-known/jwks.json"))["keys"]

    header = json.loads(base64.urlsafe_b64decode(ada.signed_in.access_token.split(".")[0] + "=="))
    assert header["kid"] in {key["kid"] for key in keys}
    assert all("d" not in key for key in keys)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer x.y.z",
        "Token {}",
        "{}",
        "Bearer {} x",
        "Bearer  {}x",
        "Bearer {},Bearer {}",
    ],
)
async def test_only_a_valid_bearer_token_lets_in(ada: Any, stranger: Any, header: str):
    stranger.headers["Authorization"] = header.replace("{}", ada.signed_in.access_token)

    answer = await stranger.get("/v1/me")

    assert answer.status_code == 401
    assert ada.signed_in.access_token not in answer.text


async def test_two_authorization_headers_are_none(ada: Any, stranger: Any):
    value = f"Bearer {ada.signed_in.access_token}"

    answer = await stranger.get("/v1/me", headers=[("Authorization", value), ("Authorization", value)])

    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "ticket"])
async def test_a_credential_in_the_address_is_refused_even_beside_a_good_one(ada: Any, name: str):
    answer = await ada.get(f"/v1/me?{name}={ada.signed_in.access_token}")

    assert (answer.status_code, answer.json()["error"]["details"]["place"]) == (400, f"query.{name}")
    assert ada.signed_in.access_token not in answer.text


async def test_nobody_gets_in_by_cookie(ada: Any, stranger: Any):
    stranger.cookies.set("access_token", ada.signed_in.access_token)

    assert (await stranger.get("/v1/me")).status_code == 401
