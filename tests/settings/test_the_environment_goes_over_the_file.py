"""Where each value comes from: the environment, then `orchestrator.toml`, then the defaults."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrator.settings import PriceSettings, Settings

Load = Callable[..., Settings]

FILE = """
tenant = "file"

[engine]
model = "file"
concurrency = 9
urls = ["http://file:1"]

[database]
url = "postgresql://file@host/name"

[price]
input = "0.123456789"
"""


def test_the_file_goes_over_the_defaults(load: Load) -> None:
    settings = load(FILE)
    assert (settings.tenant, settings.engine.model, settings.engine.concurrency) == ("file", "file", 9)
    assert settings.database_url == "postgresql://file@host/name"
    assert settings.price.input == Decimal("0.123456789")
    assert settings.price.output == PriceSettings().output


def test_the_environment_goes_over_the_file_value_by_value(load: Load) -> None:
    settings = load(FILE, ENGINE__MODEL="environment", TENANT="environment")
    assert (settings.tenant, settings.engine.model) == ("environment", "environment")
    assert settings.engine.concurrency == 9
    assert [str(url) for url in settings.engine.urls] == ["http://file:1/"]


def test_nested_names(load: Load) -> None:
    settings = load(
        ENGINE__URLS='["http://gpu-1:30000", "http://gpu-2:30000"]',
        ENGINE__TIMEOUT="PT90S",
        TEMPORAL__EMBEDDED="false",
        TEMPORAL__UI_PORT="8233",
        DATABASE__POOL_SIZE="3",
        API__PORT="80",
        STATE="/var/lib/orchestrator",
    )
    assert [url.host for url in settings.engine.urls] == ["gpu-1", "gpu-2"]
    assert settings.engine.timeout == timedelta(seconds=90)
    assert (settings.temporal.embedded, settings.temporal.ui_port) == (False, 8233)
    assert (settings.database.pool_size, settings.api.port) == (3, 80)
    assert settings.state == Path("/var/lib/orchestrator")


def _names(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{prefix}{name}__")
        else:
            yield f"{prefix}{name}".upper(), field.default


def test_every_default_can_be_said_in_the_environment(load: Load) -> None:
    said = {
        name: str(default).lower() if isinstance(default, bool) else str(default)
        for name, default in _names(Settings)
        if default is not None and not isinstance(default, tuple | timedelta)
    }
    assert {"ENGINE__POOL", "API__HOST", "PRICE__CACHED_INPUT", "STATE"} <= set(said)
    assert load(**said) == load()


def test_the_database_is_a_file_in_the_state_folder_by_default(load: Load, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert load().database_url == f"sqlite+aiosqlite:///{tmp_path}/.orchestrator/orchestrator.db"
    assert load(STATE="/state").database_url == "sqlite+aiosqlite:////state/orchestrator.db"
    assert load(STATE="/state", DATABASE__URL="postgresql://h/n").database_url == "postgresql://h/n"


def test_settings_do_not_change(load: Load) -> None:
    settings: Any = load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.tenant = "other"
    with pytest.raises(ValidationError, match="frozen"):
        settings.engine.model = "other"
