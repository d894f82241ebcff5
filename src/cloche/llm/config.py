"""What is known about the configured model before anything of a provider is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cloche.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPTED_PROVIDER = "scripted"
SCRIPTED_MODEL = "demo"

# The servers that these providers speak to by default; all of them answer the OpenAI wire protocol.
OPENAI_COMPATIBLE: Mapping[str, str] = MappingProxyType(
    {
        "openai": "https://api.openai.com/v1",
        "openai-chat": "https://api.openai.com/v1",
        "openai-responses": "https://api.openai.com/v1",
        "ollama": "http://localhost:11434/v1",
        "vllm": "http://localhost:8000/v1",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model answers, and where.

    Attributes:
        name: ``provider:model``, as pydantic-ai writes it; ``scripted:demo`` is the built-in demonstration.
        base_url: another address than the provider's own; never with a user or password in it.
        api_key: secret; not in the representation.
        timeout_s: the longest silence of the provider, also between two pieces of a stream. The step's deadline
            bounds the whole call.
        word_delay_s: the pause between two words of the scripted model.
    """

    name: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_s: float = 120.0
    word_delay_s: float = 0.02

    def __post_init__(self) -> None:
        if not self.provider or not self.model:
            message = f"the model name {self.name!r} is not of the form provider:model, such as openai:gpt-5-mini"
            raise ConfigurationError(message)
        if self.is_scripted and self.model != SCRIPTED_MODEL:
            message = f"there is no scripted model {self.model!r}; the built-in one is scripted:demo"
            raise ConfigurationError(message)
        if self.timeout_s <= 0:
            message = "the model's timeout must be more than 0 seconds"
            raise ConfigurationError(message)
        if self.base_url is not None:
            _check_address(self.base_url)

    @property
    def provider(self) -> str:
        """What stands before the first colon."""
        return self.name.partition(":")[0]

    @property
    def model(self) -> str:
        """What stands after the first colon: the name that the provider knows."""
        return self.name.partition(":")[2]

    @property
    def is_scripted(self) -> bool:
        """Whether no language model is configured."""
        return self.provider == SCRIPTED_PROVIDER

    @property
    def address(self) -> str | None:
        """The base URL of an OpenAI-compatible server, without a slash at its end; None for other providers."""
        default = OPENAI_COMPATIBLE.get(self.provider)
        return None if default is None else (self.base_url or default).rstrip("/")


def _check_address(base_url: str) -> None:
    # The address itself is not repeated: it may hold the credential that makes it unacceptable.
    try:
        parts = urlsplit(base_url)
        host = parts.hostname
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        message = "the model's base URL must start with http:// or https:// and name a host"
        raise ConfigurationError(message)
    if parts.username is not None or parts.password is not None:
        message = "the model's base URL holds a user or password; give the key as the API key instead"
        raise ConfigurationError(message)
