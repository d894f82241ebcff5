"""Each failure of a provider, provoked at a real local server and seen through pydantic-ai."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import openai
import pytest
from pydantic_ai import Agent, exceptions
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import Model

from cloche.errors import (
    LeaseLostError,
    ModelError,
    ModelProtocolError,
    ModelRateLimitedError,
    ModelRefusedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from cloche.llm.config import ModelConfig
from cloche.llm.failures import model_failures, to_model_error
from cloche.llm.models import open_model
from support.openai_server import MODEL, OpenAIServer, Reply, openai_server

KEY = "sk-test-key"
REQUEST = httpx2.Request("GET", "http://host/v1")


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with openai_server() as running:
        yield running


async def failure_of(url: str, *, stream: bool, timeout_s: float = 0.2) -> ModelError:
    """What one run against the server fails with, in Cloche's words."""
    config = ModelConfig(name=f"openai-chat:{MODEL}", base_url=url, api_key=KEY, timeout_s=timeout_s)
    async with open_model(config) as model:
        agent = Agent(model, retries=0)
        with pytest.raises(exceptions.AgentRunError) as caught:
            await (_streamed(agent) if stream else agent.run("hello"))
    found = to_model_error(caught.value)
    assert found is not None
    for text in (found.message, repr(found.details)):
        assert KEY not in text
        assert url not in text
        assert len(text) < 200
    return found


async def _streamed(agent: Agent, within_s: float | None = None) -> None:
    async with asyncio.timeout(within_s), agent.run_stream("hello") as stream:
        async for _ in stream.stream_text(delta=True, debounce_by=None):
            pass


async def _asked(model: Model) -> None:
    with model_failures():
        async with model_request_stream(model, [ModelRequest.user_text_prompt("hello")]) as stream:
            async for _ in stream:
                pass


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelRefusedError),
        (401, ModelRefusedError),
        (402, ModelRefusedError),
        (403, ModelRefusedError),
        (404, ModelRefusedError),
        (408, ModelTimeoutError),
        (409, ModelUnavailableError),
        (413, ModelRefusedError),
        (422, ModelRefusedError),
        (429, ModelRateLimitedError),
        (500, ModelUnavailableError),
        (502, ModelUnavailableError),
        (503, ModelUnavailableError),
        (504, ModelTimeoutError),
        (529, ModelUnavailableError),
        (302, ModelProtocolError),
    ],
)
async def test_each_status_has_its_error(
    server: OpenAIServer, status: int, kind: type[ModelError], *, stream: bool
) -> None:
    server.plan(Reply(status=status, headers={"location": "/elsewhere"} if status == 302 else {}))

    found = await failure_of(server.url, stream=stream)

    assert type(found) is kind
    assert len(server.completions) == 1


async def test_a_rate_limit_says_when_to_come_back(server: OpenAIServer) -> None:
    server.plan(Reply(status=429, headers={"Retry-After": "7"}))

    found = await failure_of(server.url, stream=True)

    assert found.retry_after_s == 7
    assert found.retryable


async def test_an_unavailable_provider_may_also_say_when_to_come_back(server: OpenAIServer) -> None:
    server.plan(Reply(status=503, headers={"Retry-After": "3"}))

    assert (await failure_of(server.url, stream=True)).retry_after_s == 3


