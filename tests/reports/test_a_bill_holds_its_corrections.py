from datetime import timedelta
from decimal import Decimal

from sqlalchemy import insert

from orchestrator.database import Database
from orchestrator.database.tables import accounts
from orchestrator.ledger import BillLine, bill, run_record, runs_of
from orchestrator.usage import Outcome, Receipt, Usage
from tests.reports.rows import MARCH, Rows


async def billed(database: Database, run: str) -> list[BillLine]:
    async with database.read() as connection:
        return await bill(connection, run)


async def test_lines_are_calls_with_their_corrections(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    estimate = rows.charge(run, Usage(prompt=100), outcome="retried", estimated=True)
    rows.reused(estimate, Usage(prompt=50, cached=50, output=10))
    rows.charge(run, Usage(prompt=10), activity_id=estimate["activity_id"], attempt=2)
    rows.charge(run, Usage(prompt=1))
    rows.charge(run, outcome=None, settled_at=None, cost_nano=None)
    await rows.write(database)
    used, retried, still_open = sorted(
        await billed(database, run["id"]), key=lambda line: ["used", "retried", None].index(line.outcome)
    )
    assert used.receipt == Receipt(usage=Usage(prompt=11), cost=Decimal("0.000022"), attempts=2, steps=2)
    assert retried.receipt == Receipt(
        usage=Usage(prompt=50, cached=50, output=10), cost=Decimal("0.00009"), waste=Decimal("0.00009"), attempts=1,
    )  # fmt: skip
    assert still_open.receipt == Receipt(attempts=1, steps=1)


async def test_a_call_that_was_discarded_later_is_on_the_discarded_line_alone(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    row = rows.charge(run, Usage(prompt=100, cached=40, output=10), gpu_us=5, estimated=True)
    rows.discard(row)
    await rows.write(database)
    (line,) = await billed(database, run["id"])
    assert line.outcome is Outcome.DISCARDED
    assert line.receipt == Receipt(
        usage=Usage(prompt=100, cached=40, output=10), cost=Decimal("0.000208"), waste=Decimal("0.000208"),
        gpu=timedelta(microseconds=5), attempts=1, steps=1, estimated=True,
    )  # fmt: skip


async def test_what_a_run_started_is_on_its_bill_at_any_depth(database: Database) -> None:
    rows = Rows()
    root = rows.run()
    child = rows.run(parent=root)
    grandchild = rows.run(parent=child)
    other = rows.run()
    for run, prompt in ((root, 1), (child, 10), (grandchild, 100), (other, 1000)):
        rows.charge(run, Usage(prompt=prompt))
    await rows.write(database)
    prompts = [
        sum(line.receipt.usage.prompt or 0 for line in await billed(database, run["id"]))
        for run in (root, child, grandchild, other)
    ]
    assert prompts == [111, 110, 100, 1000]
    assert await billed(database, "nobody") == []


async def test_runs_are_listed_with_what_their_accounts_say(database: Database) -> None:
    rows = Rows()
    root = rows.run(started_at=MARCH)
    child = rows.run(parent=root, started_at=MARCH + timedelta(seconds=1))
    unpaid = rows.run(tenant="zeta", started_at=MARCH + timedelta(seconds=2))
    await rows.write(database)
    async with database.begin() as connection:
        for run, nano in ((root, 3_000_000_000), (child, 1)):
            account = {"id": run["id"], "tenant": "acme", "spent_nano": nano, "spent_tokens": 7}
            await connection.execute(insert(accounts), account)
    listed = await runs_of(database, None)
    assert [(record.id, record.cost, record.tokens) for record in listed] == [
        (unpaid["id"], 0, 0), (child["id"], Decimal("1e-9"), 7), (root["id"], 3, 7),
    ]  # fmt: skip
    assert [record.id for record in await runs_of(database, "acme", outermost=True)] == [root["id"]]
    assert [record.id for record in await runs_of(database, None, limit=1)] == [unpaid["id"]]
    async with database.read() as connection:
        record = await run_record(connection, root["workflow_id"])
        assert record is not None
        assert (record.id, record.cost, record.tokens) == (root["id"], 3, 7)
        assert await run_record(connection, "nobody") is None
