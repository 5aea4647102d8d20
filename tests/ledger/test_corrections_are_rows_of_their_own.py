"""A settled row never changes. What is learnt later is added in rows of differences, once, and the sums are right.

Whoever corrects the same row at the same time waits for the other, and then sees what the other did.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator import Usage
from orchestrator.database import Database
from orchestrator.database.tables import charges, runs
from orchestrator.ledger import Attempt, Bound, Price, Replayed, Reservation, Settlement
from orchestrator.ledger.corrections import correct, discard, locked_rows, replace_estimate
from orchestrator.ledger.rows import Reason
from orchestrator.steps import RunStatus
from orchestrator.usage import EngineMoments, Outcome
from tests.ledger.books import PRICE, Books
from tests.ledger.steps import until_somebody_waits

GUESS = Usage(prompt=30, cached=10, output=5)
REALLY = Usage(prompt=30, cached=4, output=9, reasoning=3)
BOUND = Bound(tokens=60, nano=1_000_000)
BY_THE_GPU = Price(gpu=7_200_000_000_000, source="a GPU")
"""2,000 nano-dollars a microsecond."""
MOMENTS = EngineMoments(entered=1, prefilled=2, finished=3)


async def _estimate(books: Books, *, price: Price = PRICE, gpu_us: int | None = None) -> Reservation:
    reservation = await books.reserve(bound=BOUND, price=price)
    await books.settle(reservation, Outcome.ABANDONED, GUESS, estimated=True, gpu_us=gpu_us)
    return reservation


async def _facts(connection: AsyncConnection, key: Attempt, usage: Usage = REALLY) -> bool:
    return await replace_estimate(connection, key, Reason.FACTS, usage, MOMENTS, None)


async def _attribute(books: Books, key: Attempt, **figures: int) -> None:
    async with books.database.begin() as connection:
        base, *_ = await locked_rows(connection, key)
        await correct(connection, base, Reason.ATTRIBUTION, figures)


def _sums(rows: Sequence[Any], *names: str) -> tuple[int, ...]:
    return tuple(sum(getattr(row, name) or 0 for row in rows) for name in names)


async def test_an_estimate_becomes_what_was_really_used(database: Database) -> None:
    books = Books.of_a_new_run(database)
    key = (await _estimate(books)).attempt
    (before,) = await books.rows()
    async with database.begin() as connection:
        assert await _facts(connection, key)
    base, correction = await books.rows()
    assert base == before
    assert (correction.entry, correction.reason, correction.outcome, correction.estimated) == (
        1, "facts", "abandoned", False
    )  # fmt: skip
    assert (correction.prompt_tokens, correction.cached_tokens, correction.output_tokens) == (0, -6, 4)
    assert (correction.entered_us, correction.prefilled_us, correction.finished_us) == (1, 2, 3)
    assert correction.cost_nano == PRICE.cost(REALLY) - PRICE.cost(GUESS)
    assert (correction.input_price, correction.price_source) == (base.input_price, base.price_source)
    assert (await books.account()).spent_nano == PRICE.cost(REALLY)
    await books.check()


async def test_it_may_become_less(database: Database) -> None:
    books = Books.of_a_new_run(database)
    key = (await _estimate(books)).attempt
    async with database.begin() as connection:
        await _facts(connection, key, Usage(prompt=1, output=0))
    assert (await books.rows())[1].cost_nano < 0
    assert (await books.account()).spent_tokens == 1
    await books.check()


@pytest.mark.parametrize("first", ["facts", "late"])
async def test_only_the_first_word_counts(database: Database, first: str) -> None:
    books = Books.of_a_new_run(database)
    reservation = await _estimate(books)

    async def facts() -> None:
        async with database.begin() as connection:
            await _facts(connection, reservation.attempt)

    async def late() -> None:
        await books.settle(reservation, Outcome.USED, REALLY)

    for said in (facts, late) if first == "facts" else (late, facts):
        await said()
    assert [row.reason for row in await books.rows()] == [None, first]
    await books.check()


async def test_what_was_no_estimate_stays(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.used(usage=GUESS, bound=BOUND)
    before = await books.rows()
    async with database.begin() as connection:
        assert not await _facts(connection, reservation.attempt)
    await books.settle(reservation, Outcome.FAILED, REALLY)
    assert await books.rows() == before


async def test_an_open_row_and_one_that_isnt_there_have_nothing_to_correct(database: Database) -> None:
    books = Books.of_a_new_run(database)
    key = (await books.reserve(bound=BOUND)).attempt
    async with database.begin() as connection:
        assert not await _facts(connection, key)
        assert not await _facts(connection, books.attempt(7, 1))
        assert (await discard(connection, [key, books.attempt(7, 1)])).nano == 0
    await books.check()


@pytest.mark.parametrize("facts_first", [True, False])
async def test_gpu_time_that_was_attributed_survives_the_facts(database: Database, facts_first: bool) -> None:
    """Records of an engine have no share of its time."""
    books = Books.of_a_new_run(database)
    key = (await _estimate(books, price=BY_THE_GPU, gpu_us=100)).attempt

    async def facts() -> None:
        async with database.begin() as connection:
            await _facts(connection, key)

    if facts_first:
        await facts()
    await _attribute(books, key, gpu_us=-30, cost_nano=-30 * 2_000)
    if not facts_first:
        await facts()
    rows = await books.rows()
    assert len(rows) == 3
    assert _sums(rows, "gpu_us", "cost_nano", "output_tokens") == (70, 140_000, 9)
    await books.check()


async def test_what_was_thrown_away_moves_from_used_to_discarded_once(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.used(1, GUESS)
    await books.used(2, REALLY)
    lost = [books.attempt(1, 1), books.attempt(1, 1)]
    assert (await books.ledger.discard(lost)).nano == PRICE.cost(GUESS)
    before = await books.rows(), await books.account()
    assert (await books.elsewhere().ledger.discard(lost)).nano == 0
    assert (await books.rows(), await books.account()) == before
    rows, account = before
    assert [(row.entry, row.reason, row.outcome) for row in rows] == [
        (0, None, "used"), (1, "discard", "used"), (2, "discard", "discarded"), (0, None, "used"),
    ]  # fmt: skip
    assert _sums(rows[:2], "prompt_tokens", "cached_tokens", "output_tokens", "cost_nano") == (0, 0, 0, 0)
    assert rows[2].cost_nano == PRICE.cost(GUESS)
    assert account.spent_nano == PRICE.cost(GUESS) + PRICE.cost(REALLY)
    await books.check()


async def test_a_step_is_discarded_by_its_name_whichever_attempt_was_used(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.settle(await books.reserve(1, 1), Outcome.RETRIED, GUESS)
    await books.settle(await books.reserve(1, 2), Outcome.USED, REALLY, result={})
    assert (await books.ledger.discard([books.attempt(1, 1)])).nano == PRICE.cost(REALLY)
    assert [(row.attempt, row.outcome) for row in await books.rows()] == [
        (1, "retried"), (2, "used"), (2, "used"), (2, "discarded"),
    ]  # fmt: skip
    await books.check()


async def test_what_is_learnt_of_a_discarded_step_is_waste_too(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND, price=BY_THE_GPU)
    await books.settle(reservation, Outcome.USED, GUESS, gpu_us=100, result={})
    await books.ledger.discard([reservation.attempt])
    await _attribute(books, reservation.attempt, gpu_us=50, cost_nano=100_000)
    rows = await books.rows()
    assert (rows[3].reason, rows[3].outcome) == ("attribution", "discarded")
    assert _sums([row for row in rows if row.outcome == "used"], "gpu_us", "cost_nano") == (0, 0)
    assert _sums([row for row in rows if row.outcome == "discarded"], "gpu_us", "cost_nano") == (150, 300_000)
    assert (await books.ledger.discard([reservation.attempt])).nano == 0
    await books.check()


async def test_what_was_learnt_before_is_discarded_along(database: Database) -> None:
    books = Books.of_a_new_run(database)
    reservation = await books.reserve(bound=BOUND, price=BY_THE_GPU)
    await books.settle(reservation, Outcome.USED, GUESS, gpu_us=100, result={})
    await _attribute(books, reservation.attempt, gpu_us=50, cost_nano=100_000)
    assert (await books.ledger.discard([reservation.attempt])).nano == 300_000
    await books.check()


async def test_a_discarded_answer_is_still_the_answer(database: Database) -> None:
    """To an attempt that comes after: the workflow may have been replayed."""
    books = Books.of_a_new_run(database)
    await books.used(usage=GUESS)
    await books.ledger.discard([books.attempt(1, 1)])
    answer = await books.ask(attempt=2)
    assert isinstance(answer, Replayed)
    assert answer.result == {"text": "x"}
    assert answer.receipt.waste == answer.receipt.cost > 0
    await books.check()


@pytest.mark.parametrize(
    "figures",
    [{"cost_nano": -1}, {"prompt_tokens": 1, "cached_tokens": 2}, {"output_tokens": 1, "reasoning_tokens": 2}],
)
async def test_only_corrections_may_be_negative(database: Database, figures: dict[str, int]) -> None:
    books = Books.of_a_new_run(database)
    await books.reserve()
    with pytest.raises(IntegrityError):
        async with database.begin() as connection:
            await connection.execute(update(charges).where(charges.c.run == books.scope.run).values(figures))
    await books.check()


async def test_a_key_is_taken_once(database: Database) -> None:
    books = Books.of_a_new_run(database)
    await books.used(usage=GUESS)
    row: Any = (await books.rows())[0]
    with pytest.raises(IntegrityError):
        async with database.begin() as connection:
            await connection.execute(insert(charges), dict(row._mapping))
    with pytest.raises(IntegrityError):  # nor are two attempts of the step used
        async with database.begin() as connection:
            await connection.execute(insert(charges), {**row._mapping, "attempt": 2})


class TestAtOnce:
    """On PostgreSQL; SQLite has one writer at a time."""

    async def test_two_who_have_the_facts(self, postgres_url: str) -> None:
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            key = (await _estimate(books)).attempt

            async def second() -> bool:
                async with database.begin() as connection:
                    return await _facts(connection, key)

            async with database.begin() as connection:
                assert await _facts(connection, key)
                waiting = asyncio.create_task(second())
                await until_somebody_waits(database)
            assert not await waiting
            assert [row.reason for row in await books.rows()] == [None, "facts"]
            await books.check()

    async def test_two_who_discard(self, postgres_url: str) -> None:
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            await books.used(usage=GUESS)
            async with database.begin() as connection:
                assert (await discard(connection, [books.attempt(1, 1)])).nano
                waiting = asyncio.create_task(books.ledger.discard([books.attempt(1, 1)]))
                await until_somebody_waits(database)
            assert (await waiting).nano == 0
            await books.check()

    async def test_one_who_attributes_while_another_discards(self, postgres_url: str) -> None:
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            await books.used(usage=GUESS)
            async with database.begin() as connection:
                await discard(connection, [books.attempt(1, 1)])
                waiting = asyncio.create_task(_attribute(books, books.attempt(1, 1), gpu_us=50))
                await until_somebody_waits(database)
            await waiting
            assert [row.outcome for row in await books.rows()] == ["used", "used", "discarded", "discarded"]
            await books.check()

    async def test_one_who_discards_many_and_one_who_attributes(self, postgres_url: str) -> None:
        """Neither has what the other waits for."""
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            for step in (1, 2):
                await books.used(step, GUESS)
            async with database.begin() as connection:
                key = books.attempt(2, 1)
                base, *_ = await locked_rows(connection, key)
                waiting = asyncio.create_task(books.ledger.discard([books.attempt(1, 1), key]))
                await until_somebody_waits(database)
                await correct(connection, base, Reason.ATTRIBUTION, {"gpu_us": 5})
            assert (await waiting).nano == 2 * PRICE.cost(GUESS)
            await books.check()


class TestAfterTheRunHasEnded:
    """What comes late is sealed, behind what was sealed before."""

    async def _closed(self, database: Database) -> tuple[Books, Reservation, str]:
        books = Books.of_a_new_run(database)
        reservation = await _estimate(books)
        await books.used(2, GUESS)
        closed = await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)
        assert closed.seal is not None
        return books, reservation, closed.seal

    async def test_each_correction_has_a_seal(self, database: Database) -> None:
        books, reservation, head = await self._closed(database)
        await books.settle(reservation, Outcome.USED, REALLY)
        await books.ledger.discard([books.attempt(2, 1)])
        assert [row.seal for row in await books.rows()] == [1, 2, 1, 3, 4]
        again = await books.ledger.close_run(books.scope, RunStatus.COMPLETED, None)
        assert again.seal is not None
        assert again.seal != head
        await books.check()

    async def test_a_row_that_was_still_open_too(self, database: Database) -> None:
        books, *_ = await self._closed(database)
        late = await books.reserve(3)
        await books.settle(late, Outcome.CANCELLED, GUESS)
        assert (await books.rows())[-1].seal == 2
        await books.check()

    @pytest.mark.parametrize("what", ["settles", "corrects"])
    async def test_one_that_is_under_way_while_the_run_is_closed(self, postgres_url: str, what: str) -> None:
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            estimate, late = await _estimate(books), await books.reserve(2)
            async with database.begin() as connection:
                if what == "settles":
                    await books.ledger.settle(connection, late, Settlement(outcome=Outcome.CANCELLED, usage=GUESS))
                else:
                    await _facts(connection, estimate.attempt)
                closing = asyncio.create_task(books.ledger.close_run(books.scope, RunStatus.COMPLETED, None))
                await until_somebody_waits(database)
            await closing
            assert all(row.seal is not None for row in await books.rows() if row.outcome is not None)
            await books.check()

    async def test_one_that_begins_while_the_run_is_closed(self, postgres_url: str) -> None:
        """It waits for the seal, and sees that the run has ended."""
        async with Database.open(postgres_url) as database:
            books = Books.of_a_new_run(database)
            await books.used(1, GUESS)
            late = await books.reserve(2)
            async with database.begin() as connection:
                # The run's row is what closing takes last; the account is its own by then.
                await connection.execute(select(runs).where(runs.c.id == books.scope.run).with_for_update())
                closing = asyncio.create_task(books.ledger.close_run(books.scope, RunStatus.COMPLETED, None))
                await until_somebody_waits(database)
                settling = asyncio.create_task(books.settle(late, Outcome.CANCELLED, GUESS))
                await until_somebody_waits(database, at_least=2)
            await closing
            await settling
            assert [row.seal for row in await books.rows()] == [1, 2]
            await books.check()
