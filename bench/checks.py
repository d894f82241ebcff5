"""Ids and access tokens, in this process: how many can be made and checked in a second."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle
from pathlib import Path
from statistics import median
from timeit import Timer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.plan import Plan
from bench.report import Found, Row, Say, Section, Target
from cloche.auth.keys import SigningKeys, make_key
from cloche.auth.policy import SignInPolicy
from cloche.auth.tokens import AccessTokens
from cloche.clock import SystemClock
from cloche.domain.permissions import Role
from cloche.domain.scope import Principal
from cloche.ids import IDType, RunId, SessionId, TenantId, UserId, generate_id, is_valid_id_format

_WANTED = {"ids made": 1e6, "ids checked": 2e6, "tokens checked, cold": 8e3, "tokens checked, cached": 1e6}


def measure(folder: Path, plan: Plan, say: Say) -> Section:
    """The median of several turns of each."""
    say("ids and tokens")
    turns, times = (2, 200) if plan.quick else (9, 20_000)
    statements, names = _statements()
    rounds: list[Found] = []
    for what, (statement, slower) in statements.items():
        number = max(times // slower, 2)
        seconds = Timer(statement, globals=names).repeat(turns, number)
        rounds.append({"what": what, "per_s": [round(number / one, 1) for one in seconds]})
    rates = {one["what"]: median(one["per_s"]) for one in rounds}
    return Section(
        title="Ids and tokens, per second on one core",
        about="The signature alone is what `cryptography` needs to verify Ed25519 over as many bytes: a cold check can be "
        "no faster. best is the best turn, which a busy machine changes least.",
        rows=[_row(one) for one in rounds],
        targets=[Target(what=f"{what}/s", found=round(rates[what]), wanted=wanted) for what, wanted in _WANTED.items()],
        rounds=rounds,
    )


def _statements() -> tuple[dict[str, tuple[str, int]], Found]:
    """What is timed, with how many times slower than an id it is about, and the names in it."""
    clock, policy, keys = SystemClock(), SignInPolicy(), SigningKeys([make_key()])
    principal = Principal(
        tenant_id=TenantId.new(),
        user_id=UserId.new(),
        session_id=SessionId.new(),
        email="somebody@example.org",
        role=Role.MEMBER,
    )
    # With room for one verified token, two that take turns are both cold each time.
    cold, warm = (AccessTokens(keys, clock, policy, max_verified=size) for size in (1, 10_000))
    pair = [cold.issue(principal, not_after=clock.now() + timedelta(days=1)).text for _ in range(2)]
    private, signed = Ed25519PrivateKey.generate(), pair[0].rpartition(".")[0].encode()
    names = {
        "generate_id": generate_id,
        "is_valid_id_format": is_valid_id_format,
        "RunId": RunId,
        "kind": IDType.RUN,
        "known": RunId.new(),
        "cold": cold.verify,
        "in_turn": cycle(pair).__next__,
        "cached": warm.verify,
        "token": pair[0],
        "verify": private.public_key().verify,
        "signature": private.sign(signed),
        "signed": signed,
    }
    statements = {
        "ids made": ("generate_id(kind)", 1),
        "ids made, as RunId": ("RunId.new()", 1),
        "ids checked": ("is_valid_id_format(known)", 1),
        "ids checked, as RunId": ("RunId.parse(known)", 1),
        "tokens checked, cold": ("cold(in_turn())", 50),
        "Ed25519 signatures alone": ("verify(signature, signed)", 50),
        "tokens checked, cached": ("cached(token)", 2),
    }
    return statements, names


def _row(found: Found) -> Row:
    return {"what": found["what"], "per second": median(found["per_s"]), "best": max(found["per_s"])}
