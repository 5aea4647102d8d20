"""Every setting, read once at the entry point and passed down.

From the environment (`ORCHESTRATOR_ENGINE__MODEL=...`) over `orchestrator.toml` in the working folder. Unknown keys are
errors. Temporal's own connection (address, namespace, TLS, API key) comes from Temporal's own configuration
(`temporalio.envconfig`: `TEMPORAL_ADDRESS`, ..., or its TOML file), so that one file serves every Temporal tool.
"""

import os
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from orchestrator.errors import ConfigurationError, did_you_mean
from orchestrator.tool import problem_of

__all__ = [
    "ApiSettings",
    "CacheSettings",
    "DatabaseSettings",
    "EngineSettings",
    "PriceSettings",
    "Settings",
    "TelemetrySettings",
    "TemporalSettings",
]

PREFIX = "ORCHESTRATOR_"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TemporalSettings(_Group):
    embedded: bool | None = None
    """Whether `dev` and `demo` start a Temporal server; by default they do unless an address is configured."""
    port: int | None = None
    """Of the embedded server; a free one by default."""
    ui_port: int | None = None


class EngineSettings(_Group):
    pool: str = "default"
    urls: tuple[HttpUrl, ...] = ()
    """SGLang servers of the pool. Empty: `dev` and `demo` start one on this machine's CPU."""
    model: str | None = None
    """The model that the servers must serve; by default whatever they serve."""
    concurrency: Annotated[int, Field(gt=0)] = 16
    """Engine calls that one server runs at a time."""
    timeout: timedelta = timedelta(minutes=10)
    """Longest engine call."""
    gpus: Annotated[int, Field(gt=0)] = 1
    """GPUs of each server of the pool."""
    facts: Path | None = None
    """Folder where the engine's servers on this machine export their requests; the embedded server brings its own."""
    port: int | None = None
    """Of the embedded server; a free one by default."""
    environment: Path = Path(".venv-engine")
    """Python environment with SGLang, for the embedded server."""
    tool_call_parser: str | None = None
    """How the model writes tool calls (SGLang's `--tool-call-parser`); by default what the server says."""
    reasoning_parser: str | None = None
    image_urls: bool = False
    """Whether engines may fetch images from the URLs that conversations name: from inside their own network."""


class DatabaseSettings(_Group):
    url: SecretStr | None = None
    """`sqlite+aiosqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME`; by default SQLite in `state`."""
    pool_size: Annotated[int, Field(gt=0)] = 10


class PriceSettings(_Group):
    """Price of the pool's model, US dollars for a million tokens, used where the price book has no row for it."""

    input: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal("0.02")
    cached_input: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal("0.002")
    output: Annotated[Decimal, Field(ge=0, decimal_places=9)] = Decimal("0.08")


class CacheSettings(_Group):
    """Results of tools and engine calls that are kept, where the code asks for it (`cache=`)."""

    max_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """Bytes that may be kept, compressed; beyond it the oldest go."""


class ApiSettings(_Group):
    host: str = "127.0.0.1"
    port: int | None = None
    """8000 by default; `dev` and `demo` take the next free one where it is in use."""


class TelemetrySettings(_Group):
    """What others may watch. The API always shows its metrics, at `/metrics`."""

    otlp_endpoint: HttpUrl | None = None
    """OpenTelemetry collector that traces are sent to over HTTP (`http://127.0.0.1:4318`). Without, none are made."""
    service_name: str = "orchestrator"
    """In traces, where `OTEL_SERVICE_NAME` doesn't say otherwise."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Where `orchestrator worker` shows its metrics; 0 takes a free one. Without, it doesn't."""
    temporal_metrics_port: Annotated[int, Field(gt=0, le=65535)] | None = None
    """Where the process shows the metrics of Temporal's own SDK. Without, it doesn't."""
    tenant_labels: bool = False
    """Whether metrics name tenants: each tenant multiplies the number of series."""


class Settings(BaseSettings):
    """All settings; frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        toml_file="orchestrator.toml",
    )
    separator: ClassVar[str] = "__"

    state: Path = Path(".orchestrator")
    """Folder of everything that is kept: databases, models, indexes, logs."""
    tenant: str = "default"
    """The tenant of runs that name none."""
    temporal: TemporalSettings = TemporalSettings()
    engine: EngineSettings = EngineSettings()
    database: DatabaseSettings = DatabaseSettings()
    price: PriceSettings = PriceSettings()
    cache: CacheSettings = CacheSettings()
    api: ApiSettings = ApiSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls) -> "Settings":
        """Settings from the environment and `orchestrator.toml`.

        Raises:
            ConfigurationError: a value or a key is wrong.
        """
        keys = list(_keys(cls))
        known = {f"{PREFIX}{key}".upper() for key in keys}
        for name in sorted(os.environ):
            if name.upper().startswith(PREFIX) and name.upper() not in known:
                raise ConfigurationError(
                    f"the environment variable {name} is no setting", remedy=_hint(name.upper(), known)
                )
        try:
            return cls()
        except ValidationError as error:
            remedy = "Correct it in the environment or in orchestrator.toml."
            for item in error.errors(include_url=False):
                if item["type"] == "extra_forbidden":
                    unknown = ".".join(map(str, item["loc"]))
                    remedy = _hint(unknown, [key.replace(cls.separator, ".") for key in keys])
            raise ConfigurationError(f"the settings are wrong: {problem_of(error)}", remedy=remedy) from error
        except SettingsError as error:
            raise ConfigurationError(
                f"the settings are wrong: {error}",
                remedy=f"""Write lists as JSON: {PREFIX}ENGINE__URLS='["http://127.0.0.1:30000"]'.""",
            ) from error
        except TOMLDecodeError as error:
            raise ConfigurationError(
                f"orchestrator.toml can't be read: {error}", remedy="Correct it, or take it away."
            ) from error

    @property
    def database_url(self) -> str:
        """Where the ledger, the transcripts and the collections are."""
        if self.database.url is not None:
            return self.database.url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.state / 'orchestrator.db').absolute()}"


def _hint(name: str, known: Iterable[str]) -> str:
    words = did_you_mean(name, known)
    return f"{words[0].upper()}{words[1:]}"


def _keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield f"{prefix}{name}"
            yield from _keys(annotation, f"{prefix}{name}{Settings.separator}")
        else:
            yield f"{prefix}{name}"
