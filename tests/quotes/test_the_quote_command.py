"""In this process, where everything is imported already."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, Rows

Run = Callable[..., Result]
THINK = "tests.programs.programs:think"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on an installation whose Temporal doesn't answer."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments, **more: CliRunner().invoke(cli, arguments, **more)


@pytest.fixture
def ledger(tmp_path: Path) -> None:
    rows = Rows()
    for number in range(1, 5):
        run = rows.run("think", tenant="default", closed_at=MARCH + timedelta(seconds=number))
        rows.charge(run, Usage(prompt=100 * number, cached=0, output=0))
    rows.charge(rows.run("think", tenant="default", status="failed"), Usage(prompt=1000), outcome="failed")
    rows.charge(rows.run("buggy", tenant="default", status="failed"), Usage(prompt=1000), outcome="failed")

    async def write() -> None:
        async with upgraded_database(Settings(state=tmp_path)) as database:
            await rows.write(database)

    anyio.run(write)


@pytest.mark.parametrize("name", ["think", THINK])
@pytest.mark.usefixtures("ledger")
def test_json_is_the_quote(run: Run, name: str) -> None:
    ended = run("quote", name, "--json")
    assert ended.exit_code == 0
    made = json.loads(ended.stdout)
    assert (made["workflow"], made["version"], made["basis"], made["confidence"]) == (
        "think",
        "1",
        "own_version",
        "low",
    )
    assert (made["runs"], made["ended"], made["waiting"], made["input"]) == (4, 5, None, None)
    assert made["cost"] == {"p50": "0.000400000", "p90": "0.000800000", "mean": "0.000500000"}
    assert made["cost_per_completed"] == "0.001000000"
    assert made["time"] == {"p50": "PT2S", "p90": "PT4S", "mean": "PT2.5S"}


@pytest.mark.usefixtures("ledger")
def test_a_person_reads_what_it_rests_on(run: Run) -> None:
    shown = run("quote", "think").stdout
    for words in (
        "One more run of think 1, by 4 completed runs (your runs of this version; confidence: low).",
        "$0.0004",
        "nine in ten stay below",
        "Expected for each run that completes: $0.001, since 1 of 5 runs failed and were paid for too.",
        "50.0% bought nothing",
        "isn't known: Temporal doesn't answer",
    ):
        assert words in shown


@pytest.mark.usefixtures("ledger")
def test_without_history_it_ends_with_4_and_quotes_nothing(run: Run) -> None:
    for name in ("buggy", "tests.programs.programs:converse"):
        ended = run("quote", name, "--json")
        assert ended.exit_code == 4
        made = json.loads(ended.stdout)
        assert (made["basis"], made["cost"], made["cost_per_completed"]) == ("none", None, None)
        assert "there is no history to go by" in run("quote", name).stdout


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["thimk"], UnknownName, "did you mean 'think'?"),
        (["tests.programs.programs:thimk"], UnknownName, "did you mean 'think'?"),
        ([THINK, "--input", "5"], InvalidInput, "the input of workflow 'think' is invalid"),
        ([THINK, "--input", "Hello."], InvalidInput, "quote text twice"),
        (["think", "--input", "@/no/such/file"], InvalidInput, "can't be read"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_mistakes_are_explained(run: Run, arguments: list[str], kind: type[Exception], words: str) -> None:
    ended = run("quote", *arguments)
    assert isinstance(ended.exception, kind)
    assert words in str(ended.exception)
    assert ended.stdout == ""
