"""Access tokens, and every way we know of to make a bad one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.policy import SignInPolicy
from cloche.auth.tokens import MAX_TOKEN, AccessTokens, validate_jwt_format
from cloche.domain.scope import Principal
from cloche.errors import NotAuthenticatedError, TokenExpiredError
from cloche.ids import RunId, SessionId, TenantId, UserId
from cloche.testing.clock import ManualClock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = int(START.timestamp())
POLICY = SignInPolicy(issuer="https://cloche.example", audience="cloche-api")
DROP = object()


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def signature(key: OKPKey, text: str) -> bytes:
    private = key.private_key
    assert isinstance(private, Ed25519PrivateKey)
    return private.sign(text.encode())


@dataclass
class Forge:
    """Makes tokens by hand, good ones and others."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    retired: OKPKey = field(default_factory=make_key)
    key: OKPKey = field(default_factory=make_key)
    foreign: OKPKey = field(default_factory=make_key)

    def __post_init__(self) -> None:
        self.principal = Principal(
            tenant_id=TenantId.new(),
            user_id=UserId.new(),
            session_id=SessionId.new(),
            email="ada@example.org",
            role="member",
        )
        self.tokens = AccessTokens(SigningKeys([self.retired, self.key]), self.clock, POLICY)

    def header(self, **changes: Any) -> dict[str, Any]:
        return _changed({"alg": "EdDSA", "typ": "at+jwt", "kid": self.key.thumbprint()}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": "https://cloche.example",
            "aud": "cloche-api",
            "sub": str(self.principal.user_id),
            "tid": str(self.principal.tenant_id),
            "sid": str(self.principal.session_id),
            "role": "member",
            "client_id": "cloche",
            "jti": "request_1",
            "iat": NOW,
            "exp": NOW + 900,
        }
        return _changed(claims, changes)

    def signed(self, header: bytes, payload: bytes, key: OKPKey | None = None) -> str:
        text = f"{encoded(header)}.{encoded(payload)}"
        return f"{text}.{encoded(signature(key or self.key, text))}"

    def token(self, header: dict[str, Any] | None = None, key: OKPKey | None = None, **changes: Any) -> str:
        return self.signed(as_json(header or self.header()), as_json(self.claims(**changes)), key)

    def with_claim(self, name: str, value: object) -> str:
        return self.signed(as_json(self.header()), as_json(self.claims(**{name: value})))

    def with_hmac(self, secret: bytes, alg: str = "HS256") -> str:
        text = f"{encoded(as_json(self.header(alg=alg)))}.{encoded(as_json(self.claims()))}"
        return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"

    def unsigned(self, **changes: Any) -> str:
        return f"{encoded(as_json(self.header(**changes)))}.{encoded(as_json(self.claims()))}"


def _changed(found: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**found, **changes}.items() if value is not DROP}


@pytest.fixture
def forge() -> Forge:
    return Forge()


def test_what_is_issued_is_verified(forge: Forge) -> None:
    issued = forge.tokens.issue(forge.principal, not_after=START + timedelta(days=1))

    claims = forge.tokens.verify(issued.text)

    assert issued.expires_in == 900
    assert (claims.tenant_id, claims.user_id) == (forge.principal.tenant_id, forge.principal.user_id)
    assert (claims.session_id, claims.role) == (forge.principal.session_id, "member")
    assert claims.expires_at == START + timedelta(minutes=15)
    assert isinstance(claims.tenant_id, TenantId)
    assert isinstance(claims.user_id, UserId)
    assert isinstance(claims.session_id, SessionId)


def test_an_issued_token_has_the_claims_of_rfc_9068_and_nothing_personal(forge: Forge) -> None:
    issued = forge.tokens.issue(forge.principal, not_after=START + timedelta(days=1))

    header, payload, _ = (base64.urlsafe_b64decode(part + "==") for part in issued.text.split("."))

    assert json.loads(header) == forge.header()
    assert set(json.loads(payload)) == {"iss", "aud", "sub", "tid", "sid", "role", "client_id", "jti", "iat", "exp"}
    assert b"example.org" not in payload
    assert issued.text not in repr(issued)


def test_a_token_ends_with_its_session(forge: Forge) -> None:
    issued = forge.tokens.issue(forge.principal, not_after=START + timedelta(seconds=40))

    assert issued.expires_in == 40


def test_two_tokens_of_one_moment_differ(forge: Forge) -> None:
    later = START + timedelta(days=1)

    assert forge.tokens.issue(forge.principal, not_after=later) != forge.tokens.issue(forge.principal, not_after=later)


