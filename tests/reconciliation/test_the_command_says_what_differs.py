"""`orchestrator reconcile`: a table or JSON, and an exit code that a monitor can go by."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.command import Installation, engine_of


@pytest.fixture
def engine_url(tmp_path: Path) -> Iterator[str]:
    with engine_of({"type": "Say", "text": "hello"}, script=tmp_path / "script.json") as url:
        yield url


@pytest.fixture
def installation(tmp_path: Path, engine_url: str) -> Installation:
    return Installation(tmp_path / "state", {"ENGINE__URLS": json.dumps([engine_url])})


def test_what_went_past_the_ledger_is_a_failure(installation: Installation, engine_url: str) -> None:
    first = installation.call("reconcile", "--sample")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("There are no two snapshots")

    httpx.post(
        f"{engine_url}/generate", json={"input_ids": [*range(40)], "sampling_params": {}}, trust_env=False
    ).raise_for_status()
    second = installation.call("reconcile", "--sample", "--json")
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: ledger and engine differ by up to 40 tokens, at {engine_url} from ")
    assert "calls went past the orchestrator" in second.stderr
    (stretch,) = json.loads(second.stdout)
    assert stretch["server"] == engine_url
    assert stretch["prompt"] == {"ledger": 0, "engine": 40, "drift": -40, "coverage": 0.0}
    assert stretch["cached"] == {"ledger": 0, "engine": None, "drift": None, "coverage": None}
    assert (stretch["drift"], stretch["final"], stretch["open"]) == (40, True, 0)

    tolerant = installation.call("reconcile", "--fail-over", "40")
    assert (tolerant.returncode, tolerant.stderr) == (0, "")
    (row,) = [line for line in tolerant.stdout.splitlines() if engine_url in line]
    assert "0 / 40" in row
    assert "0.00%" in row

    later = installation.call("reconcile", "--since", "2000-01-01", "--until", "2000-01-02", "--json")
    assert (later.returncode, json.loads(later.stdout)) == (0, [])


def test_an_engine_that_cant_be_asked_is_named(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "state")
    nobody = installation.call("reconcile", "--sample")
    assert nobody.returncode == 2
    assert "no engine is configured, and none runs on this state folder. Set ORCHESTRATOR_ENGINE__URLS" in nobody.stderr
    away = installation.call("reconcile", "--sample", "--server", "http://127.0.0.1:1")
    assert away.returncode == 1
    assert "the engine at http://127.0.0.1:1 can't be reached" in away.stderr


def test_a_period_that_cant_be_read_is_refused(tmp_path: Path) -> None:
    ended = Installation(tmp_path / "state").call("reconcile", "--since", "yesterday")
    assert ended.returncode == 2
    assert "since is 'yesterday', no moment" in ended.stderr
