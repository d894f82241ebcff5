from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from cloche.cli.configuration import as_toml
from cloche.settings import Settings, load

Cloche = Callable[..., Result]


def test_the_settings_that_count_are_shown_as_a_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        'origins = ["https://a.example"]\n[model]\nname = "openai:x"\n[agents."odd name"]\nuse = "a:b"\ntools = ["clock"]\n'
    )
    settings, _ = load(file)

    shown = tomllib.loads(as_toml(settings))

    assert shown["port"] == 8000
    assert shown["origins"] == ["https://a.example"]
    assert shown["model"]["name"] == "openai:x"
    assert shown["agents"]["odd name"]["tools"] == ["clock"]
    assert load(file)[0] == Settings.model_validate(shown)


def test_secrets_are_not_shown() -> None:
    settings = Settings.model_validate({"model": {"api_key": "sk-very-secret"}})

    shown = as_toml(settings)

    assert "very-secret" not in shown
    assert tomllib.loads(shown)["model"]["api_key"] == "***"


def test_what_is_not_set_is_said_to_be_so() -> None:
    assert "# api_key is not set" in as_toml(Settings.model_validate({}))


@pytest.mark.slow
def test_settings_that_are_right_end_well(cloche: Cloche, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOCHE_PORT", "8001")

    result = cloche("check-config")

    assert result.exit_code == 0, result.output
    assert "port = 8001" in result.stdout


def test_a_wrong_key_is_named_with_the_nearest_one(cloche: Cloche, tmp_path: Path) -> None:
    (tmp_path / "cloche.toml").write_text("prot = 1\n")

    result = cloche("check-config")

    assert result.exit_code == 1
    assert "did you mean 'port'" in result.stderr


def test_the_reference_page_is_printed(cloche: Cloche) -> None:
    assert cloche("check-config", "--markdown").stdout.startswith("# Settings\n")
