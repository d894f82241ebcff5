"""A browser's session: the two cookies that hold its tokens, and what a request that comes with them must prove.

A cookie is sent along by the browser whoever asks, so it counts only on requests that a page of this server made, and a
change needs the session's CSRF token besides.

Source: https://datatracker.ietf.org/doc/html/draft-ietf-oauth-browser-based-apps and
https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response

from cloche.auth.keys import SigningKeys
from cloche.auth.opening import SignedIn
from cloche.errors import CsrfRefusedError, NotAuthenticatedError, OriginRefusedError
from cloche.ids import SessionId

ACCESS_COOKIE = "__Host-cloche_access"
REFRESH_COOKIE = "__Host-cloche_refresh"
CSRF_HEADER = "x-csrf-token"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_CSRF = b"csrf:"


def access_cookie(headers: Headers) -> str | None:
    """The access token that a browser keeps for this server; None when it sent none."""
    return _cookie(headers, ACCESS_COOKIE)


def refresh_cookie(headers: Headers) -> str:
    """The refresh token that a browser keeps for this server.

    Raises:
        NotAuthenticatedError: it sent none.
    """
    found = _cookie(headers, REFRESH_COOKIE)
    if found is None:
        raise NotAuthenticatedError("this browser is not signed in")
    return found


def keep_tokens(response: Response, signed_in: SignedIn, *, refresh_s: int) -> None:
    """The browser keeps both tokens, out of reach of any script, for this server alone, as long as each is good."""
    for name, value, max_age in (
        (ACCESS_COOKIE, signed_in.access_token, signed_in.expires_in),
        (REFRESH_COOKIE, signed_in.refresh_token, refresh_s),
    ):
        response.set_cookie(name, value, max_age=max_age, path="/", secure=True, httponly=True, samesite="strict")


def drop_tokens(response: Response) -> None:
    """The browser forgets both tokens."""
    for name in (ACCESS_COOKIE, REFRESH_COOKIE):
        response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")


def csrf_token(keys: SigningKeys, session_id: SessionId) -> str:
    """What a page of this server sends with every change in this session; no other page can know it."""
    return keys.tag(_CSRF + str(session_id).encode())


def check_csrf(keys: SigningKeys, session_id: SessionId, headers: Headers) -> None:
    """Return when the session's CSRF token came with the request.

    Raises:
        CsrfRefusedError: it did not.
    """
    sent = headers.getlist(CSRF_HEADER)
    known = keys.tags(_CSRF + str(session_id).encode())
    if len(sent) != 1 or not any(hmac.compare_digest(sent[0].encode(), one.encode()) for one in known):
        raise CsrfRefusedError(details={"place": f"header {CSRF_HEADER}"})


def check_page(headers: Headers, origins: frozenset[str], *, method: str) -> None:
    """Return when the browser says that a page of this server made the request.

    A browser that sends no fetch metadata is asked for the origin of what changes something.

    Raises:
        OriginRefusedError: another page made it, or the browser does not say.
    """
    site = headers.getlist("sec-fetch-site")
    if site:
        # "none": the person did it, by the address bar or a bookmark. That is a look, never a change.
        if site == ["same-origin"] or (site == ["none"] and method in SAFE_METHODS):
            return
    elif method in SAFE_METHODS or (len(found := headers.getlist("origin")) == 1 and found[0] in origins):
        return
    raise OriginRefusedError(
        "this browser's session is for pages of this server", details={"place": "header sec-fetch-site"}
    )


def _cookie(headers: Headers, name: str) -> str | None:
    found = [value for line in headers.getlist("cookie") if (value := cookie_parser(line).get(name))]
    return found[0] if len(found) == 1 else None
