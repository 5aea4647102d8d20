"""Installations, and engines that they may use."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Installation, engine_of


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An empty one, with no engine."""
    return Installation(tmp_path / "state")


@pytest.fixture(scope="module")
def engine_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scripted engine that says "hello" twenty times."""
    script = tmp_path_factory.mktemp("engine") / "script.json"
    with engine_of(*[{"type": "Say", "text": "hello"}] * 20, script=script) as url:
        yield url


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, engine_url: str) -> Installation:
    """An installation with an engine, shared by a module's tests."""
    state = tmp_path_factory.mktemp("served") / "state"
    return Installation(state, {"ENGINE__URLS": json.dumps([engine_url]), "API__PORT": "0"})
