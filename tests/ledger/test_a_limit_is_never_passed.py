"""Sixteen steps that reserve at once pass a limit together no more than one after the other."""

from decimal import Decimal

import pytest
from anyio import create_task_group

from orchestrator import Budget
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Ledger, Reservation
from orchestrator.usage import Outcome, Usage
from tests.ledger.books import PRICE, Books

MOST = Usage(prompt=15, output=5)
BOUND = Bound(tokens=MOST.total, nano=PRICE.cost(MOST))


@pytest.mark.parametrize(
    "budget",
    [
        Budget(tokens=5 * BOUND.tokens),
        Budget(usd=Decimal(6 * BOUND.nano - 1).scaleb(-9)),
        Budget(tokens=9 * BOUND.tokens, usd=Decimal(5 * BOUND.nano).scaleb(-9)),
    ],
    ids=["tokens", "usd", "both"],
)
@pytest.mark.parametrize("workers", [1, 4])
async def test_by_many_at_once(database: Database, budget: Budget, workers: int) -> None:
    ledgers = [Ledger(database) for _ in range(workers)]
    books = Books.of_a_new_run(database, budget=budget)
    granted: list[Reservation] = []
    refused: list[BudgetExceeded] = []

    async def reserve(step: int) -> None:
        mine = Books(database=database, ledger=ledgers[step % workers], scope=books.scope)
        try:
            granted.append(await mine.reserve(step, bound=BOUND))
        except BudgetExceeded as error:
            refused.append(error)

    async with create_task_group() as group:
        for step in range(16):
            group.start_soon(reserve, step)

    assert (len(granted), len(refused)) == (5, 11)
    run = await books.account()
    assert (run.reserved_tokens, run.reserved_nano) == (5 * BOUND.tokens, 5 * BOUND.nano)
    assert len(await books.rows()) == 5
    await books.check()

    async with create_task_group() as group:
        for reservation in granted:
            group.start_soon(books.settle, reservation, Outcome.USED, MOST)
    run = await books.account()
    assert (run.spent_tokens, run.spent_nano) == (5 * BOUND.tokens, 5 * BOUND.nano)
    assert (run.reserved_tokens, run.reserved_nano) == (0, 0)
    await books.check()


async def test_what_is_left_over_can_be_reserved_again(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=30))
    first = await books.reserve(1, bound=Bound(tokens=30))
    with pytest.raises(BudgetExceeded):
        await books.reserve(2, bound=Bound(tokens=1))
    await books.settle(first, Outcome.USED, Usage(prompt=9, output=1))
    await books.reserve(2, bound=Bound(tokens=20))
    with pytest.raises(BudgetExceeded):
        await books.reserve(3, bound=Bound(tokens=1))


async def test_the_refusal_has_the_figures(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=2_000, usd=Decimal("0.001")))
    await books.reserve(1, bound=Bound(tokens=1_500, nano=400_000))
    with pytest.raises(BudgetExceeded) as caught:
        await books.reserve(2, bound=Bound(tokens=501, nano=100_000))
    error = caught.value
    assert (error.limit, error.allowed, error.spent, error.needed) == (
        "tokens",
        "2,000 tokens",
        "1,500 tokens",
        "501 tokens",
    )
    with pytest.raises(BudgetExceeded) as caught:
        await books.reserve(2, bound=Bound(tokens=500, nano=600_001))
    error = caught.value
    assert (error.limit, error.allowed) == ("usd", "$0.001000000")
    assert (error.spent, error.needed) == ("$0.000400000", "$0.000600001")
    await books.reserve(2, bound=Bound(tokens=500, nano=600_000))


async def test_a_run_without_a_budget_has_no_limit(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.reserve(bound=Bound(tokens=10**12, nano=10**15))
    await books.check()
