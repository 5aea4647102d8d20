"""Reserving and settling may be repeated, by whoever isn't sure that it was done."""

from datetime import UTC, datetime

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator import Budget, Usage
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import FREE, Bound, Replayed, Settlement
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome, usd_from_nano
from tests.ledger.books import PRICE, Books

BOUND = Bound(tokens=60, nano=1_000_000)
USAGE = Usage(prompt=30, cached=10, output=5)


async def test_reserving(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=60))
    first = await books.reserve(bound=BOUND)
    before = await books.rows(), await books.account()
    assert await books.reserve(bound=BOUND) == first
    assert await books.elsewhere().reserve(bound=BOUND) == first
    assert (await books.rows(), await books.account()) == before


async def test_what_was_reserved_first_is_what_is_released(database: Database) -> None:
    """Though the price has changed by the time that the attempt reserves again."""
    books = Books.of_a_new_run(database)
    first = await books.reserve(bound=BOUND)
    again = await books.reserve(bound=Bound(tokens=70, nano=9_000_000), price=FREE)
    assert again == first
    await books.settle(again, Outcome.USED, USAGE)
    assert (await books.account()).reserved_nano == 0
    await books.check()


async def test_settling(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND)
    receipt = await books.settle(reservation, Outcome.USED, USAGE, result={"text": "x"})
    before = await books.rows(), await books.account()
    assert await books.settle(reservation, Outcome.USED, USAGE, result={"text": "x"}) == receipt
    await books.settle(reservation, Outcome.FAILED, Usage(prompt=1))
    assert await books.ask(bound=BOUND) == Replayed(result={"text": "x"}, receipt=receipt)
    assert (await books.rows(), await books.account()) == before
    await books.check()


async def test_a_settlement_that_is_rolled_back_never_was(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND)
    before = await books.rows(), await books.account()

    async with database.engine.connect() as connection:
        await books.ledger.settle(connection, reservation, Settlement(outcome=Outcome.USED, usage=USAGE))
        await connection.rollback()
    assert (await books.rows(), await books.account()) == before


async def test_closing_a_run(database: Database) -> None:
    books = Books.of_a_new_run(database, tenant="default")
    await books.used(usage=USAGE)
    closed = await books.ledger.close_run(books.scope, RunStatus.FAILED, "it broke", path="generate", passed=False)
    assert (closed.cost, closed.tokens) == (usd_from_nano(PRICE.cost(USAGE)), USAGE.total)
    assert closed.seal is not None
    before = await books.run(), await books.rows(), await books.account()
    run, *_ = before
    assert (run.status, run.error, run.tenant) == ("failed", "it broke", "default")
    assert (run.path, run.passed) == ("generate", False)
    assert run.started_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None) == closed
    assert (await books.run(), await books.rows(), await books.account()) == before


async def test_closing_a_run_that_paid_for_nothing(database: Database) -> None:
    books = Books.of_a_new_run(database)
    closed = await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)
    assert (closed.cost, closed.tokens, closed.seal) == (0, 0, None)
    await books.check()


async def test_a_refused_reservation_leaves_nothing_behind(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=100))
    await books.reserve(1, bound=BOUND)
    before = await books.rows(), await books.account()
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            await books.reserve(2, bound=BOUND)
    assert (await books.rows(), await books.account()) == before


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
