"""A ledger small enough to add up on paper. A prompt token costs 2,000 nano-dollars, an output token 8,000."""

from datetime import UTC, timedelta, timezone
from decimal import Decimal

import pytest

from orchestrator.database import Database
from orchestrator.ledger import By, CostLine, Timeframe, cost_report
from orchestrator.ledger.timeframes import EVER
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, PRICE, Rows

DAY = timedelta(days=1)


def usd(amount: str) -> Decimal:
    return Decimal(amount)


async def lines(database: Database, by: By = By.WORKFLOW, timeframe: Timeframe = EVER) -> dict[str | None, CostLine]:
    report = await cost_report(database, by=by, timeframe=timeframe)
    return {list(line.group.values())[-1]: line for line in report.lines}


async def test_failed_runs_are_paid_for_by_completed_ones(database: Database) -> None:
    rows = Rows()
    for status, prompt in (("completed", 100), ("completed", 200), ("failed", 300), ("running", 50)):
        run = rows.run(status=status, closed_at=None if status == "running" else MARCH)
        rows.charge(run, Usage(prompt=prompt), outcome="failed" if status == "failed" else "used")
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert (line.runs, line.completed, line.passed, line.calls) == (4, 2, None, 4)
    assert line.cost == usd("0.0013")  # 650 tokens
    assert line.waste.failed == line.waste.total == usd("0.0006")
    assert line.cost_per_completed == usd("0.00065")
    assert line.cost_of_pass is None


async def test_a_pass_costs_more_than_a_completed_run(database: Database) -> None:
    """Four runs at 100 tokens each: three complete, one of them passes. Another workflow checks nothing."""
    rows = Rows()
    for status, passed in (("completed", True), ("completed", False), ("completed", None), ("failed", None)):
        rows.charge(rows.run(status=status, passed=passed), Usage(prompt=100))
    rows.charge(rows.run("plan"), Usage(prompt=1000))
    await rows.write(database)
    report = await cost_report(database)
    by_name = {line.group["workflow"]: line for line in report.lines}
    assert by_name["answer"].passed == 1
    assert by_name["answer"].cost_of_pass == usd("0.0008")  # all four runs for one right answer
    assert by_name["answer"].cost_per_completed == usd("0.000266667")
    assert (by_name["plan"].passed, by_name["plan"].cost_of_pass) == (None, None)
    assert report.total.passed == 1
    assert report.total.cost_of_pass == usd("0.0008")  # without the workflow that checks nothing
    assert report.total.cost_per_completed == usd("0.0007")  # 1,400 tokens for four


async def test_a_version_without_a_check_is_no_part_of_the_cost_of_a_pass(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(version="1"), Usage(prompt=100))
    rows.charge(rows.run(version="2", passed=True), Usage(prompt=100))
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert (line.completed, line.passed, line.cost) == (2, 1, usd("0.0004"))
    assert line.cost_of_pass == usd("0.0002")


async def test_no_run_passed_yet(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(passed=False, status="failed"), Usage(prompt=100))
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert (line.passed, line.cost_of_pass, line.cost_per_completed) == (0, None, None)


async def test_a_child_is_no_run_of_its_own_and_is_on_its_parents_bill(database: Database) -> None:
    rows = Rows()
    parent = rows.run("plan", version="7", path="generate*2")
    child = rows.run("answer", parent=parent)
    rows.charge(parent, Usage(prompt=100))
    rows.charge(child, Usage(prompt=100))
    await rows.write(database)
    for by, name in ((By.WORKFLOW, "plan"), (By.VERSION, "7"), (By.PATH, "generate*2"), (By.TENANT, "acme")):
        line = (await lines(database, by))[name]
        assert (line.runs, line.completed, line.cost) == (1, 1, usd("0.0004"))


