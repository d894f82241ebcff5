from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.api.wire.nasty import MALFORMED, WRONG_SHAPE, Nasty

from cloche.api.wire.strict_body import StrictBody
from cloche.api.wire.strict_json import JsonLimits
from cloche.errors import ClocheError, InvalidInputError, LimitExceededError, PayloadTooLargeError

JSON = (b"content-type", b"application/json")
BODY = b'{"text":"hello"}'
Headers = list[tuple[bytes, bytes]]


@dataclass
class Server:
    """Plays the server's side: gives the chunks, then a disconnect, and counts how often it was asked."""

    chunks: list[Message]
    asked: int = 0
    sent: list[Message] = field(default_factory=list[Message])

    async def receive(self) -> Message:
        self.asked += 1
        return self.chunks.pop(0) if self.chunks else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


@dataclass
class App:
    """Reads its whole request and keeps what it saw."""

    received: list[Message] = field(default_factory=list[Message])
    calls: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.received.append(await receive())
        self.received.append(await receive())
        await send({"type": "http.response.start", "status": 204, "headers": []})

    @property
    def body(self) -> bytes:
        return self.received[0]["body"]


@dataclass
class Errors:
    """Renders a refusal as an answer, and keeps it."""

    seen: list[ClocheError] = field(default_factory=list[ClocheError])

    def __call__(self, scope: Scope, error: ClocheError) -> ASGIApp:
        self.seen.append(error)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 400, "headers": []})

        return answer


@dataclass
class Exchange:
    app: App
    server: Server
    errors: list[ClocheError]

    @property
    def passed(self) -> bool:
        return self.app.calls == 1 and not self.errors and self.server.sent[0]["status"] == 204

    @property
    def refusal(self) -> ClocheError:
        assert self.app.calls == 0
        assert [message["status"] for message in self.server.sent] == [400]
        (error,) = self.errors
        return error

    @property
    def reason(self) -> tuple[object, object]:
        return self.refusal.details["place"], self.refusal.details["reason"]


def chunked(*chunks: bytes) -> list[Message]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": number < last} for number, chunk in enumerate(chunks)]


def request(
    *,
    method: str = "POST",
    headers: Iterable[tuple[bytes, bytes]] = (JSON,),
    path: str = "/v1/threads",
    raw_path: bytes | None = b"/v1/threads",
    query: bytes = b"",
) -> Scope:
    scope: Scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": list(headers)}
    return scope if raw_path is None else {**scope, "raw_path": raw_path}


async def exchange(scope: Scope, *chunks: bytes, limits: JsonLimits | None = None) -> Exchange:
    app, server, errors = App(), Server(chunked(*(chunks or (b"",)))), Errors()
    middleware = StrictBody(app, render=errors, limits=limits or JsonLimits())
    await middleware(scope, server.receive, server.send)
    return Exchange(app, server, errors.seen)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_a_good_body_reaches_the_app_as_it_was_sent(method: str) -> None:
    spaced = b' {"text" : "caf\xc3\xa9" }\n'

    done = await exchange(request(method=method), spaced[:10], b"", spaced[10:20], spaced[20:])

    assert done.passed
    assert done.app.received == [
        {"type": "http.request", "body": spaced, "more_body": False},
        {"type": "http.disconnect"},
    ]


@given(st.lists(st.integers(0, len(BODY)), max_size=8).map(sorted))
async def test_however_the_body_is_cut_it_arrives_whole(cuts: list[int]) -> None:
    chunks = [BODY[start:end] for start, end in zip([0, *cuts], [*cuts, len(BODY)], strict=True)]

    done = await exchange(request(), *chunks)

    assert done.app.body == BODY


async def test_a_request_without_a_body_passes_whatever_it_says_it_is() -> None:
    assert (await exchange(request(headers=[]))).passed
    assert (await exchange(request(headers=[(b"content-length", b"0")]))).passed
    assert (await exchange(request(headers=[(b"content-type", b"text/plain")]))).passed


