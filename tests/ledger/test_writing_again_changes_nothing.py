"""Reserving and settling may be repeated, by whoever isn't sure that it was done."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator import Budget, Usage
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Ledger
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.ledger.books import Books

BOUND = Bound(tokens=60, nano=1_000_000)
USAGE = Usage(prompt=30, cached=10, output=5)


async def test_reserving(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=60))
    first = await books.reserve(bound=BOUND)
    before = await books.rows(), await books.run()
    assert await books.reserve(bound=BOUND) == first
    elsewhere = Books(database=database, ledger=Ledger(database), scope=books.scope)
    assert await elsewhere.reserve(bound=BOUND) == first
    assert (await books.rows(), await books.run()) == before


async def test_settling(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND)
    receipt = await books.settle(reservation, Outcome.USED, USAGE, result={"text": "x"})
    before = await books.rows(), await books.run()
    assert await books.settle(reservation, Outcome.USED, USAGE, result={"text": "x"}) == receipt
    await books.settle(reservation, Outcome.FAILED, Usage(prompt=1))
    await books.reserve(bound=BOUND)
    assert (await books.rows(), await books.run()) == before
    await books.check()


async def test_a_settlement_that_is_rolled_back_never_was(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND)
    before = await books.rows(), await books.run()

    async with database.engine.connect() as connection:
        await books.ledger.settle(connection, reservation, Outcome.USED, USAGE)
        await connection.rollback()
    assert (await books.rows(), await books.run()) == before


async def test_closing_a_run(database: Database) -> None:
    books = Books.of_a_new_run(database)
    attempt = books.attempt(9, 1)
    await books.ledger.close_run(attempt, books.scope, RunStatus.FAILED, "it broke")
    before = await books.run()
    assert (before.status, before.error, before.tenant) == ("failed", "it broke", "default")
    assert before.started_at == datetime(2026, 1, 1, tzinfo=UTC)
    await books.ledger.close_run(attempt, books.scope, RunStatus.COMPLETED, None)
    assert await books.run() == before


async def test_a_refused_reservation_leaves_nothing_behind(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=100))
    await books.reserve(1, bound=BOUND)
    before = await books.rows(), await books.run()
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            await books.reserve(2, bound=BOUND)
    assert (await books.rows(), await books.run()) == before


async def test_no_row_without_its_run(database: Database) -> None:
    """A ledger believes that a run is known only once its row is committed."""
    books = Books.of_a_new_run(database, budget=Budget(tokens=1))
    with pytest.raises(BudgetExceeded):
        await books.reserve(bound=BOUND)
    try:
        await books.reserve(bound=Bound(tokens=1))
    except IntegrityError:
        pytest.fail("the run's row was rolled back, and the ledger thought that it was there")
    await books.check()
