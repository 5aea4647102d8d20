"""What kept results saved stands on receipts, reports and in the command line's words; it is never part of a cost."""

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from orchestrator.budget import Allowance
from orchestrator.cli import cli
from orchestrator.database import Database, now
from orchestrator.database.tables import prices
from orchestrator.ledger import (
    FROM_CACHE,
    By,
    Kind,
    Price,
    Settlement,
    cost_report,
    focus_rows,
    run_receipt,
    set_limit,
    tenant_limits,
    verify,
)
from orchestrator.session import upgraded_database
from orchestrator.settings import Settings
from orchestrator.steps import GENERATE, RunStatus
from orchestrator.usage import Outcome, Savings, Usage
from tests.ledger.books import PRICE, Books, opened

SAVED = Savings(results=1, usd=Decimal("0.000092"), tokens=16)
"""Of an engine call that once took 6 uncached and 10 output tokens at `PRICE`."""
ONCE = Usage(prompt=6, cached=0, output=10)
TOOL = Kind(kind="tool", name="weigh")
CALL = Kind(kind=GENERATE, name="m", pool="default")
A_CALL = Price(call=5_000_000, source="tool")


async def _written(database: Database) -> Books:
    """A run with a call, a kept reply, a priced tool, and a kept result of it; it has ended."""
    books = Books.of_a_new_run(database)
    await books.used(1, ONCE)
    await books.used(2, what=TOOL, price=A_CALL)
    for step, what, saved in ((3, CALL, SAVED), (4, TOOL, Savings(results=1, usd=Decimal("0.005")))):
        key = books.attempt(step, 1)
        reservation = opened(await books.ledger.reserve(key, books.scope, what, price=FROM_CACHE))
        async with database.begin() as connection:
            settlement = Settlement(outcome=Outcome.USED, result={"text": "x"}, saved=saved)
            receipt = await books.ledger.settle(connection, reservation, settlement)
        assert (receipt.cost, receipt.saved) == (0, saved)
    await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)
    return books


async def _price(database: Database, *, model: str, **columns: int) -> None:
    long_ago = now() - timedelta(days=1)
    row = {"book": "other", "model": model, "pool": "*", "valid_from": long_ago, "source": "test"}
    async with database.begin() as connection:
        await connection.execute(database.insert(prices), {**row, "created_at": long_ago, **columns})


async def test_on_the_receipt(database: Database) -> None:
    books = await _written(database)
    async with database.snapshot() as connection:
        made = await run_receipt(connection, books.scope.workflow_id)
        verification = await verify(connection, books.scope.workflow_id)
    assert made.receipt.cost == Decimal("0.005092")
    assert made.receipt.usage == ONCE
    assert made.receipt.saved == Savings(results=2, usd=Decimal("0.005092"), tokens=16)
    assert [step.receipt.saved.results for step in made.steps] == [0, 0, 1, 1]
    assert made.steps[2].attempts[0].prices.source == "cache"
    assert made.account is not None
    assert made.account.spent.calls == 1
    assert verification.ok


async def test_in_the_report(database: Database) -> None:
    await _written(database)
    report = await cost_report(database)
    assert (report.total.cost, report.total.calls) == (Decimal("0.005092"), 4)
    assert report.total.tokens == ONCE.total
    assert report.total.cost_per_completed == report.total.cost
    assert report.total.saved == Savings(results=2, usd=Decimal("0.005092"), tokens=16)
    by_model = await cost_report(database, by=By.MODEL)
    assert {line.group["name"]: line.saved.results for line in by_model.lines} == {"m": 1, "weigh": 1}
    assert sum((line.saved for line in by_model.lines), Savings()) == report.total.saved


async def test_other_prices_change_what_was_spent_and_not_what_was_saved(database: Database) -> None:
    await _written(database)
    twice = {"input_price": 2 * PRICE.input, "cached_price": 2 * PRICE.cached, "output_price": 2 * PRICE.output}
    await _price(database, model="m", **twice)
    report = await cost_report(database, book="other")
    assert report.total.cost == 2 * SAVED.usd + Decimal("0.005")
    assert report.unpriced == []
    assert report.total.saved == Savings(results=2, usd=Decimal("0.005092"), tokens=16)


@pytest.mark.parametrize(
    ("model", "given"),
    [("another", {"input_price": 1, "cached_price": 1, "output_price": 1}), ("m", {"gpu_price": 3_600_000_000})],
)
async def test_no_price_is_missed_of_a_kept_reply(database: Database, model: str, given: dict[str, int]) -> None:
    await _written(database)
    await _price(database, model=model, **given)
    (unpriced,) = (await cost_report(database, book="other")).unpriced
    assert (unpriced.model, unpriced.calls, unpriced.tokens) == ("m", 1, 16)


async def test_an_export_for_other_tools_has_the_costs_alone(database: Database) -> None:
    await _written(database)
    lines = await focus_rows(database)
    assert sum(Decimal(line["BilledCost"] or 0) for line in lines) == Decimal("0.005092")


async def test_a_limit_that_comes_later_counts_only_calls_that_were_made(database: Database) -> None:
    books = await _written(database)
    await set_limit(database, books.scope.tenant, "day", Allowance(calls=10))
    (limit,) = await tenant_limits(database, books.scope.tenant)
    assert (limit.spent.calls, limit.spent.tokens, limit.spent.nano) == (1, 16, 5_092_000)


async def test_an_attempt_that_died_while_it_was_handed_out_used_nothing(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.ledger.reserve(books.attempt(1, 1), books.scope, CALL, price=FROM_CACHE)
    reservation = await books.reserve(1, 2, died=Usage(prompt=6))
    await books.settle(reservation, Outcome.USED, ONCE, result={"text": "x"})
    first, second = await books.rows()
    assert (first.outcome, first.cost_nano, first.prompt_tokens, first.saved_nano) == ("retried", 0, None, None)
    assert (second.outcome, second.cost_nano) == ("used", 92_000)
    assert (await books.account()).calls == 1
    async with database.snapshot() as connection:
        assert (await verify(connection, books.scope.workflow_id)).ok


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a command prints, of an installation with such a run."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")

    async def write() -> str:
        async with upgraded_database(Settings(state=tmp_path)) as database:
            return (await _written(database)).scope.workflow_id

    run_id = anyio.run(write)
    return lambda *arguments: CliRunner().invoke(cli, [run_id if each == "RUN" else each for each in arguments]).stdout


def test_a_person_reads_it_and_a_program_too(run: Callable[..., str]) -> None:
    shown = run("receipt", "RUN")
    assert "$0.005092, 2 kept results saved $0.005092 and 16 tokens (4 steps, 4 attempts, 16 tokens)" in shown
    assert "3 generate m: used  $0.00, 1 kept result saved $0.000092 and 16 tokens cache" in shown
    assert "4 tool weigh: used  $0.00, 1 kept result saved $0.005 cache" in shown
    as_json = json.loads(run("receipt", "RUN", "--json"))
    assert as_json["receipt"]["saved"] == {"results": 2, "usd": "0.005092000", "tokens": 16}
    assert "saved by these" in run("cost")
    assert json.loads(run("cost", "--json"))["total"]["saved"]["results"] == 2
    (line,) = csv.DictReader(io.StringIO(run("cost", "--csv")))
    figures = [line[name] for name in ("cost", "kept_results", "saved", "saved_tokens")]
    assert figures == ["0.005092000", "2", "0.005092000", "16"]