async def test_a_used_up_quota_is_refused_although_its_status_is_429(server: OpenAIServer) -> None:
    server.plan(Reply(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}'))

    found = await failure_of(server.url, stream=True)

    assert type(found) is ModelRefusedError
    assert not found.retryable
    assert found.details["provider_code"] == "insufficient_quota"


async def test_too_long_a_conversation_is_refused(server: OpenAIServer) -> None:
    server.plan(Reply(status=400, body=b'{"error": {"message": "too long", "code": "context_length_exceeded"}}'))

    found = await failure_of(server.url, stream=True)

    assert type(found) is ModelRefusedError
    assert "longer than the model accepts" in found.message


async def test_a_code_that_could_be_a_secret_is_not_repeated(server: OpenAIServer) -> None:
    server.plan(Reply(status=400, body=b'{"error": {"message": "no", "code": "sk-test-key"}}'))

    assert "provider_code" not in (await failure_of(server.url, stream=True)).details


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(Reply(text="a b c", garbage=b'{"id": '), ModelProtocolError, id="broken JSON in the stream"),
        pytest.param(Reply(text="a b c d", cut_after=3), ModelProtocolError, id="cut in mid-stream"),
        pytest.param(Reply(text="a b c d", finish=None), ModelProtocolError, id="ended without a finish"),
        pytest.param(Reply(body=b"<html>", headers={"content-type": "text/html"}), ModelProtocolError, id="a web page"),
        pytest.param(Reply(text="a b c", stall_after=2), ModelTimeoutError, id="silence in mid-stream"),
        pytest.param(Reply(text="a", stall_after=0), ModelTimeoutError, id="silence from the start"),
        pytest.param(Reply(drop=True), ModelUnavailableError, id="dropped before any answer"),
        pytest.param(Reply(stream_error={"code": "server_error"}), ModelUnavailableError, id="failure in the stream"),
        pytest.param(Reply(stream_error={"code": "odd"}), ModelUnavailableError, id="odd failure in the stream"),
        pytest.param(Reply(stream_error={"code": "rate_limit_exceeded"}), ModelRateLimitedError, id="limit in stream"),
        pytest.param(Reply(finish="content_filter"), ModelRefusedError, id="content filter"),
        pytest.param(Reply(calls=[("x", '{"a')], finish="length"), ModelProtocolError, id="a call cut at the limit"),
    ],
)
async def test_each_broken_stream_has_its_error(server: OpenAIServer, reply: Reply, kind: type[ModelError]) -> None:
    server.plan(reply)

    assert type(await failure_of(server.url, stream=True)) is kind
    assert len(server.completions) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(Reply(body=b'{"id": '), ModelProtocolError, id="broken JSON"),
        pytest.param(Reply(body=b'{"x": 1}'), ModelProtocolError, id="unexpected shape"),
        pytest.param(Reply(body=b"[1, 2]"), ModelProtocolError, id="a list"),
        pytest.param(Reply(body=b"<html>", headers={"content-type": "text/html"}), ModelProtocolError, id="a web page"),
        pytest.param(Reply(drop=True), ModelUnavailableError, id="dropped before any answer"),
        pytest.param(Reply(finish="content_filter"), ModelRefusedError, id="content filter"),
    ],
)
async def test_each_broken_whole_answer_has_its_error(
    server: OpenAIServer, reply: Reply, kind: type[ModelError]
) -> None:
    server.plan(reply)

    assert type(await failure_of(server.url, stream=False)) is kind


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:9/v1", id="refused"),
        pytest.param("http://no-such-host.invalid/v1", id="no such host"),
    ],
)
async def test_a_provider_that_is_not_there_is_unavailable(url: str) -> None:
    assert type(await failure_of(url, stream=True, timeout_s=3)) is ModelUnavailableError


async def test_a_provider_without_proper_tls_is_unavailable() -> None:
    async def answer_in_plain_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_plain_text, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        found = await failure_of(f"https://127.0.0.1:{port}/v1", stream=True, timeout_s=3)

    assert type(found) is ModelUnavailableError


async def test_an_endless_answer_stops_with_its_reader(server: OpenAIServer) -> None:
    server.plan(Reply(endless=True))
    config = ModelConfig(name=f"openai-chat:{MODEL}", base_url=server.url)

    async with asyncio.timeout(2), open_model(config) as model:
        with pytest.raises(TimeoutError):
            await _streamed(Agent(model), within_s=0.1)
        await server.disconnected.wait()

    assert server.events_sent > 3


