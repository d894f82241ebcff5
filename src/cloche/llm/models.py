"""Opens the configured model. Importing this module imports pydantic-ai and the OpenAI client: it is loaded late."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model, infer_model
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.vllm import VLLMProvider

from cloche.errors import ConfigurationError
from cloche.llm.scripted import ScriptedModel

if TYPE_CHECKING:
    from cloche.llm.config import ModelConfig

CONNECT_TIMEOUT_S = 5.0
NO_KEY = "no-key"  # the OpenAI client wants one even where the server does not
# A stream that just ends is a failure here, not an answer: without this, half an answer would count as a whole one.
_PROFILE = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)


def open_model(config: ModelConfig) -> Model[Any]:
    """A model that is ready for requests; no request has been made yet.

    Its HTTP connections live until ``async with model:`` is left; whoever opens it enters it once around all use.
    OpenAI-compatible servers are never asked twice for one request: repeating is the journal's decision. ``openai:``
    means OpenAI's Responses API at OpenAI itself, and chat completions at any other base URL, because that is what
    compatible servers offer; ``openai-chat:`` and ``openai-responses:`` say which one is meant.

    Raises:
        ConfigurationError: the name is unknown, its package is not installed, or a key is missing.
    """
    if config.is_scripted:
        return ScriptedModel(delay_s=config.word_delay_s)
    if config.address is None:
        return _open_other(config)
    return _open_compatible(config, config.address)


def _open_compatible(config: ModelConfig, address: str) -> Model[AsyncOpenAI]:
    if config.base_url is None and config.api_key is None and config.provider.startswith("openai"):
        message = f"the model {config.name!r} needs an API key"
        raise ConfigurationError(message)
    provider = _compatible_provider(config, address)
    _steady(provider.client, config)
    if config.provider == "ollama":
        return OllamaModel(config.model, provider=provider, profile=_PROFILE)
    if config.provider == "openai-responses" or (config.provider == "openai" and config.base_url is None):
        return OpenAIResponsesModel(config.model, provider=provider)
    return OpenAIChatModel(config.model, provider=provider, profile=_PROFILE)


def _compatible_provider(config: ModelConfig, address: str) -> Provider[AsyncOpenAI]:
    key = config.api_key or NO_KEY
    match config.provider:
        case "ollama":
            return OllamaProvider(base_url=address, api_key=key)
        case "vllm":
            return VLLMProvider(base_url=address, api_key=key)
        case _:
            return OpenAIProvider(base_url=address, api_key=key)


def _steady(client: AsyncOpenAI, config: ModelConfig) -> None:
    # On the client, not as a model setting: a setting makes pydantic-ai copy the client for every request.
    client.max_retries = 0
    client.timeout = httpx2.Timeout(config.timeout_s, connect=min(CONNECT_TIMEOUT_S, config.timeout_s))


def _open_other(config: ModelConfig) -> Model[Any]:
    try:
        return infer_model(config.name, lambda name: _other_provider(name, config))
    except ImportError as error:
        message = f"the model {config.name!r} needs a package that is not installed: {error}"
        raise ConfigurationError(message) from error
    except (UserError, ValueError) as error:
        message = f"the model {config.name!r} cannot be used: {error}"
        raise ConfigurationError(message) from error


def _other_provider(name: str, config: ModelConfig) -> Provider[Any]:
    kind = infer_provider_class(name)
    options = {"base_url": config.base_url, "api_key": config.api_key}
    given = {option: value for option, value in options.items() if value is not None}
    unknown = given.keys() - signature(kind).parameters.keys()
    if unknown:
        message = f"the provider {name!r} takes no {' and no '.join(sorted(unknown))}"
        raise ConfigurationError(message)
    provider: Provider[Any] = kind(**given)
    if isinstance(provider.client, AsyncOpenAI):
        _steady(provider.client, config)
    return provider
