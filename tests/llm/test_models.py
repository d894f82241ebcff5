"""Opening models, and what they send to a real local server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

from cloche.errors import ConfigurationError
from cloche.llm.config import ModelConfig
from cloche.llm.models import open_model
from cloche.llm.scripted import ScriptedModel
from support.openai_server import MODEL, OpenAIServer, Reply, openai_server


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with openai_server() as running:
        yield running


def test_scripted_demo_is_the_scripted_model() -> None:
    model = open_model(ModelConfig(name="scripted:demo"))

    assert isinstance(model, ScriptedModel)
    assert model.model_id == "scripted:demo"


@pytest.mark.parametrize(
    ("name", "base_url", "kind"),
    [
        ("openai:m", None, OpenAIResponsesModel),
        ("openai:m", "http://host/v1", OpenAIChatModel),
        ("openai-chat:m", None, OpenAIChatModel),
        ("openai-responses:m", "http://host/v1", OpenAIResponsesModel),
        ("vllm:m", None, OpenAIChatModel),
        ("ollama:m", None, OllamaModel),
    ],
)
def test_the_name_and_the_address_decide_the_wire_protocol(name: str, base_url: str | None, kind: type) -> None:
    model = open_model(ModelConfig(name=name, base_url=base_url, api_key="k"))

    assert type(model) is kind


@pytest.mark.parametrize("name", ["openai:m", "openai-chat:m", "openai-responses:m", "ollama:m", "vllm:m"])
def test_a_request_is_never_repeated_in_secret(name: str) -> None:
    model = open_model(ModelConfig(name=name, api_key="k", timeout_s=3))

    assert model.provider is not None
    assert model.provider.client.max_retries == 0
    assert model.provider.client.timeout.read == 3
    assert model.provider.client.timeout.connect == 3


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="API key"):
        open_model(ModelConfig(name="openai:gpt-5-mini"))


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nosuch:model"):
        open_model(ModelConfig(name="nosuch:model"))


def test_a_provider_whose_package_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"anthropic:m.*package"):
        open_model(ModelConfig(name="anthropic:m", api_key="k"))


def test_a_compatible_provider_of_pydantic_ai_is_not_repeated_either() -> None:
    model = open_model(ModelConfig(name="deepseek:deepseek-chat", api_key="k", timeout_s=3))

    assert model.provider is not None
    assert model.provider.client.max_retries == 0


def test_a_provider_with_another_client_is_opened_too() -> None:
    model = open_model(ModelConfig(name="system-one:m", api_key="k", base_url="http://host/v1"))

    assert model.model_id == "system-one:m"


def test_an_option_that_the_provider_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes no base_url"):
        open_model(ModelConfig(name="deepseek:deepseek-chat", api_key="k", base_url="http://host/v1"))


@pytest.mark.parametrize("provider", ["openai", "openai-chat", "ollama", "vllm"])
async def test_a_streamed_answer_arrives_with_its_usage(server: OpenAIServer, provider: str) -> None:
    server.plan(Reply(text="Good morning to you"))
    config = ModelConfig(name=f"{provider}:{MODEL}", base_url=server.url, api_key="sk-test-key")

    async with open_model(config) as model, Agent(model).run_stream("hello") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]

    assert pieces == ["Good", " morning", " to", " you"]
    assert (stream.usage.input_tokens, stream.usage.output_tokens) == (7, 4)
    assert server.completions[0].headers["authorization"] == "Bearer sk-test-key"
    assert server.completions[0].body["model"] == MODEL


async def test_a_server_without_keys_gets_a_placeholder(server: OpenAIServer) -> None:
    server.plan(Reply(text="fine"))

    async with open_model(ModelConfig(name=f"openai:{MODEL}", base_url=server.url)) as model:
        result = await Agent(model).run("hello")

    assert result.output == "fine"
    assert server.completions[0].headers["authorization"] == "Bearer no-key"


async def test_a_tool_call_goes_there_and_back(server: OpenAIServer) -> None:
    server.plan(Reply(calls=[("add", '{"a": 2, "b": 3}')]), Reply(text="It is 5"))
    sums: list[int] = []

    def add(a: int, b: int) -> int:
        sums.append(a + b)
        return a + b

    async with open_model(ModelConfig(name=f"openai:{MODEL}", base_url=server.url)) as model:
        result = await Agent(model, tools=[add]).run("2 and 3?")

    assert result.output == "It is 5"
    assert sums == [5]
    assert server.completions[0].body["tools"][0]["function"]["name"] == "add"
    assert server.completions[1].body["messages"][-1] == {"role": "tool", "tool_call_id": "call_0", "content": "5"}


async def test_leaving_the_model_closes_its_connections(server: OpenAIServer) -> None:
    server.plan(Reply(text="fine"))
    model = open_model(ModelConfig(name=f"openai:{MODEL}", base_url=server.url))
    assert model.provider is not None

    async with model:
        await Agent(model).run("hello")
        http_client = model.provider.client._client
        assert not http_client.is_closed

    assert http_client.is_closed
