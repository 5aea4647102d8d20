"""A setting that has no effect would be found out too late; so nothing unknown is passed over."""

from collections.abc import Callable

import pytest

from orchestrator.errors import ConfigurationError
from orchestrator.settings import Settings

Load = Callable[..., Settings]


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ENGINE__MODLE", "Did you mean 'ORCHESTRATOR_ENGINE__MODEL'?"),
        ("engine__modle", "Did you mean 'ORCHESTRATOR_ENGINE__MODEL'?"),
        ("ENGINE_MODEL", "Did you mean 'ORCHESTRATOR_ENGINE__MODEL'?"),
        ("DATABSE__URL", "Did you mean 'ORCHESTRATOR_DATABASE__URL'?"),
        ("STATE__FOLDER", "Did you mean 'ORCHESTRATOR_"),
    ],
)
def test_an_unknown_variable(load: Load, variable: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**{variable: "x"})
    assert f"the environment variable ORCHESTRATOR_{variable} is no setting" in caught.value.problem
    assert hint in caught.value.remedy


@pytest.mark.parametrize(
    ("toml", "key", "hint"),
    [
        ('[engine]\nmodle = "x"', "engine.modle", "Did you mean 'engine.model'?"),
        ("[databse]\npool_size = 3", "databse", "Did you mean 'database'?"),
        ("[engine]\nconcurency = 3", "engine.concurency", "Did you mean 'engine.concurrency'?"),
        ('tennant = "x"', "tennant", "Did you mean 'tenant'?"),
    ],
)
def test_an_unknown_key_of_the_file(load: Load, toml: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(toml)
    assert f"{key}: Extra inputs are not permitted" in caught.value.problem
    assert caught.value.remedy == hint


def test_an_unknown_key_in_a_group_given_as_json(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"Did you mean 'engine\.model'"):
        load(ENGINE='{"modle": "x"}')


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("ENGINE__CONCURRENCY", "0", "engine.concurrency: Input should be greater than 0"),
        ("ENGINE__TIMEOUT", "soon", "engine.timeout: Input should be a valid timedelta"),
        ("DATABASE__POOL_SIZE", "many", "database.pool_size: Input should be a valid integer"),
        ("PRICE__INPUT", "-1", "price.input: Input should be greater than or equal to 0"),
        ("PRICE__OUTPUT", "0.0000000001", "price.output: Decimal input should have no more than 9 decimal places"),
        ("ENGINE__URLS", '["ftp:"]', "engine.urls.0: "),
    ],
)
def test_a_wrong_value_is_named(load: Load, variable: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(**{variable: value})
    assert problem in caught.value.problem
    assert "orchestrator.toml" in caught.value.remedy


def test_a_list_that_is_not_json_says_how_to_write_it(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"Write lists as JSON: ORCHESTRATOR_ENGINE__URLS='\[\"http://"):
        load(ENGINE__URLS="http://gpu-1:30000")


def test_a_file_that_is_no_toml_is_named(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"orchestrator\.toml can't be read: .*line 2"):
        load("\n[engine\n")


def test_variables_of_others_are_left_alone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRA", "x")
    monkeypatch.setenv("MODEL", "x")
    assert load().engine.model is None