async def test_a_message_without_body_and_more_body_is_an_empty_body() -> None:
    app, server = App(), Server([{"type": "http.request"}])

    await StrictBody(app, render=Errors())(request(), server.receive, server.send)

    assert app.body == b""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_the_body_of_a_read_is_not_touched(method: str) -> None:
    done = await exchange(request(method=method, headers=[(b"content-encoding", b"gzip")]), b"{", b"}")

    assert done.passed
    assert [message["body"] for message in done.app.received] == [b"{", b"}"]


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in MALFORMED if nasty.body])
async def test_every_malformed_body_is_refused(nasty: Nasty) -> None:
    done = await exchange(request(), nasty.body)

    assert isinstance(done.refusal, (InvalidInputError, PayloadTooLargeError))


@pytest.mark.parametrize("nasty", [pytest.param(nasty, id=nasty.name) for nasty in WRONG_SHAPE])
async def test_json_of_the_wrong_shape_is_the_route_s_matter(nasty: Nasty) -> None:
    done = await exchange(request(), nasty.body)

    assert done.app.body == nasty.body


async def test_the_refusal_of_a_body_names_the_place_in_it() -> None:
    done = await exchange(request(), b'{"parts":[{"text":"\\u0000"}]}')

    assert done.reason == ("$.parts[0].text", "nul")


async def test_the_limits_of_the_body_are_those_given() -> None:
    assert (await exchange(request(), b"[[1]]", limits=JsonLimits(max_depth=2))).passed
    assert (await exchange(request(), b"[[1]]", limits=JsonLimits(max_depth=1))).refusal.details["reason"] == "depth"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8",
        b'application/json ; charset="utf-8" ',
        b"application/json;",
    ],
)
async def test_json_in_utf_8_is_taken(content_type: bytes) -> None:
    assert (await exchange(request(headers=[(b"Content-Type", content_type)]), BODY)).passed


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([JSON, JSON], id="twice"),
        pytest.param([JSON, (b"content-type", b"text/plain")], id="two"),
        *(
            pytest.param([(b"content-type", value)], id=value.decode("latin-1") or "empty")
            for value in (
                b"",
                b"text/plain",
                b"text/json",
                b"application/x-www-form-urlencoded",
                b"multipart/form-data; boundary=x",
                b"application/jsonp",
                b"application/merge-patch+json",
                b"application/json, text/plain",
                b"application/json; charset=utf-16",
                b"application/json; charset=iso-8859-1",
                b"application/json; charset=utf-8; charset=utf-16",
                b"application/json\x00",
                b"\xff",
            )
        ),
    ],
)
async def test_anything_but_json_in_utf_8_is_refused(headers: Headers) -> None:
    done = await exchange(request(headers=headers), BODY)

    assert isinstance(done.refusal, InvalidInputError)
    assert done.reason == ("header content-type", "content_type")


@pytest.mark.parametrize("announced", [(b"content-length", b"16"), (b"transfer-encoding", b"chunked")])
async def test_an_announced_body_of_another_type_is_refused_before_it_is_read(announced: tuple[bytes, bytes]) -> None:
    done = await exchange(request(headers=[(b"content-type", b"text/plain"), announced]), BODY)

    assert done.reason == ("header content-type", "content_type")
    assert done.server.asked == 0


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b"", b"identity, identity"])
async def test_an_uncompressed_body_is_taken(coding: bytes) -> None:
    assert (await exchange(request(headers=[JSON, (b"content-encoding", coding)]), BODY)).passed


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"br", b"zstd", b"deflate", b"identity, gzip", b"*", b"\xff"])
async def test_a_compressed_body_is_refused_before_it_is_read(coding: bytes) -> None:
    done = await exchange(request(headers=[JSON, (b"content-encoding", coding)]), BODY)

    assert isinstance(done.refusal, InvalidInputError)
    assert done.reason == ("header content-encoding", "content_encoding")
    assert done.server.asked == 0


async def test_a_second_content_encoding_header_is_seen() -> None:
    headers = [JSON, (b"content-encoding", b"identity"), (b"content-encoding", b"gzip")]

    done = await exchange(request(headers=headers), BODY)

    assert done.reason == ("header content-encoding", "content_encoding")


@pytest.mark.parametrize("length", [b"16", b"0016", b" 16 "])
async def test_a_true_content_length_is_taken(length: bytes) -> None:
    assert (await exchange(request(headers=[JSON, (b"content-length", length)]), BODY)).passed


