"""A head depends on what the rows say, and on nothing else: anybody can compute it from its description."""

import hashlib
import json

from orchestrator.database import Database
from orchestrator.usage import Outcome
from tests.receipts.books import START, Books, sealed

HEADS = (
    "4065bfd3c408b9143a5d2c6a81a5b8f468685efc696781bf20c37af2bd0708a8",
    "e3fce945505d7370451f1078e340c0b502cb6dcaf7fda57ec2dd91218328a71f",
)
"""Of the two seals below. They may never change: bills were sealed so."""


def books_of_a_run() -> Books:
    books = Books()
    books.run("a")
    for step in ("10", "9", "B", "a", "\u00e4"):  # which databases sort in orders of their own
        books.charge("a", step)
    books.charge("a", 11, outcome=Outcome.RETRIED, estimated=True, result=None, rid=None)
    return books


async def heads_in(url: str) -> tuple[str, ...]:
    books = books_of_a_run()
    async with Database.open(url) as database:
        await books.write(database)
        first = await sealed(database, "a")
        correction = books.correct(books.charges[5], "facts", output_tokens=-3, cost_nano=-24_000)
        async with database.begin() as connection:
            await books.add(connection, correction)
        second = await sealed(database, "a")
    assert first is not None
    assert second is not None
    return first.head, second.head


async def test_on_both_databases(sqlite_url: str, postgres_url: str) -> None:
    assert await heads_in(sqlite_url) == await heads_in(postgres_url) == HEADS


async def test_by_its_description(database: Database) -> None:
    books = Books()
    books.run("a")
    books.charge("a", 2)
    books.charge("a", 1)
    await books.write(database)
    made = await sealed(database, "a")
    assert made is not None
    times = {
        "reserved_at": ("2026-03-01T12:00:00.001007+00:00", "2026-03-01T12:00:00.002007+00:00"),
        "deadline": ("2026-03-01T13:00:00.001007+00:00", "2026-03-01T13:00:00.002007+00:00"),
        "settled_at": ("2026-03-01T12:00:00.001340+00:00", "2026-03-01T12:00:00.002340+00:00"),
    }
    lines = ['{"before":null,"number":1,"run":"a"}']
    for place in (1, 0):
        row = {name: value for name, value in books.charges[place].items() if value is not None}
        row |= {name: both[place] for name, both in times.items()}
        row["result"] = hashlib.sha256(b'{"parts":[1,2.5,null],"text":"h\\u00f6flich"}').hexdigest()
        lines.append(json.dumps(row, sort_keys=True, separators=(",", ":")))
    assert made.head == hashlib.sha256("".join(f"{line}\n" for line in lines).encode("ascii")).hexdigest()
    assert made.sealed_at > START
