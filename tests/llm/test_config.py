"""The model's configuration."""

from __future__ import annotations

import pytest

from cloche.errors import ConfigurationError
from cloche.llm.config import ModelConfig


def test_the_representation_hides_the_key() -> None:
    config = ModelConfig(name="openai:gpt-5-mini", api_key="sk-secret")

    assert "sk-secret" not in repr(config)
    assert "sk-secret" not in str(config)


def test_a_name_is_split_at_its_first_colon() -> None:
    config = ModelConfig(name="ollama:qwen3:8b")

    assert (config.provider, config.model) == ("ollama", "qwen3:8b")


@pytest.mark.parametrize("name", ["", "gpt-5-mini", "openai:", ":gpt-5-mini", "test"])
def test_a_name_without_both_parts_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="provider:model"):
        ModelConfig(name=name)


def test_only_the_demonstration_is_scripted() -> None:
    assert ModelConfig(name="scripted:demo").is_scripted

    with pytest.raises(ConfigurationError, match="scripted:demo"):
        ModelConfig(name="scripted:other")


@pytest.mark.parametrize("timeout_s", [0, -1.0])
def test_a_timeout_is_positive(timeout_s: float) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        ModelConfig(name="openai:gpt-5-mini", timeout_s=timeout_s)


@pytest.mark.parametrize("base_url", ["localhost:8000", "ftp://host/v1", "http://", "http://[broken/v1"])
def test_a_base_url_is_a_web_address(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        ModelConfig(name="openai:m", base_url=base_url)


def test_a_base_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ModelConfig(name="openai:m", base_url="https://user:hunter2@host/v1")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "base_url", "address"),
    [
        ("openai:m", None, "https://api.openai.com/v1"),
        ("ollama:m", None, "http://localhost:11434/v1"),
        ("openai:m", "http://10.0.0.5:8000/v1/", "http://10.0.0.5:8000/v1"),
        ("anthropic:m", "https://proxy.example/v1", None),
        ("scripted:demo", None, None),
    ],
)
def test_the_address_is_known_for_compatible_servers_only(name: str, base_url: str | None, address: str | None) -> None:
    assert ModelConfig(name=name, base_url=base_url).address == address