@pytest.mark.parametrize(
    "length", [b"", b"-1", b"+16", b"1_6", b"0x10", b"16.0", b"1e1", b"16, 16", b"16;", b"\xb2", b"\xd9\xa1", b"a"]
)
async def test_a_content_length_that_is_no_number_is_refused(length: bytes) -> None:
    done = await exchange(request(headers=[JSON, (b"content-length", length)]), BODY)

    assert isinstance(done.refusal, InvalidInputError)
    assert done.reason == ("header content-length", "content_length")
    assert done.server.asked == 0


@pytest.mark.parametrize(
    "other", [(b"content-length", b"17"), (b"content-length", b"16"), (b"transfer-encoding", b"chunked")]
)
async def test_two_statements_of_the_length_are_refused(other: tuple[bytes, bytes]) -> None:
    done = await exchange(request(headers=[JSON, (b"content-length", b"16"), other]), BODY)

    assert done.reason == ("header content-length", "content_length")


@pytest.mark.parametrize("length", [b"0", b"15", b"17"])
async def test_a_body_of_another_length_than_announced_is_refused(length: bytes) -> None:
    done = await exchange(request(headers=[JSON, (b"content-length", length)]), BODY)

    assert done.reason == ("header content-length", "content_length")


@pytest.mark.parametrize("length", [b"17", b"100", b"9" * 25, b"9" * 5_000])
async def test_an_announced_length_above_the_limit_is_refused_before_it_is_read(length: bytes) -> None:
    headers = [JSON, (b"content-length", length)]

    done = await exchange(request(headers=headers), BODY, limits=JsonLimits(max_bytes=16))

    assert isinstance(done.refusal, PayloadTooLargeError)
    assert done.refusal.details == {"place": "body", "reason": "size", "limit_bytes": 16}
    assert done.server.asked == 0


async def test_a_body_that_grows_beyond_the_limit_is_refused_and_read_no_further() -> None:
    done = await exchange(request(), *([b"[1,2,3,4"] * 1_000), limits=JsonLimits(max_bytes=16))

    assert isinstance(done.refusal, PayloadTooLargeError)
    assert done.server.asked == 3


async def test_a_body_of_exactly_the_limit_passes() -> None:
    headers = [JSON, (b"content-length", b"16")]

    assert (await exchange(request(headers=headers), BODY, limits=JsonLimits(max_bytes=16))).passed


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    app, server, errors = App(), Server([]), Errors()
    first = chunked(BODY[:5], BODY[5:])[:1]

    async def stalled() -> Message:
        return first.pop() if first else await asyncio.get_running_loop().create_future()

    await StrictBody(app, render=errors, deadline=timedelta(0))(request(), stalled, server.send)

    done = Exchange(app, server, errors.seen)
    assert isinstance(done.refusal, LimitExceededError)
    assert done.refusal.retryable
    assert done.reason == ("body", "too_slow")


async def test_the_deadline_ends_with_the_body() -> None:
    server = Server(chunked(BODY))
    finished: list[bool] = []

    async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        finished.append(True)

    await StrictBody(slow_app, render=Errors(), deadline=timedelta(0))(request(), server.receive, server.send)

    assert finished == [True]


async def test_a_client_that_leaves_during_its_body_reaches_nobody() -> None:
    app, server, errors = App(), Server(chunked(BODY, b"")[:1]), Errors()

    await StrictBody(app, render=errors)(request(), server.receive, server.send)

    assert (app.calls, errors.seen, server.sent) == (0, [], [])


@pytest.mark.parametrize("error", [InvalidInputError("the route's"), TimeoutError()])
async def test_an_error_of_the_app_is_not_taken_for_a_refusal(error: Exception) -> None:
    server, errors = Server(chunked(BODY)), Errors()

    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(type(error)):
        await StrictBody(failing, render=errors)(request(), server.receive, server.send)

    assert errors.seen == []


