"""The next attempt closes what the one before left open, by what is known of it, and finds an answer already paid for.

As in a worker that was killed: the reservation is in the database, and nobody is left to settle it.
"""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest

from orchestrator import Budget, Timings, Usage
from orchestrator.database import Database
from orchestrator.errors import BudgetExceeded
from orchestrator.ledger import Bound, Ledger, Replayed, Settlement
from orchestrator.usage import Outcome, usd_from_nano
from tests.ledger.books import PRICE, Books
from tests.ledger.steps import until_somebody_waits

KNOWN = Usage(prompt=30, cached=10, output=5)
ANSWER = Usage(prompt=30, cached=30, output=7, reasoning=2)
TIMES = Timings(queue=timedelta(microseconds=3), prefill=timedelta(milliseconds=5), decode=timedelta(seconds=2))
BOUND = Bound(tokens=60, nano=1_000_000)


async def test_it_is_retried_and_estimated_with_what_is_known(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.reserve(bound=BOUND)
    second = await books.reserve(attempt=2, bound=BOUND, died=KNOWN)
    died, _ = await books.rows()
    assert (died.outcome, died.estimated) == ("retried", True)
    assert (died.prompt_tokens, died.cached_tokens, died.output_tokens) == (30, 10, 5)
    assert died.cost_nano == PRICE.cost(KNOWN)
    await books.check()
    receipt = await books.settle(second, Outcome.USED, ANSWER, TIMES)
    assert receipt.usage == KNOWN + ANSWER
    assert receipt.cost == usd_from_nano(PRICE.cost(KNOWN) + PRICE.cost(ANSWER))
    assert receipt.waste == usd_from_nano(PRICE.cost(KNOWN))
    assert (receipt.attempts, receipt.steps, receipt.estimated) == (2, 1, True)


async def test_only_the_last_of_several_is_known(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.reserve(1, 1, bound=BOUND)
    await books.reserve(1, 3, bound=BOUND, died=KNOWN)
    await books.reserve(1, 4, bound=BOUND, died=KNOWN)
    assert [(row.attempt, row.outcome, row.output_tokens, row.estimated) for row in await books.rows()] == [
        (1, "retried", None, True),
        (3, "retried", 5, True),
        (4, None, None, False),
    ]
    await books.check()


async def test_when_it_wakes_up_its_estimate_is_corrected_once(database: Database) -> None:
    books = Books.of_a_new_run(database)
    first = await books.reserve(bound=BOUND)
    second = await books.reserve(attempt=2, bound=BOUND, died=KNOWN)
    (died, _) = await books.rows()
    await books.settle(first, Outcome.USED, ANSWER, result={"text": "too late"})
    await books.settle(second, Outcome.USED, ANSWER, result={"text": "in time"})
    receipt = await books.settle(first, Outcome.FAILED, KNOWN)
    base, late, answer = await books.rows()
    assert base == died
    assert (late.entry, late.reason, late.outcome, late.result) == (1, "late", "retried", None)
    assert (late.prompt_tokens, late.cached_tokens, late.output_tokens, late.reasoning_tokens) == (0, 20, 2, 2)
    assert late.cost_nano == PRICE.cost(ANSWER) - PRICE.cost(KNOWN)
    assert (answer.outcome, answer.result) == ("used", {"text": "in time"})
    assert receipt.usage == ANSWER + ANSWER
    assert receipt.cost == usd_from_nano(2 * PRICE.cost(ANSWER))
    assert (receipt.attempts, receipt.estimated) == (2, False)
    await books.check()


async def test_a_late_word_that_is_a_guess_itself_changes_nothing(database: Database) -> None:
    books = Books.of_a_new_run(database)
    first = await books.reserve(bound=BOUND)
    await books.reserve(attempt=2, bound=BOUND, died=KNOWN)
    before = await books.rows()
    await books.settle(first, Outcome.RETRIED, ANSWER, estimated=True)
    assert await books.rows() == before


async def test_a_late_word_that_the_engine_did_nothing_takes_all_of_it_back(database: Database) -> None:
    books = Books.of_a_new_run(database)
    first = await books.reserve(bound=BOUND)
    await books.reserve(attempt=2, bound=BOUND, died=KNOWN)
    await books.settle(first, Outcome.RETRIED, Usage())
    assert (await books.account()).spent_nano == (await books.account()).spent_tokens == 0
    await books.check()


async def test_an_answer_that_was_paid_for_comes_back(database: Database) -> None:
    books = Books.of_a_new_run(database)
    first = await books.reserve(bound=BOUND)
    receipt = await books.settle(first, Outcome.USED, ANSWER, TIMES, result={"text": "here", "n": [1]})
    again = await books.ask(attempt=2, bound=BOUND)
    assert again == Replayed(result={"text": "here", "n": [1]}, receipt=receipt)
    elsewhere = Books(database=database, ledger=Ledger(database), scope=books.scope)
    assert await elsewhere.ask(attempt=3, bound=BOUND) == again
    assert len(await books.rows()) == 1
    await books.check()


async def test_an_answer_after_failed_attempts_comes_back_with_their_cost(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.settle(await books.reserve(), Outcome.RETRIED, KNOWN)
    receipt = await books.settle(await books.reserve(attempt=2), Outcome.USED, ANSWER, TIMES, result={})
    assert receipt.attempts == 2
    assert await books.ask(attempt=3) == Replayed(result={}, receipt=receipt)


async def test_a_failed_attempt_is_no_answer(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.settle(await books.reserve(), Outcome.FAILED, KNOWN, result={"text": "no"})
    await books.reserve(attempt=2)
    assert [row.outcome for row in await books.rows()] == ["failed", None]


async def test_it_is_paid_for_even_where_the_budget_refuses_the_next(database: Database) -> None:
    books = Books.of_a_new_run(database, budget=Budget(tokens=70))
    await books.reserve(bound=BOUND)
    with pytest.raises(BudgetExceeded, match="70 tokens"):
        await books.ask(attempt=2, bound=BOUND, died=KNOWN)
    (row,) = await books.rows()
    assert (row.outcome, row.cost_nano) == ("retried", PRICE.cost(KNOWN))
    run = await books.account()
    assert (run.spent_tokens, run.reserved_tokens, run.reserved_nano) == (35, 0, 0)
    await books.check()


async def test_an_answer_that_is_being_settled_is_waited_for(postgres_url: str) -> None:
    """SQLite has one writer at a time, so there the next attempt waits anyway."""
    async with Database.open(postgres_url) as database:
        books = Books.of_a_new_run(database)
        first = await books.reserve(bound=BOUND)
        async with database.begin() as connection:
            settlement = Settlement(outcome=Outcome.USED, usage=ANSWER, result={"text": "just so"})
            await books.ledger.settle(connection, first, settlement)
            second = asyncio.create_task(books.ask(attempt=2, bound=BOUND, died=KNOWN))
            await until_somebody_waits(database)
        answer = await second
    assert isinstance(answer, Replayed)
    assert answer.result == {"text": "just so"}


async def test_waste_is_what_bought_nothing(database: Database) -> None:
    books = Books.of_a_new_run(database)
    for step, outcome in enumerate(Outcome):
        receipt = await books.settle(await books.reserve(step), outcome, KNOWN)
        assert receipt.waste == (Decimal(0) if outcome is Outcome.USED else receipt.cost)
        assert receipt.cost == usd_from_nano(PRICE.cost(KNOWN)) > 0