@pytest.mark.parametrize("garbage", [b"[1, 2]", b'{"choices": 5}', b'{"choices": [7]}', b"7"])
async def test_a_chunk_of_the_wrong_shape_is_a_protocol_error(server: OpenAIServer, garbage: bytes) -> None:
    server.plan(Reply(text="a b c", garbage=garbage))
    config = ModelConfig(name=f"openai-chat:{MODEL}", base_url=server.url)

    async with open_model(config) as model:
        with pytest.raises(ModelProtocolError):
            await _asked(model)


def test_an_error_of_cloche_leaves_the_block_as_it_is() -> None:
    with pytest.raises(LeaseLostError), model_failures():
        raise LeaseLostError


def test_an_error_that_is_not_the_providers_leaves_the_block_as_it_is() -> None:
    with pytest.raises(exceptions.UsageLimitExceeded), model_failures():
        raise exceptions.UsageLimitExceeded("enough")


def test_a_group_is_what_its_members_are() -> None:
    group = ExceptionGroup("two", [ValueError("mine"), exceptions.ModelRateLimitError("m", "slow")])

    assert type(to_model_error(group)) is ModelRateLimitedError
    assert to_model_error(ExceptionGroup("one", [ValueError("mine")])) is None


def test_a_model_error_stays_what_it_is() -> None:
    error = ModelRefusedError("no")

    assert to_model_error(error) is error


@pytest.mark.parametrize(
    "error", [ValueError("mine"), TimeoutError(), asyncio.CancelledError(), exceptions.UserError("wrong use")]
)
def test_what_is_not_the_providers_failure_is_left_alone(error: BaseException) -> None:
    assert to_model_error(error) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ModelRequestTimeout("m", 3), ModelTimeoutError),
        (exceptions.ModelUnavailableError("m", "busy"), ModelUnavailableError),
        (exceptions.ModelRequestRejectedError("m", "no"), ModelRefusedError),
        (exceptions.ModelHTTPError(302, "m"), ModelProtocolError),
        (exceptions.ModelAPIError("m", "odd"), ModelProtocolError),
        (exceptions.OutputTokenLimitExceeded("cut"), ModelProtocolError),
        (exceptions.UnexpectedModelBehavior("odd"), ModelProtocolError),
        (openai.APITimeoutError(request=REQUEST), ModelTimeoutError),
        (openai.APIConnectionError(request=REQUEST), ModelUnavailableError),
        (openai.ContentFilterFinishReasonError(), ModelRefusedError),
        (openai.OpenAIError("odd"), ModelProtocolError),
        (httpx2.ReadTimeout("slow"), ModelTimeoutError),
        (httpx2.ConnectError("refused"), ModelUnavailableError),
        (httpx2.RemoteProtocolError("peer closed connection"), ModelProtocolError),
        (httpx2.DecodingError("odd"), ModelProtocolError),
        (httpx2.InvalidURL("odd"), ModelUnavailableError),
        (json.JSONDecodeError("odd", "", 0), ModelProtocolError),
    ],
)
def test_exceptions_of_every_layer_are_understood(error: BaseException, kind: type[ModelError]) -> None:
    assert type(to_model_error(error)) is kind


@pytest.mark.parametrize(("after", "seconds"), [("9", 9.0), ("soon", None), (None, None)])
def test_a_status_error_of_the_clients_below_keeps_the_time_to_wait(after: str | None, seconds: float | None) -> None:
    response = httpx2.Response(429, headers={} if after is None else {"retry-after": after}, request=REQUEST)

    from_httpx = to_model_error(httpx2.HTTPStatusError("slow", request=REQUEST, response=response))
    from_openai = to_model_error(openai.RateLimitError("slow", response=response, body=None))

    for found in (from_httpx, from_openai):
        assert type(found) is ModelRateLimitedError
        assert found.retry_after_s == seconds