async def test_the_body_of_an_exempt_path_is_left_to_the_app() -> None:
    app, server, errors = App(), Server(chunked(b"\x00", b"\xff")), Errors()
    middleware = StrictBody(app, render=errors, is_exempt=lambda scope: scope["path"] == "/v1/uploads")

    await middleware(request(path="/v1/uploads", headers=[]), server.receive, server.send)

    assert [message["body"] for message in app.received] == [b"\x00", b"\xff"]
    assert errors.seen == []


async def test_the_target_of_an_exempt_path_is_checked_all_the_same() -> None:
    app, server, errors = App(), Server(chunked(b"")), Errors()

    await StrictBody(app, render=errors, is_exempt=lambda _: True)(request(query=b"%00"), server.receive, server.send)

    assert Exchange(app, server, errors.seen).reason == ("query", "nul")


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_protocols_pass_untouched(kind: str) -> None:
    app, server = App(), Server([{"type": "first"}])

    await StrictBody(app, render=Errors())({"type": kind}, server.receive, server.send)

    assert app.received == [{"type": "first"}, {"type": "http.disconnect"}]


BAD_TARGETS = [
    pytest.param(b"%00", "nul", id="nul"),
    pytest.param(b"a%00b", "nul", id="nul-inside"),
    pytest.param(b"\x00", "nul", id="nul-raw"),
    pytest.param(b"%0A", "control_character", id="newline"),
    pytest.param(b"%0d%0a", "control_character", id="crlf"),
    pytest.param(b"%1b", "control_character", id="escape"),
    pytest.param(b"%7F", "control_character", id="delete"),
    pytest.param(b"%C2%85", "control_character", id="c1"),
    pytest.param(b"%ED%A0%80", "encoding", id="surrogate"),
    pytest.param(b"%ED%BF%BF", "encoding", id="low-surrogate"),
    pytest.param(b"%ff", "encoding", id="not-utf-8"),
    pytest.param(b"%C0%80", "encoding", id="overlong-nul"),
    pytest.param(b"%E2%82", "encoding", id="cut"),
    pytest.param(b"\xff", "encoding", id="raw-byte"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("bad", "reason"), BAD_TARGETS)
async def test_a_bad_query_is_refused(bad: bytes, reason: str, method: str) -> None:
    done = await exchange(request(method=method, query=b"after=1&title=" + bad))

    assert isinstance(done.refusal, InvalidInputError)
    assert done.reason == ("query", reason)
    assert done.server.asked == 0


@pytest.mark.parametrize(("bad", "reason"), BAD_TARGETS)
async def test_a_bad_path_is_refused_although_the_server_decoded_it_leniently(bad: bytes, reason: str) -> None:
    done = await exchange(request(method="GET", path="/v1/threads/\ufffd", raw_path=b"/v1/threads/" + bad))

    assert done.reason == ("path", reason)


@pytest.mark.parametrize(
    ("path", "reason"), [("/a\x00", "nul"), ("/a\n", "control_character"), ("/\udcff", "encoding")]
)
async def test_a_bad_path_is_refused_where_the_server_gives_no_raw_path(path: str, reason: str) -> None:
    assert (await exchange(request(path=path, raw_path=None))).reason == ("path", reason)


@pytest.mark.parametrize(
    "target", [b"caf%C3%A9", b"a+b%20c", b"%F0%9F%98%80", b"100%", b"%zz", b"%2500", b"%E2%80%AE", b"a=%5Cu0000"]
)
async def test_ordinary_targets_pass(target: bytes) -> None:
    assert (await exchange(request(method="GET", raw_path=b"/" + target, query=target))).passed


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"]),
            st.binary(max_size=8) | st.sampled_from([b"application/json", b"16", b"identity", b"chunked"]),
        ),
        max_size=4,
    ),
    st.lists(st.binary(max_size=12) | st.just(BODY), min_size=1, max_size=4),
    st.binary(max_size=12),
    st.binary(max_size=12),
)
async def test_any_request_is_answered_once_by_the_app_or_by_a_typed_refusal(
    headers: Headers, chunks: list[bytes], raw_path: bytes, query: bytes
) -> None:
    done = await exchange(request(headers=headers, raw_path=raw_path, query=query), *chunks)

    assert len(done.server.sent) == 1
    assert done.passed or isinstance(done.refusal, (InvalidInputError, PayloadTooLargeError))
