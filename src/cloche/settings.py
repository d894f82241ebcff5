"""The settings: read once, typed and frozen; the only reader of the environment.

Sources, later ones win: the defaults below, ``cloche.toml`` (or the file named), ``CLOCHE_…`` variables, the command line.
An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cloche.errors import ConfigurationError

DEFAULT_FILE = "cloche.toml"
_PREFIX = "CLOCHE_"


class _Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Section):
    """Where the truth is kept."""

    url: Annotated[str, Field(description="`sqlite` for the file in the data folder.")] = "sqlite"

    @field_validator("url")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "sqlite":
            raise ValueError("only `sqlite` is supported by this version")
        return value


class ModelSettings(_Section):
    """The model that agents use when they name none."""

    name: Annotated[
        str, Field(description="`provider:name` as pydantic-ai writes it; `scripted:demo` is no language model.")
    ] = "scripted:demo"
    base_url: Annotated[
        str | None, Field(description="Another address of an OpenAI-compatible server, such as Ollama or vLLM.")
    ] = None
    api_key: Annotated[SecretStr | None, Field(description="The provider's key.")] = None
    timeout_s: Annotated[float, Field(gt=0, le=600, description="Longest silence of the provider, in seconds.")] = 120.0
    word_delay_s: Annotated[
        float, Field(ge=0, le=1, description="Pause between the words of the scripted model, in seconds.")
    ] = 0.02


class AgentSettings(_Section):
    """One agent: `[agents.NAME]`."""

    use: Annotated[
        str, Field(description="`module:object`: an async function or a pydantic-ai Agent. Its folder is the file's.")
    ]
    description: Annotated[str, Field(description="What it is for, in the list of agents.")] = ""
    version: Annotated[str, Field(min_length=1, max_length=40, description="Changes when its steps change.")] = "1"
    takes_over: Annotated[
        bool, Field(description="Runs that another version began go on with this one, as far as their journal fits.")
    ] = True
    model: Annotated[str | None, Field(description="Its own model; else the server's.")] = None
    tools: Annotated[
        tuple[str, ...], Field(description="Names of built-in tools and of `[tools]`. What is not listed is denied.")
    ] = ()
    examples: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
        Field(max_length=12, description="Messages that show what it can do; a page offers them to start with."),
    ] = ()
    run_timeout_s: Annotated[float, Field(gt=0, le=86_400, description="Deadline of a run, in seconds.")] = 600.0
    step_timeout_s: Annotated[float, Field(gt=0, le=86_400, description="Deadline of a model call, in seconds.")] = (
        300.0
    )
    max_steps: Annotated[int, Field(ge=1, le=10_000, description="Model and tool calls of one run at most.")] = 200
    max_answer_bytes: Annotated[int, Field(ge=1, le=16_777_216, description="Text of one run at most.")] = 1_048_576


class ToolSettings(_Section):
    """One tool: `[tools.NAME]`."""

    use: Annotated[str, Field(description="`module:function`: a typed function. A plain one runs in a child process.")]
    permission: Annotated[str, Field(description="What a user must be granted.")] = "tools:basic"
    effect: Annotated[str, Field(pattern="^(none|internal|external)$", description="What it may change.")] = "external"
    timeout_s: Annotated[float, Field(gt=0, le=3_600, description="Deadline of a call, in seconds.")] = 30.0
    on_unknown: Annotated[
        str,
        Field(
            pattern="^(repeat|verify|ask|report)$",
            description="What happens to a call that a crash interrupted: it is made again, checked, asked about or reported.",
        ),
    ] = "report"
    verify: Annotated[
        str | None, Field(description='`module:function`: the check that goes with `on_unknown = "verify"`.')
    ] = None
    needs_approval: Annotated[bool, Field(description="A person is asked before each call.")] = False


class RunSettings(_Section):
    """How runs are executed."""

    concurrency: Annotated[int, Field(ge=1, le=10_000, description="Runs at once in this process.")] = 200
    grace_s: Annotated[float, Field(gt=0, le=60, description="From asking an agent to stop to putting it down.")] = 5.0
    drain_s: Annotated[float, Field(ge=0, le=60, description="What runs get to end by themselves at a shutdown.")] = 3.0
    sweep_s: Annotated[float, Field(gt=0, le=300, description="How often forgotten runs are looked for.")] = 2.0


class LimitSettings(_Section):
    """What one client may ask for."""

    operations_per_s: Annotated[
        int, Field(ge=1, le=100_000, description="Operations a second on one WebSocket; what is more is refused.")
    ] = 100


class RetentionSettings(_Section):
    """How long logs reach back, for tenants without a setting of their own."""

    days: Annotated[int, Field(ge=1, le=36_500, description="Events older than this are removed.")] = 30
    events: Annotated[int, Field(ge=100, le=100_000_000, description="Events of one thread at most.")] = 100_000
    every_s: Annotated[float, Field(gt=0, le=86_400, description="How often the sweep runs, in seconds.")] = 300.0


class TelemetrySettings(_Section):
    """What the server tells of itself."""

    log_format: Annotated[str, Field(pattern="^(auto|json|console)$", description="`auto`: console on a terminal.")] = (
        "auto"
    )
    log_level: Annotated[
        str, Field(pattern="^(debug|info|warning|error)$", description="The least that is written.")
    ] = "info"
    otlp_endpoint: Annotated[
        str | None, Field(description="Where OpenTelemetry spans go (OTLP over HTTP); none: no spans.")
    ] = None


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        nested_model_default_partial_update=True,
    )

    host: Annotated[str, Field(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="The port to listen on; 0 takes a free one.")] = 8000
    data: Annotated[Path, Field(description="The data folder: database, keys, lock.")] = Path("data")
    origins: Annotated[
        tuple[str, ...], Field(description="Origins of pages that may connect, besides the server's own.")
    ] = ()
    default_agent: Annotated[str, Field(description="The agent of messages that name none.")] = "assistant"
    database: DatabaseSettings = DatabaseSettings()
    model: ModelSettings = ModelSettings()
    agents: Annotated[dict[str, AgentSettings], Field(description="The agents, by name.")] = {}
    tools: Annotated[dict[str, ToolSettings], Field(description="The tools, by name.")] = {}
    runs: RunSettings = RunSettings()
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @field_validator("model", mode="before")
    @classmethod
    def _model_by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load`` puts together counts; it has read the environment itself."""
        return (init_settings,)


