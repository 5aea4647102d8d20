"""A password in the database's URL reaches the database, and no screen."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

from orchestrator.cli.installation import config
from orchestrator.errors import ConfigurationError
from orchestrator.settings import Settings

Load = Callable[..., Settings]

URL = "postgresql://user:hunter2@host/name"


def test_by_repr_or_dump(load: Load) -> None:
    settings = load(DATABASE__URL=URL)
    assert settings.database_url == URL
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "hunter2" not in shown
        assert "**********" in shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_by_the_config_command(load: Load, options: list[str]) -> None:
    settings = load(DATABASE__URL=URL, ENGINE__MODEL="qwen")
    shown = CliRunner().invoke(config, options, obj=settings)
    assert shown.exit_code == 0
    assert "hunter2" not in shown.output
    if options:
        told = json.loads(shown.output)
        assert (told["engine"]["model"], told["database"]["url"]) == ("qwen", "**********")
    else:
        lines = shown.output.splitlines()
        assert lines == sorted(lines)
        assert {"ORCHESTRATOR_ENGINE__MODEL=qwen", "ORCHESTRATOR_DATABASE__URL=**********"} <= set(lines)


def test_by_an_error(load: Load) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(f'[database]\nurl = "{URL}"\npool_size = 0')
    assert "hunter2" not in str(caught.value)
