"""In this process, where everything is imported already."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from orchestrator.errors import InvalidPeriod, PricesRefused, UnknownName

Run = Callable[..., Result]
TOKENS = ("--input", "2.5", "--cached", "0.25", "--output", "10")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on an installation of the test's own; its output is wide enough not to be wrapped."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments: CliRunner().invoke(cli, ["prices", *arguments])


def rows(run: Run, *arguments: str) -> list[dict[str, Any]]:
    return json.loads(run("list", "--json", *arguments).stdout)


def test_a_row_is_set_and_listed(run: Run) -> None:
    added = json.loads(run("set", "--model", "qwen", *TOKENS, "--json").stdout)
    assert rows(run) == added["rows"]
    (row,) = added["rows"]
    assert (row["book"], row["model"], row["pool"], row["source"]) == ("default", "qwen", "*", "typed in")
    assert (row["input"], row["cached"], row["output"]) == ("2.500000000", "0.250000000", "10.000000000")
    assert (row["gpu_hour"], row["valid_until"], added["notices"]) == (None, None, [])


def test_a_person_sees_the_row_and_what_it_does(run: Run) -> None:
    run("set", "--model", "qwen", *TOKENS, "--from", "2026-01-01")
    shown = run("set", "--model", "qwen", "--pool", "big", "--gpu-hour", "2", "--from", "2026-01-01").stdout
    assert "$2.00" in shown
    assert "note: charges that were made already keep the unit prices" in shown
    again = run("set", "--model", "qwen", *TOKENS, "--from", "2090-01-01", "--until", "2091-01-01").stdout
    assert "note: qwen in pool * of book default: the row that begins on 2026-01-01 has no end" in again


def test_lists_of_other_times_and_books(run: Run) -> None:
    assert "There are no prices" in run("list").stdout
    run("set", "--model", "m", "--gpu-hour", "1", "--from", "2026-01-01", "--until", "2026-02-01")
    run("set", "--model", "m", "--gpu-hour", "2", "--from", "2026-03-01", "--book", "other")
    assert [row["gpu_hour"] for row in rows(run, "--at", "2026-01-15")] == ["1.000000000"]
    assert [row["gpu_hour"] for row in rows(run)] == ["2.000000000"]
    assert [row["gpu_hour"] for row in rows(run, "--all")] == ["1.000000000", "2.000000000"]
    assert rows(run, "--book", "default") == []
    assert "2026-02-01" in run("list", "--all").stdout


def test_a_file_is_imported_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("model,gpu_hour,from\na,1,2026-01-01\nb,2,2026-01-01\n")
    imported = run("import", str(path), "--book", "plan", "--pool", "h100", "--json")
    added = json.loads(imported.stdout)
    assert [(row["book"], row["model"], row["pool"]) for row in added["rows"]] == [
        ("plan", "a", "h100"), ("plan", "b", "h100"),
    ]  # fmt: skip
    path.write_text("model,gpu_hour,from\nc,1,2026-01-01\na,1,2026-01-01\n")
    refused = run("import", str(path), "--book", "plan", "--pool", "h100")
    assert isinstance(refused.exception, PricesRefused)
    assert "row 2 a in pool h100 of book plan: the row that begins on 2026-01-01 has the same start" in str(
        refused.exception
    )
    assert rows(run, "--all") == added["rows"]


def test_list_prices_are_imported(run: Run) -> None:
    added = json.loads(run("import", "genai-prices", "--provider", "openai", "--model", "gpt-5", "--json").stdout)
    assert [row["model"] for row in added["rows"]] == ["gpt-5"]
    assert added["rows"][0]["source"].startswith("genai-prices ")
    shown = run("import", "genai-prices", "--provider", "google", "--book", "hosted").stdout
    assert "models were left out" in shown
    assert len(rows(run, "--book", "hosted")) > 20


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (["set", "--model", "m", "--input", "1", "--output", "2"], PricesRefused, "the price of m: cached missing"),
        (["set", "--model", "m"], PricesRefused, "input and cached and output missing"),
        (["set", "--model", "m", *TOKENS, "--gpu-hour", "1"], PricesRefused, "it prices tokens and the GPU-hour"),
        (["set", "--model", "m", *TOKENS, "--currency", "EUR"], PricesRefused, "the ledger is kept in USD alone"),
        (["set", "--model", "m", *TOKENS, "--from", "soon"], PricesRefused, "from is 'soon', no moment"),
        (["set", "--model", "m", "--gpu-hour", "nan"], PricesRefused, "finite number"),
        (["list", "--at", "soon"], InvalidPeriod, "--at is 'soon', no moment"),
        (["list", "--book", "none"], UnknownName, "there is none yet"),
        (["import", "none.csv"], PricesRefused, "none.csv: it can't be read (No such file or directory)"),
        (["import", "genai-prices", "--provider", "opena"], UnknownName, "did you mean 'openai'?"),
    ],
)
def test_mistakes_are_explained_and_write_nothing(run: Run, arguments: list[str], kind: type, says: str) -> None:
    ended = run(*arguments)
    assert isinstance(ended.exception, kind)
    assert says in str(ended.exception)
    assert rows(run, "--all") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "--gpu-hour", "1"], "Missing option '--model'"),
        (["import", "genai-prices"], "Say whose prices: genai-prices --provider openai"),
        (["import", "a.csv", "--provider", "openai"], "choose from genai-prices"),
        (["list", "--all", "--at", "1d"], "leave --at away"),
    ],
)
def test_wrong_usage_is_explained(run: Run, arguments: list[str], says: str) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert says in ended.output


def test_the_list_prices_are_not_imported_before_they_are_asked_for() -> None:
    program = "import sys, orchestrator.cli.prices, orchestrator.ledger; print('genai_prices' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
