"""In this process, where everything is imported already."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from orchestrator.database import now
from orchestrator.errors import InvalidPeriod, UnknownName
from orchestrator.ledger import Price
from orchestrator.ledger.focus import COLUMNS
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, Rows

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on an installation of the test's own; its output is wide enough not to be wrapped."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def ledger(tmp_path: Path) -> Rows:
    """Two workflows, one of which checks its answers; waste, idling, and a book without a price for `gpt`."""
    rows = Rows()
    hour = Price(gpu=3_600_000_000, source="test")
    rows.charge(rows.run("answer", passed=True), Usage(prompt=100, cached=50, output=10))
    rows.charge(rows.run("answer", passed=False), Usage(prompt=100), outcome="discarded")
    rows.charge(rows.run("plan", status="failed"), price=hour, gpu_us=123_456_789, outcome="failed", estimated=True)
    rows.charge(rows.run("plan"), Usage(prompt=5, output=5), name="gpt", pool="hosted", at=now() - timedelta(hours=1))
    rows.window(idle_us=7_000_000_000)
    rows.price(Price(input=1_000_000, cached=1_000_000, output=1_000_000, source="test"), model="qwen")

    async def write() -> None:
        async with upgraded_database(Settings(state=tmp_path)) as database:
            await rows.write(database)

    anyio.run(write)
    return rows


def test_json_is_the_report(run: Run, ledger: Rows) -> None:
    report = json.loads(run("cost", "--json").stdout)
    lines = {line["group"]["workflow"]: line for line in report["lines"]}
    assert set(lines) == {"answer", "plan"}
    answer = lines["answer"]
    assert (answer["runs"], answer["completed"], answer["passed"], answer["tokens"]) == (2, 2, 1, 210)
    assert answer["cost"] == "0.000390000"
    assert (answer["cost_per_completed"], answer["cost_of_pass"]) == ("0.000195000", "0.000390000")
    assert answer["waste"]["discarded"] == answer["waste"]["total"] == "0.000200000"
    assert lines["plan"]["passed"] is None
    assert lines["plan"]["gpu"] == "PT2M3.456789S"
    assert report["total"]["idle"] == lines["plan"]["idle"] == "7.000000000"
    assert (report["by"], report["book"], report["unpriced"]) == ("workflow", None, [])


def test_csv_is_exact_and_sums_to_the_total(run: Run, ledger: Rows) -> None:
    rows = list(csv.DictReader(io.StringIO(run("cost", "--by", "model", "--csv").stdout)))
    total = json.loads(run("cost", "--json").stdout)["total"]
    assert list(rows[0])[:3] == ["kind", "name", "pool"]
    assert sum(Decimal(row["cost"]) for row in rows) == Decimal(total["cost"])
    assert sum(Decimal(row["idle"]) for row in rows) == Decimal(total["idle"])
    gpu = next(row for row in rows if row["gpu_seconds"] != "0.000000")
    assert (gpu["gpu_seconds"], gpu["runs"], gpu["failed"]) == ("123.456789", "", "0.123456789")


def test_focus_is_csv_with_the_specifications_columns(run: Run, ledger: Rows) -> None:
    rows = list(csv.DictReader(io.StringIO(run("cost", "--focus").stdout)))
    total = json.loads(run("cost", "--json").stdout)["total"]
    assert list(rows[0]) == list(COLUMNS)
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(total["cost"]) + Decimal(total["idle"])


def test_a_person_sees_what_matters_and_the_totals(run: Run, ledger: Rows) -> None:
    shown = run("cost").stdout
    for words in ("workflow", "cost per completed run", "cost of pass", "idle share", "estimated", "total", "$7.12"):
        assert words in shown
    assert "retried" not in shown  # since there was none
    assert "GPUs idle or overhead: $7.00. It is not in the cost." in shown
    by_model = run("cost", "--by", "model").stdout
    assert "runs" not in by_model.splitlines()[1]


def test_a_book_that_lacks_a_price_says_so(run: Run, ledger: Rows) -> None:
    shown = run("cost", "--book", "other").stdout
    assert "Not in the cost, for want of a price in book other: 1 call of gpt in pool hosted, 10 tokens." in shown
    report = json.loads(run("cost", "--book", "other", "--json").stdout)
    assert report["unpriced"] == [{"model": "gpt", "pool": "hosted", "calls": 1, "tokens": 10}]
    assert report["total"]["cost"] == "0.000000210"


@pytest.mark.parametrize(
    ("bounds", "cost"),
    [
        (["--since", "2026-03-01", "--until", "2026-03-02", "--tenant", "acme"], "0.123846789"),
        (["--since", "2h"], "0.000050000"),
        (["--until", "2026-03-01T01:00+01:00"], "0.000000000"),
        (["--workflow", "answer"], "0.000390000"),
    ],
)
def test_periods_and_filters(run: Run, ledger: Rows, bounds: list[str], cost: str) -> None:
    assert json.loads(run("cost", "--json", *bounds).stdout)["total"]["cost"] == cost


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (["--since", "yesterday"], InvalidPeriod, "since is 'yesterday', no moment: write a date"),
        (["--until", "7y"], InvalidPeriod, "until is '7y', no moment"),
        (["--since", "2026-02-30"], InvalidPeriod, "since is '2026-02-30'"),
        (["--since", "999999w"], InvalidPeriod, "since is '999999w'"),
        (["--since", "2026-03-02", "--until", "2026-03-02"], InvalidPeriod, "not after since"),
        (["--book", "othr"], UnknownName, "did you mean 'other'?"),
    ],
)
def test_mistakes_are_explained(run: Run, ledger: Rows, arguments: list[str], kind: type[Any], words: str) -> None:
    ended = run("cost", *arguments)
    assert isinstance(ended.exception, kind)
    assert words in str(ended.exception)
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--by", "colour"], "'colour' is not one of"), (["--focus", "--book", "other"], "--focus says what was charged")],
)
def test_wrong_usage_is_explained(run: Run, arguments: list[str], words: str) -> None:
    ended = run("cost", *arguments)
    assert ended.exit_code == 2
    assert words in ended.output


def test_an_empty_ledger_is_no_error(run: Run) -> None:
    assert run("cost").stdout == "There are no runs yet.\n"
    assert run("cost", "--since", "7d").stdout == "There are no runs in this period.\n"
    assert json.loads(run("cost", "--json").stdout)["lines"] == []
    assert run("cost", "--csv").stdout.count("\n") == 1
    assert run("cost", "--focus").stdout.count("\n") == 1


def test_runs_lists_outermost_runs(run: Run, ledger: Rows) -> None:
    assert len(json.loads(run("runs", "--json").stdout)) == 4
    assert MARCH.strftime("%Y-%m-%d") in run("runs").stdout