def test_a_token_made_by_hand_after_the_rules_is_good(forge: Forge) -> None:
    assert forge.tokens.verify(forge.token()).session_id == forge.principal.session_id
    assert forge.tokens.verify(forge.token(nbf=NOW, scope="unknown claims are ignored"))


def test_a_key_that_signs_no_more_still_verifies(forge: Forge) -> None:
    header = forge.header(kid=forge.retired.thumbprint())

    assert forge.tokens.verify(forge.token(header, forge.retired))


BAD: dict[str, Callable[[Forge], object]] = {
    # not a token at all
    "None": lambda _: None,
    "bytes": lambda f: f.token().encode(),
    "empty": lambda _: "",
    "a word": lambda _: "invalid",
    "with its scheme": lambda f: f"Bearer {f.token()}",
    "blank around it": lambda f: f" {f.token()}",
    "line end after it": lambda f: f"{f.token()}\n",
    "line end within": lambda f: f.token().replace(".", ".\n", 1),
    "two parts": lambda f: f.token().rsplit(".", 1)[0],
    "four parts": lambda f: f"{f.token()}.AAAA",
    "five parts, as a JWE": lambda f: f"{f.token()}.AAAA.AAAA",
    "too long": lambda f: f.token(pad="x" * MAX_TOKEN),
    "padding": lambda f: f"{f.token()}==",
    "standard base64": lambda f: f.token()[:-2] + "+/",
    "another alphabet": lambda f: f"{f.token()[:-1]}é",
    # the signature
    "no signature": lambda f: f"{f.unsigned()}.",
    "alg none": lambda f: f"{f.unsigned(alg='none')}.",
    "alg none with a signature": lambda f: f.token(f.header(alg="none")),
    "alg None": lambda f: f.token(f.header(alg="None")),
    "alg null": lambda f: f.token(f.header(alg=None)),
    "HS256 with the public key": lambda f: f.with_hmac(base64.urlsafe_b64decode(str(f.key.as_dict()["x"]) + "=")),
    "HS256 with the public PEM": lambda f: f.with_hmac(f.key.as_pem(private=False)),
    "HS256 as EdDSA": lambda f: f.with_hmac(f.key.as_pem(private=False), alg="EdDSA"),
    "alg RS256": lambda f: f.token(f.header(alg="RS256")),
    "alg ES256": lambda f: f.token(f.header(alg="ES256")),
    "alg Ed25519": lambda f: f.token(f.header(alg="Ed25519")),
    "alg in small letters": lambda f: f.token(f.header(alg="eddsa")),
    "without alg": lambda f: f.token(f.header(alg=DROP)),
    "a foreign key under our kid": lambda f: f.token(key=f.foreign),
    "another of our keys under this kid": lambda f: f.token(key=f.retired),
    "signature cut": lambda f: f.token()[:-4],
    "signature turned": lambda f: f"{f.unsigned()}.{encoded(signature(f.key, f.unsigned())[::-1])}",
    "signature of another token": lambda f: f"{f.token(jti='b').rsplit('.', 1)[0]}.{f.token().rsplit('.', 1)[1]}",
    "unused bits of the signature set": lambda f: _with_last_bit(f.token()),
    "payload changed": lambda f: _with_payload(f.token(), f.claims(role="admin")),
    "payload cut": lambda f: f.token().replace(".", ".A", 1),
    "header changed": lambda f: ".".join([encoded(as_json(f.header()) + b" "), *f.token().split(".")[1:]]),
    # the header
    "a foreign kid": lambda f: f.token(f.header(kid=f.foreign.thumbprint()), f.foreign),
    "without kid": lambda f: f.token(f.header(kid=DROP)),
    "kid null": lambda f: f.token(f.header(kid=None)),
    "kid a number": lambda f: f.token(f.header(kid=0)),
    "kid a list": lambda f: f.token(f.header(kid=[f.key.thumbprint()])),
    "kid a path": lambda f: f.token(f.header(kid="../../../../dev/null")),
    "kid a statement": lambda f: f.token(f.header(kid="' OR 1=1 --")),
    "own key in jwk": lambda f: f.token(f.header(kid="x", jwk=f.foreign.as_dict(private=False)), f.foreign),
    "own key in jwk beside our kid": lambda f: f.token(f.header(jwk=f.foreign.as_dict(private=False)), f.foreign),
    "jku": lambda f: f.token(f.header(jku="https://evil.example/jwks")),
    "x5u": lambda f: f.token(f.header(x5u="https://evil.example/cert")),
    "crit": lambda f: f.token(f.header(crit=["exp"])),
    "b64 false": lambda f: f.token(f.header(b64=False, crit=["b64"])),
    "zip": lambda f: f.token(f.header(zip="DEF")),
    "cty JWT": lambda f: f.token(f.header(cty="JWT")),
    "typ JWT": lambda f: f.token(f.header(typ="JWT")),
    "typ of an ID token": lambda f: f.token(f.header(typ="id_token+jwt")),
    "typ of a logout token": lambda f: f.token(f.header(typ="logout+jwt")),
    "without typ": lambda f: f.token(f.header(typ=DROP)),
    "header no object": lambda f: f.signed(b'"EdDSA"', as_json(f.claims())),
    "header no JSON": lambda f: f.signed(b"{", as_json(f.claims())),
    "header no text": lambda f: f.signed(b"\xff\xff", as_json(f.claims())),
    "header nested deep": lambda f: f.signed(b"[" * 1500, as_json(f.claims())),
    "header too large": lambda f: f.signed(as_json(f.header()) + b" " * 600, as_json(f.claims())),
    # the payload
    "payload no object": lambda f: f.signed(as_json(f.header()), b"[]"),
    "payload no JSON": lambda f: f.signed(as_json(f.header()), b"claims"),
    "payload no text": lambda f: f.signed(as_json(f.header()), b'{"iss": "\xff"}'),
    "payload nested deep": lambda f: f.signed(as_json(f.header()), b'{"x":' * 450 + b"1" + b"}" * 450),
    "exp NaN": lambda f: f.signed(as_json(f.header()), as_json(f.claims(exp=float("nan")))),
    "exp Infinity": lambda f: f.signed(as_json(f.header()), as_json(f.claims(exp=float("inf")))),
    **{
        f"without {name}": lambda f, name=name: f.with_claim(name, DROP)
        for name in ("iss", "aud", "sub", "tid", "sid", "role", "client_id", "jti", "iat", "exp")
    },
    **{
        f"{name} null": lambda f, name=name: f.with_claim(name, None)
        for name in ("iss", "aud", "sub", "tid", "sid", "role", "jti", "iat", "exp")
    },
    "foreign iss": lambda f: f.token(iss="https://evil.example"),
    "iss with a slash more": lambda f: f.token(iss="https://cloche.example/"),
    "foreign aud": lambda f: f.token(aud="another-api"),
    "two audiences": lambda f: f.token(aud=["cloche-api", "another-api"]),
    "a list of one audience": lambda f: f.token(aud=["cloche-api"]),
    "empty aud": lambda f: f.token(aud=""),
    "foreign client": lambda f: f.token(client_id="another"),
    "empty jti": lambda f: f.token(jti=""),
    "empty role": lambda f: f.token(role=""),
    "sub a number": lambda f: f.token(sub=1),
    "sub the id of a run": lambda f: f.token(sub=str(RunId.new())),
    "sub any text": lambda f: f.token(sub="admin"),
    "tid the id of a user": lambda f: f.token(tid=str(UserId.new())),
    "sid empty": lambda f: f.token(sid=""),
    "exp a text": lambda f: f.token(exp=str(NOW + 900)),
    "exp true": lambda f: f.token(exp=True),
    "exp a fraction": lambda f: f.token(exp=NOW + 0.5),
    "exp in a hundred years": lambda f: f.token(exp=NOW + 100 * 365 * 86_400),
    "exp in milliseconds": lambda f: f.token(exp=NOW * 1000),
    "exp beyond every calendar": lambda f: f.token(exp=10**15),
    "exp beyond every integer": lambda f: f.token(exp=10**30),
    "all beyond every calendar": lambda f: f.token(iat=10**15, exp=10**15 + 900),
    "a lifetime one second too long": lambda f: f.token(exp=NOW + 901),
    "exp before iat": lambda f: f.token(iat=NOW, exp=NOW - 1),
    "iat in the future": lambda f: f.token(iat=NOW + 31, exp=NOW + 600),
    "all before every calendar": lambda f: f.token(iat=-(10**15), exp=-(10**15) + 900),
    "nbf in the future": lambda f: f.token(nbf=NOW + 31),
    "nbf a text": lambda f: f.token(nbf="now"),
}


