"""Access tokens: short-lived JWTs after RFC 9068, signed with Ed25519 and verified in this process.

Source: https://www.rfc-editor.org/rfc/rfc9068 and https://www.rfc-editor.org/rfc/rfc8725
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry

from cloche.auth.keys import SigningKeys
from cloche.auth.policy import SignInPolicy
from cloche.clock import Clock
from cloche.domain.scope import Principal
from cloche.errors import InvalidIdError, NotAuthenticatedError, TokenExpiredError
from cloche.ids import RequestId, SessionId, TenantId, UserId

MAX_TOKEN = 4096
MAX_VERIFIED = 10_000
CLIENT_ID = "cloche"

_match_jwt = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch


def validate_jwt_format(text: object) -> bool:
    """Whether this has the shape of a JWT, after an optional ``Bearer``. Says nothing about its signature."""
    return isinstance(text, str) and _match_jwt(text.removeprefix("Bearer ")) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """A new access token and the whole seconds for which it is good."""

    text: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """What a verified access token says."""

    tenant_id: TenantId
    user_id: UserId
    session_id: SessionId
    role: str
    expires_at: datetime
    ends_at: datetime
    """When it is refused: the leeway after it has expired."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly these members: nothing that names another key, a critical extension or an encoding is accepted."""

    alg: Literal["EdDSA"]
    typ: Literal["at+jwt"]
    kid: str


class _Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    iss: str
    aud: str
    sub: str
    tid: str
    sid: str
    role: str
    client_id: str
    jti: str
    iat: int
    exp: int
    nbf: int | None = None


class _EdDsaOnly(JWSRegistry):
    """The one algorithm, whatever the token says.

    The registry of joserfc warns at each use that RFC 9864 prefers the name "Ed25519"; few verifiers know that name.
    """

    def get_alg(self, name: str) -> JWSAlgModel:
        return self.algorithms["EdDSA"]


class AccessTokens:
    """Issues and verifies access tokens. Whether the session behind one still stands is not known here.

    Args:
        keys: the last signs, all verify.
        clock: gives the times in the tokens and judges them.
        policy: issuer, audience, lifetime, leeway.
        max_verified: how many verified tokens are remembered until they expire.
    """

    def __init__(
        self, keys: SigningKeys, clock: Clock, policy: SignInPolicy, *, max_verified: int = MAX_VERIFIED
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._policy = policy
        self._leeway_s = policy.leeway.total_seconds()
        self._lifetime_s = int(policy.access_lifetime.total_seconds())
        self._registry = _EdDsaOnly()
        self._verified = _VerifiedTokens(max_verified)

    def issue(self, principal: Principal, *, not_after: datetime) -> IssuedToken:
        """A new token for the principal that ends with the policy's lifetime, or sooner at ``not_after``."""
        now = int(self._clock.now().timestamp())
        expires = min(now + self._lifetime_s, int(not_after.timestamp()))
        claims = _Claims(
            iss=self._policy.issuer,
            aud=self._policy.audience,
            sub=str(principal.user_id),
            tid=str(principal.tenant_id),
            sid=str(principal.session_id),
            role=principal.role,
            client_id=CLIENT_ID,
            jti=str(RequestId.new("jti")),
            iat=now,
            exp=expires,
        )
        text = jws.serialize_compact(
            {"alg": "EdDSA", "typ": "at+jwt", "kid": self._keys.kid},
            msgspec.json.encode(claims),
            self._keys.signing_key,
            registry=self._registry,
        )
        return IssuedToken(text=text, expires_in=max(0, expires - now))

    def verify(self, text: object) -> AccessClaims:
        """What the token says, when this server issued it and its time is now.

        Raises:
            TokenExpiredError: it is genuine, and its time is over.
            NotAuthenticatedError: anything else is wrong with it; the error does not say what.
        """
        if not isinstance(text, str) or len(text) > MAX_TOKEN:
            raise NotAuthenticatedError
        now = self._clock.now()
        claims = self._verified.find(text)
        if claims is None:
            if not _match_jwt(text):
                raise NotAuthenticatedError
            claims = self._checked(self._payload(text.encode()), now.timestamp())
            self._verified.add(text, claims)
        if now >= claims.ends_at:
            self._verified.remove(text)
            raise TokenExpiredError
        return claims

    def forget(self, session_id: SessionId) -> None:
        """No verified token of the session is remembered."""
        self._verified.remove_session(session_id)

    def _payload(self, encoded: bytes) -> bytes:
        """The bytes that one of our keys signed as an access token."""
        try:
            header = msgspec.json.decode(_unpadded(encoded.split(b".", 1)[0]), type=_Header)
            key = self._keys.find(header.kid)
            if key is None:
                raise NotAuthenticatedError
            signed = jws.extract_compact(encoded, registry=self._registry)
            if not jws.validate_compact(signed, key, registry=self._registry):
                raise NotAuthenticatedError
        except (JoseError, msgspec.DecodeError, binascii.Error, UnicodeError, ValueError):
            # ValidationError of msgspec is a DecodeError; the cause may quote the token, so it stays here.
            raise NotAuthenticatedError from None
        return signed.payload

    def _checked(self, payload: bytes, now: float) -> AccessClaims:
        try:
            claims = msgspec.json.decode(payload, type=_Claims)
            tenant_id = TenantId.parse(claims.tid)
            user_id = UserId.parse(claims.sub)
            session_id = SessionId.parse(claims.sid)
        except (msgspec.DecodeError, UnicodeError, InvalidIdError):
            raise NotAuthenticatedError from None
        starts = max(claims.iat, claims.nbf or 0)
        if (
            claims.iss != self._policy.issuer
            or claims.aud != self._policy.audience
            or claims.client_id != CLIENT_ID
            or not (claims.jti and claims.role)
            or claims.iat < 0
            or not 0 <= claims.exp - claims.iat <= self._lifetime_s
            or starts > now + self._leeway_s
        ):
            raise NotAuthenticatedError
        expires_at = datetime.fromtimestamp(claims.exp, UTC)
        return AccessClaims(
            tenant_id=tenant_id,
            user_id=user_id,
            session_id=session_id,
            role=claims.role,
            expires_at=expires_at,
            ends_at=expires_at + self._policy.leeway,
        )


class _VerifiedTokens:
    """The tokens verified last; those of one session can be taken out together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._claims: OrderedDict[str, AccessClaims] = OrderedDict()
        self._by_session: dict[SessionId, set[str]] = {}

    def find(self, text: str) -> AccessClaims | None:
        claims = self._claims.get(text)
        if claims is not None:
            self._claims.move_to_end(text)
        return claims

    def add(self, text: str, claims: AccessClaims) -> None:
        self._claims[text] = claims
        self._by_session.setdefault(claims.session_id, set()).add(text)
        if len(self._claims) > self._size:
            self.remove(next(iter(self._claims)))

    def remove(self, text: str) -> None:
        claims = self._claims.pop(text)
        texts = self._by_session[claims.session_id]
        texts.remove(text)
        if not texts:
            del self._by_session[claims.session_id]

    def remove_session(self, session_id: SessionId) -> None:
        for text in self._by_session.pop(session_id, ()):
            del self._claims[text]


def _unpadded(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