async def test_waste_is_told_by_what_became_of_it(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    outcomes = {"used": 1, "discarded": 2, "retried": 4, "cancelled": 8, "failed": 16, "abandoned": 32}
    for outcome, prompt in outcomes.items():
        rows.charge(run, Usage(prompt=prompt), outcome=outcome)
    rows.charge(run, outcome=None, cost_nano=None, settled_at=None)
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert line.cost == usd("0.000126")
    assert line.waste.total == usd("0.000124")
    told = line.waste.model_dump(exclude={"total"})
    assert told == {name: prompt * usd("0.000002") for name, prompt in outcomes.items() if name != "used"}
    by_outcome = await lines(database, By.OUTCOME)
    assert {name: line.cost for name, line in by_outcome.items()} == {
        name: prompt * usd("0.000002") for name, prompt in outcomes.items()
    }
    assert {line.runs for line in by_outcome.values()} == {None}
    assert sum(line.cost_per_completed or 0 for line in by_outcome.values()) == usd("0.000126")


async def test_a_discarded_call_moves_from_used_to_waste(database: Database) -> None:
    rows = Rows()
    row = rows.charge(rows.run(), Usage(prompt=100, cached=50, output=10), estimated=True)
    rows.reused(row, Usage(prompt=100, cached=100, output=20))
    rows.discard(row)
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert line.calls == 1
    assert (line.prompt_tokens, line.cached_tokens, line.output_tokens, line.tokens) == (100, 100, 20, 120)
    assert line.cost == line.waste.discarded == usd("0.00018")  # 100 * 200 + 20 * 8,000
    assert line.cache_savings == usd("0.00018")  # 100 * 1,800
    by_outcome = await lines(database, By.OUTCOME)
    assert by_outcome["used"].cost == 0


@pytest.mark.parametrize(("reason", "estimated"), [("facts", "0"), ("late", "0"), ("attribution", "0.0002")])
async def test_an_estimate_is_one_until_the_engines_word_replaces_it(
    database: Database, reason: str, estimated: str
) -> None:
    rows = Rows()
    row = rows.charge(rows.run(), Usage(prompt=100), estimated=True)
    rows.charge(rows.run(), Usage(prompt=300))
    rows.correct(row, reason)
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert line.cost == usd("0.0008")
    assert line.estimated == usd(estimated)
    assert line.estimated_share == usd(estimated) / usd("0.0008")


async def test_tools_and_free_steps_are_lines_of_their_own(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    rows.charge(run, Usage(prompt=100))
    rows.charge(run, kind="tool", name="search", pool=None, cost_nano=5_000_000)
    rows.charge(run, kind="retrieve", name="handbook", pool=None, cost_nano=0)
    await rows.write(database)
    report = await cost_report(database, by=By.MODEL)
    assert [(line.group, line.cost, line.calls) for line in report.lines] == [
        ({"kind": "tool", "name": "search", "pool": None}, usd("0.005"), 1),
        ({"kind": "generate", "name": "qwen", "pool": "default"}, usd("0.0002"), 1),
        ({"kind": "retrieve", "name": "handbook", "pool": None}, usd("0"), 1),
    ]


async def test_a_charge_is_in_the_period_of_its_settlement_and_a_run_in_that_of_its_end(database: Database) -> None:
    """Reserved before midnight, settled after it, corrected the day after: the closed day never changes."""
    rows = Rows()
    run = rows.run(started_at=MARCH - timedelta(hours=2), closed_at=MARCH + timedelta(hours=2))
    row = rows.charge(run, Usage(prompt=100), at=MARCH - timedelta(seconds=1))
    rows.reused(row, Usage(prompt=150), at=MARCH + DAY)
    rows.charge(rows.run(started_at=MARCH - DAY, closed_at=None, status="running"), Usage(prompt=1), at=MARCH - DAY)
    await rows.write(database)
    days = await lines(database, By.DAY)
    assert {day: (line.runs, line.completed, line.cost) for day, line in days.items()} == {
        "2026-02-28": (1, 0, usd("0.000002")),
        "2026-03-01": (1, 1, usd("0.0002")),
        "2026-03-02": (0, 0, usd("0.0001")),
    }
    east = timezone(timedelta(hours=9))
    for zone in (UTC, east):
        frame = Timeframe(since=MARCH.astimezone(zone), until=(MARCH + DAY).astimezone(zone))
        only = (await lines(database, By.WORKFLOW, frame))["answer"]
        assert (only.cost, only.completed) == (usd("0.0002"), 1)


async def test_only_a_tenant_and_only_a_workflow(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run("answer", tenant="acme"), Usage(prompt=1))
    rows.charge(rows.run("plan", tenant="acme"), Usage(prompt=10))
    parent = rows.run("answer", tenant="zeta")
    rows.charge(rows.run("plan", parent=parent), Usage(prompt=100))
    await rows.write(database)

    async def cost(tenant: str | None = None, workflow: str | None = None) -> tuple[Decimal, int | None]:
        total = (await cost_report(database, tenant=tenant, workflow=workflow)).total
        return total.cost * 500_000, total.runs

    assert await cost(tenant="acme") == (11, 2)
    assert await cost(workflow="answer") == (101, 2)
    assert await cost(workflow="plan") == (10, 1)
    assert await cost(tenant="zeta", workflow="answer") == (100, 1)
    assert await cost(tenant="nobody") == (0, 0)


async def test_the_dearest_comes_first_and_days_in_order(database: Database) -> None:
    rows = Rows()
    for number, workflow in enumerate(["cheap", "dear", "middling"]):
        run = rows.run(workflow, closed_at=MARCH - number * DAY)
        rows.charge(run, Usage(prompt={"cheap": 1, "dear": 3, "middling": 2}[workflow]), at=MARCH - number * DAY)
    await rows.write(database)
    assert list(await lines(database)) == ["dear", "middling", "cheap"]
    assert list(await lines(database, By.DAY)) == ["2026-02-27", "2026-02-28", "2026-03-01"]


async def test_cached_tokens_without_a_token_price_save_no_money(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(), Usage(prompt=100, cached=90), gpu_us=1000, gpu_price=3_600_000_000)
    rows.charge(rows.run(), Usage(prompt=100, cached=90), price=PRICE)
    await rows.write(database)
    line = (await lines(database))["answer"]
    assert (line.cached_tokens, line.cache_savings) == (180, usd("0.000162"))
