"""Whether the model can be used, asked of a real local server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from cloche.errors import ModelUnavailableError
from cloche.llm import probe
from cloche.llm.config import ModelConfig
from cloche.llm.probe import ModelProbe, ProbeResult
from support.openai_server import MODEL, OpenAIServer, openai_server

START = datetime(2026, 5, 4, tzinfo=UTC)


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with openai_server() as running:
        yield running


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


async def check(url: str, clock: HandClock, model: str = MODEL) -> ProbeResult:
    config = ModelConfig(name=f"openai:{model}", base_url=url, api_key="sk-test-key")
    async with ModelProbe(config, clock) as opened:
        return await opened.check()


async def test_the_scripted_model_is_always_there(clock: HandClock) -> None:
    async with ModelProbe(ModelConfig(name="scripted:demo"), clock) as opened:
        result = await opened.check()

    assert result == ProbeResult(
        ok=True, detail="scripted: no language model is configured", latency_ms=0.0, checked_at=START
    )


async def test_a_server_that_lists_the_model_is_ready(server: OpenAIServer, clock: HandClock) -> None:
    result = await check(server.url, clock)

    assert result.ok is True
    assert result.detail == "the provider answers"
    assert result.checked_at == START
    assert result.latency_ms is not None
    assert server.requests[0].path == "/v1/models"
    assert server.requests[0].headers["authorization"] == "Bearer sk-test-key"


async def test_a_model_that_is_not_listed_is_a_hint_and_not_a_failure(server: OpenAIServer, clock: HandClock) -> None:
    result = await check(server.url, clock, "other")

    assert result.ok is True
    assert "does not name the model" in result.detail


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"data": 7}', b'{"data": [{"name": "x"}]}', b"\xff"])
async def test_an_odd_list_still_means_that_it_answers(server: OpenAIServer, clock: HandClock, body: bytes) -> None:
    server.models_body = body

    result = await check(server.url, clock)

    assert result.ok is True
    assert "cannot be read" in result.detail


async def test_a_huge_list_is_not_read_to_its_end(
    server: OpenAIServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_MAX_LIST_BYTES", 10)
    server.models_body = b" " * 100_000

    assert (await check(server.url, clock)).ok is True


async def test_a_server_without_a_list_is_ready(server: OpenAIServer, clock: HandClock) -> None:
    server.models_status = 404

    assert (await check(server.url, clock)).ok is True


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_refusal_or_failure_is_not_ready(server: OpenAIServer, clock: HandClock, status: int) -> None:
    server.models_status = status

    result = await check(server.url, clock)

    assert result.ok is False
    assert result.detail == f"the provider answered with HTTP {status}"


async def test_a_server_that_is_not_there_is_not_ready(clock: HandClock) -> None:
    result = await check("http://127.0.0.1:9/v1", clock)

    assert result.ok is False
    assert result.detail == "the provider cannot be reached"


async def test_a_silent_server_is_given_up(
    server: OpenAIServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.1)
    server.models_stall = True

    result = await check(server.url, clock)

    assert result.ok is False
    assert result.detail == "no answer within 0.1 s"


async def test_the_answer_is_kept_for_ten_seconds(server: OpenAIServer, clock: HandClock) -> None:
    async with ModelProbe(ModelConfig(name=f"openai:{MODEL}", base_url=server.url), clock) as opened:
        await opened.check()
        clock.seconds = 9.9
        await opened.check()
        asked_before = len(server.requests)
        clock.seconds = 10.0
        await opened.check()

    assert asked_before == 1
    assert len(server.requests) == 2


async def test_many_callers_make_one_request(server: OpenAIServer, clock: HandClock) -> None:
    async with ModelProbe(ModelConfig(name=f"openai:{MODEL}", base_url=server.url), clock) as opened:
        results = await asyncio.gather(*(opened.check() for _ in range(20)))

    assert len(set(results)) == 1
    assert len(server.requests) == 1
    assert "authorization" not in server.requests[0].headers


async def test_a_caller_that_gives_up_leaves_the_others_their_answer(server: OpenAIServer, clock: HandClock) -> None:
    server.models_stall = True
    async with ModelProbe(ModelConfig(name=f"openai:{MODEL}", base_url=server.url), clock) as opened:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await opened.check()
        server.models_stall = False

        assert (await opened.check()).ok is True


async def test_of_other_providers_the_last_call_tells(clock: HandClock) -> None:
    async with ModelProbe(ModelConfig(name="anthropic:m"), clock) as opened:
        first = await opened.check()
        opened.record_failure(ModelUnavailableError("The provider cannot be reached."))
        failed = await opened.check()
        clock.seconds = 5
        opened.record_success()
        succeeded = await opened.check()

    assert (first.ok, first.checked_at) == (None, None)
    assert (failed.ok, failed.checked_at) == (False, START)
    assert "cannot be reached" in failed.detail
    assert (succeeded.ok, succeeded.checked_at) == (True, START + timedelta(seconds=5))


async def test_calls_do_not_overrule_a_server_that_can_be_asked(server: OpenAIServer, clock: HandClock) -> None:
    async with ModelProbe(ModelConfig(name=f"openai:{MODEL}", base_url=server.url), clock) as opened:
        opened.record_failure(ModelUnavailableError())
        opened.record_success()

        assert (await opened.check()).detail == "the provider answers"
