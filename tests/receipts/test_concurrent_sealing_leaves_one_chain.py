import anyio

from orchestrator.database import Database
from orchestrator.database.tables import charges
from orchestrator.ledger import Seal
from orchestrator.ledger.seals import seal
from tests.receipts.books import Books, sealed, verified

SEALERS = 8


async def test_of_those_who_seal_the_same_rows_one_does(database: Database) -> None:
    books = Books()
    books.run("a")
    for step in range(1, 6):
        books.charge("a", step)
    await books.write(database)
    made: list[Seal | None] = []

    async def seal_it() -> None:
        made.append(await sealed(database, "a"))

    async with anyio.create_task_group() as sealers:
        for _ in range(SEALERS):
            sealers.start_soon(seal_it)
    assert len(made) == SEALERS
    assert [link.rows for link in made if link is not None] == [5]
    assert (await verified(database, "a")).ok


async def test_each_correction_is_covered_once(database: Database) -> None:
    """Each of several transactions adds a correction and seals, all at once."""
    books = Books()
    row = books.charge(books.run("a"))
    await books.write(database)
    await sealed(database, "a")
    corrections = [books.correct(row, "attribution", gpu_us=0) for _ in range(SEALERS)]
    made: list[Seal] = []
    written = anyio.Event()
    waiting = 0

    async def correct(number: int) -> None:
        nonlocal waiting
        async with database.begin() as connection:
            await connection.execute(charges.insert(), corrections[number])
            waiting += 1
            if database.dialect == "postgresql":  # where all may write before the first one seals
                if waiting == SEALERS:
                    written.set()
                await written.wait()
            if (link := await seal(connection, "a")) is not None:
                made.append(link)

    async with anyio.create_task_group() as sealers:
        for number in range(SEALERS):
            sealers.start_soon(correct, number)
    assert sum(link.rows for link in made) == SEALERS
    assert sorted(link.number for link in made) == list(range(2, 2 + len(made)))
    assert (await verified(database, "a")).ok
