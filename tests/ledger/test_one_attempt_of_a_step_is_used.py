"""Of a step's attempts one at most is used, whoever is late; the others are waste, and still on the bill.

An attempt that Temporal gave up may live on: it has a row of its own, and loses nobody's money.
"""

import asyncio

import pytest
from anyio import create_task_group
from sqlalchemy.exc import IntegrityError

from orchestrator import Usage
from orchestrator.activities import Meter
from orchestrator.database import Database
from orchestrator.ledger import Bound, Kind, Settlement
from orchestrator.usage import Outcome, usd_from_nano
from tests.ledger.books import ENGINE_CALL, PRICE, Books
from tests.ledger.steps import environment, until_somebody_waits

FIRST = Usage(prompt=30, cached=10, output=5)
SECOND = Usage(prompt=30, cached=30, output=7)
BOUND = Bound(tokens=60, nano=1_000_000, calls=1)


async def _take(
    books: Books, meter: Meter, attempt: int, usage: Usage, *, reserved: asyncio.Event, go_on: asyncio.Event
) -> None:
    async def work() -> None:
        async with meter.step(books.scope, ENGINE_CALL, bound=BOUND, price=PRICE) as step:
            assert step.replayed is None
            reserved.set()
            await go_on.wait()
            step.usage = usage
            async with meter.database.begin() as connection:
                await step.settle(connection, Outcome.USED, {"attempt": attempt})

    await environment(books, attempt=attempt).run(work)


async def test_one_that_reserves_after_its_successor_was_used(database: Database) -> None:
    books, ready = Books.of_a_new_run(database), asyncio.Event()
    ready.set()
    meter = Meter(database, books.ledger)
    await _take(books, meter, 2, SECOND, reserved=ready, go_on=ready)
    with pytest.raises(IntegrityError):
        await _take(books, meter, 1, FIRST, reserved=ready, go_on=ready)
    zombie, answer = await books.rows()
    assert (zombie.attempt, zombie.outcome, zombie.result, zombie.estimated) == (1, "retried", None, False)
    assert (zombie.prompt_tokens, zombie.cached_tokens, zombie.output_tokens) == (30, 10, 5)
    assert (answer.attempt, answer.outcome, answer.result) == (2, "used", {"attempt": 2})
    assert (await books.account()).spent_nano == PRICE.cost(FIRST) + PRICE.cost(SECOND)
    await books.check()


async def test_two_that_settle_at_once(database: Database) -> None:
    books = Books.of_a_new_run(database)
    go_on, lost = asyncio.Event(), list[BaseException]()

    async def take(attempt: int, usage: Usage, reserved: asyncio.Event) -> None:
        try:
            await _take(
                books, Meter(database, books.elsewhere().ledger), attempt, usage, reserved=reserved, go_on=go_on
            )
        except IntegrityError as error:
            lost.append(error)

    async with create_task_group() as group:
        # The zombie reserves second, or its successor would have closed its row.
        for attempt, usage in ((2, SECOND), (1, FIRST)):
            reserved = asyncio.Event()
            group.start_soon(take, attempt, usage, reserved)
            await reserved.wait()
        go_on.set()
    rows = await books.rows()
    assert sorted(row.outcome for row in rows) == ["retried", "used"]
    assert [row.output_tokens for row in rows] == [5, 7]
    assert len(lost) == 1
    assert (await books.account()).spent_nano == PRICE.cost(FIRST) + PRICE.cost(SECOND)
    await books.check()


async def test_whoever_commits_first_is_used(postgres_url: str) -> None:
    """SQLite has one writer at a time, so there nobody can be in the middle of settling."""
    async with Database.open(postgres_url) as database:
        books = Books.of_a_new_run(database)
        second = await books.reserve(attempt=2, bound=BOUND)
        zombie = await books.reserve(attempt=1, bound=BOUND)
        async with database.begin() as connection:
            await books.ledger.settle(connection, zombie, Settlement(outcome=Outcome.USED, usage=FIRST))
            late = asyncio.create_task(books.settle(second, Outcome.USED, SECOND))
            await until_somebody_waits(database)
        with pytest.raises(IntegrityError):
            await late
        await books.settle(second, Outcome.RETRIED, SECOND)
        assert [(row.attempt, row.outcome) for row in await books.rows()] == [(1, "used"), (2, "retried")]
        await books.check()


async def test_a_zombie_whose_row_its_successor_closed_corrects_the_estimate(database: Database) -> None:
    books = Books.of_a_new_run(database)
    meter, reserved, go_on = Meter(database, books.ledger), asyncio.Event(), asyncio.Event()
    zombie = asyncio.create_task(_take(books, meter, 1, FIRST, reserved=reserved, go_on=go_on))
    await reserved.wait()
    second = await books.reserve(attempt=2, bound=BOUND, died=Usage(prompt=30))
    receipt = await books.settle(second, Outcome.USED, SECOND)
    assert (receipt.estimated, receipt.usage.output) == (True, 7)
    go_on.set()
    await zombie
    estimate, late, answer = await books.rows()
    assert (estimate.outcome, estimate.estimated, estimate.output_tokens) == ("retried", True, None)
    assert (late.entry, late.reason, late.outcome) == (1, "late", "retried")
    assert (late.prompt_tokens, late.cached_tokens, late.output_tokens) == (0, 10, 5)
    assert (answer.outcome, answer.attempt) == ("used", 2)
    receipt = await books.settle(second, Outcome.USED, SECOND)
    assert receipt.usage == FIRST + SECOND
    assert receipt.waste == usd_from_nano(PRICE.cost(FIRST))
    assert not receipt.estimated
    await books.check()


async def test_attempts_calls_steps_executions_and_workflows_have_rows_of_their_own(database: Database) -> None:
    """The key is all five; the run is the same over executions, as after continue-as-new."""
    books = Books.of_a_new_run(database)
    first = books.attempt(1, 1)
    keys = [
        first,
        books.attempt(1, 2),
        books.attempt(2, 1),
        books.attempt(1, 1, call=1),
        type(first)(workflow_id="other", run_id=first.run_id, activity_id="1", attempt=1),
        type(first)(workflow_id=first.workflow_id, run_id="continued", activity_id="1", attempt=1),
    ]
    for number, key in enumerate(keys, 1):
        reservation = await books.ledger.reserve(key, books.scope, ENGINE_CALL, bound=BOUND, price=PRICE)
        assert await books.elsewhere().ledger.reserve(key, books.scope, ENGINE_CALL, bound=BOUND) == reservation
        assert len(await books.rows()) == number
    await books.check()


async def test_further_calls_of_one_attempt_are_used_each(database: Database) -> None:
    books = Books.of_a_new_run(database)
    judge = Kind(kind="generate", name="judge")
    meter = Meter(database, books.ledger)

    async def work() -> None:
        for call, what in ((0, ENGINE_CALL), (1, judge)):
            async with meter.step(books.scope, what, bound=BOUND, price=PRICE, call=call) as step:
                step.usage = FIRST
                async with database.begin() as connection:
                    await step.settle(connection, Outcome.USED, {"call": call})

    await environment(books).run(work)
    assert [(row.call, row.name, row.outcome) for row in await books.rows()] == [(0, "m", "used"), (1, "judge", "used")]
    await books.check()