def _with_payload(token: str, claims: dict[str, Any]) -> str:
    header, _, signed = token.split(".")
    return f"{header}.{encoded(as_json(claims))}.{signed}"


def _with_last_bit(token: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_and_the_answer_does_not_say_why(forge: Forge, name: str) -> None:
    bad = BAD[name](forge)

    with pytest.raises(NotAuthenticatedError) as refused:
        forge.tokens.verify(bad)

    assert type(refused.value) is NotAuthenticatedError
    assert refused.value.message == NotAuthenticatedError().message
    assert refused.value.details == {}
    assert refused.value.__cause__ is None


def test_the_matrix_of_bad_tokens_is_large() -> None:
    assert len(BAD) >= 100


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_stays_bad_beside_a_good_one_that_is_remembered(forge: Forge, name: str) -> None:
    forge.tokens.verify(forge.token())

    for _ in range(2):
        with pytest.raises(NotAuthenticatedError):
            forge.tokens.verify(BAD[name](forge))


def test_a_token_is_good_until_its_time_and_the_leeway_are_over(forge: Forge) -> None:
    token = forge.token()
    forge.clock.advance(timedelta(seconds=900 + 29))

    assert forge.tokens.verify(token)
    forge.clock.advance(timedelta(seconds=1))

    with pytest.raises(TokenExpiredError):
        forge.tokens.verify(token)


def test_an_expired_token_is_told_apart_whether_it_was_seen_before_or_not(forge: Forge) -> None:
    seen, unseen = forge.token(jti="a"), forge.token(jti="b")
    forge.tokens.verify(seen)
    forge.clock.advance(timedelta(hours=1))

    for _ in range(2):
        for token in (seen, unseen):
            with pytest.raises(TokenExpiredError):
                forge.tokens.verify(token)


def test_an_expired_token_of_a_foreign_key_is_only_refused(forge: Forge) -> None:
    token = forge.token(key=forge.foreign)
    forge.clock.advance(timedelta(hours=1))

    with pytest.raises(NotAuthenticatedError) as refused:
        forge.tokens.verify(token)

    assert not isinstance(refused.value, TokenExpiredError)


def test_two_clocks_may_differ_by_the_leeway(forge: Forge) -> None:
    assert forge.tokens.verify(forge.token(iat=NOW + 30, nbf=NOW + 30, exp=NOW + 930))


def test_a_verified_token_is_not_verified_again(forge: Forge) -> None:
    token = forge.token()
    first = forge.tokens.verify(token)

    assert forge.tokens.verify(token) is first


def test_the_tokens_of_a_session_can_be_forgotten_and_others_stay(forge: Forge) -> None:
    other = SessionId.new()
    own = [forge.token(jti=name) for name in "ab"]
    others = forge.token(sid=str(other))
    remembered = forge.tokens.verify(others)
    for token in own:
        forge.tokens.verify(token)

    forge.tokens.forget(forge.principal.session_id)
    forge.tokens.forget(forge.principal.session_id)

    assert len(forge.tokens._verified._claims) == 1
    assert set(forge.tokens._verified._by_session) == {other}
    assert forge.tokens.verify(others) is remembered


def test_only_so_many_tokens_are_remembered_and_those_used_last() -> None:
    forge = Forge()
    forge.tokens = AccessTokens(SigningKeys([forge.key]), forge.clock, POLICY, max_verified=2)
    first, second, third = (forge.token(jti=name) for name in "abc")
    remembered = forge.tokens.verify(first)
    forge.tokens.verify(second)
    forge.tokens.verify(first)
    forge.tokens.verify(third)

    assert len(forge.tokens._verified._claims) == 2
    assert forge.tokens.verify(first) is remembered


def test_nothing_of_an_expired_token_is_kept(forge: Forge) -> None:
    token = forge.token()
    forge.tokens.verify(token)
    forge.clock.advance(timedelta(hours=1))

    with pytest.raises(TokenExpiredError):
        forge.tokens.verify(token)

    assert not forge.tokens._verified._claims
    assert not forge.tokens._verified._by_session


@pytest.mark.parametrize("text", ["a.b.c", "Bearer a.b.c", "header.payload.signature", "A-_0.B.C"])
def test_three_parts_have_the_shape_of_a_token(text: str) -> None:
    assert validate_jwt_format(text) is True


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "invalid",
        "header.payload",
        "a..b",
        ".a.b",
        "a.b.",
        "a.b.c.d",
        "Bearer ",
        "Bearer a.b",
        "Bearer  a.b.c",
        "Basic a.b.c",
        "a.b.c\n",
        "a.b.c=",
        "a.b.c+",
        "ä.b.c",
        "a b.c.d",
        b"a.b.c",
        123,
        ["a.b.c"],
    ],
)
def test_everything_else_has_not(text: object) -> None:
    assert validate_jwt_format(text) is False
