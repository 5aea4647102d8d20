"""A seal stays as it is: what comes after it gets a seal of its own, in the same chain."""

from sqlalchemy import select

from orchestrator.database import Database
from orchestrator.database.tables import charges, seals
from orchestrator.ledger.seals import last_seal, seal
from orchestrator.steps import RunStatus
from orchestrator.usage import Outcome
from tests.receipts.books import Books, broken, sealed, verified


async def seal_numbers(database: Database, run: str) -> list[int | None]:
    async with database.read() as connection:
        query = select(charges.c.seal).where(charges.c.run == run).order_by(charges.c.activity_id, charges.c.entry)
        return list((await connection.execute(query)).scalars())


async def test_a_correction_is_sealed_after_its_run(database: Database) -> None:
    books = Books()
    row = books.charge(books.run("a"))
    await books.write(database)
    first = await sealed(database, "a")
    assert first is not None
    assert (first.number, first.rows) == (1, 1)
    correction = books.correct(row, "late", output_tokens=5, cost_nano=-7)
    async with database.begin() as connection:
        await books.add(connection, correction)
        second = await seal(connection, "a")
    assert second is not None
    assert (second.number, second.rows) == (2, 1)
    assert await seal_numbers(database, "a") == [1, 2]
    assert (await verified(database, "a", fingerprints=[first.head, second.head])).ok


async def test_what_is_sealed_is_not_sealed_again(database: Database) -> None:
    books = Books()
    books.charge(books.run("a"))
    await books.write(database)
    made = await sealed(database, "a")
    assert await sealed(database, "a") is None
    async with database.read() as connection:
        assert await last_seal(connection, "a") == made
        assert len((await connection.execute(select(seals))).all()) == 1


async def test_open_rows_wait_until_they_are_settled(database: Database) -> None:
    books = Books()
    books.run("a")
    books.charge("a", 1)
    books.opened("a", 2)
    await books.write(database)
    made = await sealed(database, "a")
    assert made is not None
    assert made.rows == 1
    assert (await verified(database, "a")).ok
    late = books.charges[1] | {"outcome": Outcome.FAILED, "cost_nano": 0, "settled_at": books.charges[1]["deadline"]}
    books.charges.pop()
    books.charges.append(late)
    async with database.begin() as connection:
        await connection.execute(charges.delete().where(charges.c.activity_id == "2"))
        await books.add(connection, late)
        assert await seal(connection, "a") is not None
    assert await seal_numbers(database, "a") == [1, 2]
    assert (await verified(database, "a")).ok


async def test_a_run_without_rows_has_no_seal(database: Database) -> None:
    books = Books()
    books.run("a")
    await books.write(database)
    assert await sealed(database, "a") is None
    assert await sealed(database, "nobody") is None
    assert (await verified(database, "a")).ok


async def test_a_seal_covers_its_own_run_only(database: Database) -> None:
    books = Books()
    books.charge(books.run("a"))
    books.charge(books.run("a1", parent="a"))
    await books.write(database)
    made = await sealed(database, "a")
    assert made is not None
    assert made.rows == 1
    assert {run for _, run, _ in broken(await verified(database, "a"))} == {"a1-w"}
    await sealed(database, "a1")
    assert (await verified(database, "a")).ok


async def test_a_run_that_goes_on_needs_no_seal_yet(database: Database) -> None:
    books = Books()
    books.charge(books.run("a", status=RunStatus.RUNNING, closed_at=None))
    await books.write(database)
    assert (await verified(database, "a")).ok


async def test_a_transaction_that_fails_seals_nothing(database: Database) -> None:
    books = Books()
    books.charge(books.run("a"))
    await books.write(database)
    async with database.begin() as connection:
        assert await seal(connection, "a") is not None
        await connection.rollback()
    assert await seal_numbers(database, "a") == [None]
    again = await sealed(database, "a")
    assert again is not None
    assert again.number == 1