def load(file: Path | None, overrides: Mapping[str, object] | None = None) -> tuple[Settings, Path | None]:
    """The settings from all sources, and the file that was read (None: there was none).

    Raises:
        ConfigurationError: the file cannot be read, or a key or value is wrong; the text names each place.
    """
    path, from_file = _read_file(file)
    merged = _merged(_merged(from_file, _from_environment(os.environ)), dict(overrides or {}))
    try:
        return Settings(**merged), path  # pyright: ignore[reportArgumentType] -- validated by pydantic
    except ValidationError as error:
        raise ConfigurationError(_explained(error)) from error


def _read_file(file: Path | None) -> tuple[Path | None, dict[str, object]]:
    path = file or Path(DEFAULT_FILE)
    if file is None and not path.exists():
        return None, {}
    try:
        return path, cast("dict[str, object]", tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"the settings file {path.name} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the settings file {path.name} is no TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in environment.items():
        if not name.upper().startswith(_PREFIX):
            continue
        place = found
        *sections, last = name[len(_PREFIX) :].lower().split("__")
        if not sections and last == "model":
            sections, last = ["model"], "name"
        for section in sections:
            place = cast("dict[str, object]", place.setdefault(section, {}))
        place[last] = value.split(",") if last == "origins" else value
    return found


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    result = dict(below)
    for key, value in above.items():
        known = result.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(cast("Mapping[str, object]", known), cast("Mapping[str, object]", value))
        else:
            result[key] = value
    return result


def _explained(error: ValidationError) -> str:
    lines: list[str] = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{place}: there is no such setting{_nearest(problem['loc'])}")
        else:
            lines.append(f"{place}: {problem['msg']}")
    return "the settings are not right:\n  " + "\n  ".join(lines)


def _nearest(place: tuple[int | str, ...]) -> str:
    known = [name for section in _sections() for name in section.model_fields]
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _sections() -> tuple[type[BaseModel], ...]:
    return (
        Settings,
        DatabaseSettings,
        ModelSettings,
        AgentSettings,
        ToolSettings,
        RunSettings,
        LimitSettings,
        RetentionSettings,
        TelemetrySettings,
    )


def reference() -> str:
    """The reference page of all settings, as Markdown."""
    lines = ["# Settings", "", "Generated from the code by `cloche check-config --markdown`.", ""]
    names = ("", "database", "model", "agents.NAME", "tools.NAME", "runs", "limits", "retention", "telemetry")
    for name, section in zip(names, _sections(), strict=True):
        lines += [f"## {f'`[{name}]`' if name else 'Top level'}", "", (section.__doc__ or "").strip(), ""]
        lines += ["| key | default | what it does |", "|---|---|---|"]
        for key, field in section.model_fields.items():
            if field.description is None:
                continue
            default = "required" if field.is_required() else f"`{field.get_default(call_default_factory=True)}`"
            lines.append(f"| `{key}` | {default} | {field.description} |")
        lines.append("")
    lines += [
        "Every key can be set by a variable, such as `CLOCHE_PORT` or `CLOCHE_RUNS__CONCURRENCY`.",
        "`CLOCHE_MODEL` is short for `CLOCHE_MODEL__NAME`.",
        "",
    ]
    return "\n".join(lines)
