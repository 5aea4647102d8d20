"""Reserving, settling, correcting and closing keep the chain and the totals right, in any order and all at once."""

import anyio

from orchestrator import Usage
from orchestrator.database import Database
from orchestrator.ledger import run_receipt, verify
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.ledger.books import Books

USED = Usage(prompt=100, cached=40, output=10, reasoning=4)


async def assert_it_verifies(database: Database, run: str) -> None:
    async with database.snapshot() as connection:
        made = await verify(connection, run)
    assert made.ok, [item.problem for check in made.checks for item in check.breaks]


async def test_a_run_with_a_child_a_retry_a_late_answer_and_a_discarded_one(database: Database) -> None:
    books = Books.of_a_new_run(database)
    child = books.child()
    first = await books.reserve(1)
    await books.reserve(1, 2, died=Usage(prompt=50, output=3))
    await child.used(1, USED)
    await books.used(2, USED)
    await assert_it_verifies(database, books.scope.run)
    closed = await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)
    await child.ledger.close_run(child.scope, RunStatus.COMPLETED, None)
    await assert_it_verifies(database, books.scope.run)
    await books.settle(first, Outcome.USED, USED)
    assert (await books.ledger.discard([books.attempt(2, 1)])).nano > 0
    async with database.snapshot() as connection:
        made = await run_receipt(connection, books.scope.workflow_id)
        assert (await verify(connection, books.scope.run, fingerprints=[closed.seal or ""])).ok
    assert len(made.seals) > 1
    assert made.seals[0].head == closed.seal
    assert [attempt.outcome for attempt in made.steps[1].attempts] == [Outcome.DISCARDED]
    assert made.account is not None
    assert made.account.spent.usd == made.receipt.cost


async def test_settling_while_the_run_is_closed(database: Database) -> None:
    for _ in range(5):
        books = Books.of_a_new_run(database)
        reserved = [await books.reserve(step) for step in range(6)]
        async with anyio.create_task_group() as everybody:
            for place, reservation in enumerate(reserved):
                if place == 3:
                    everybody.start_soon(books.ledger.close_run, books.scope, RunStatus.FAILED, "it broke")
                everybody.start_soon(books.settle, reservation, Outcome.USED, USED)
        await assert_it_verifies(database, books.scope.run)
