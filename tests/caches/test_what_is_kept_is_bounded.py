"""Kept results go when they expire and when there are too many; each is found by its own tenant only."""

import asyncio
import random
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import func, select, update

from orchestrator.database import Database, now
from orchestrator.database.tables import kept_results
from orchestrator.keeping import LARGEST, Kept, KeptResults, key_of, pruning
from orchestrator.usage import Savings
from tests.eventually import eventually

HOUR = timedelta(hours=1)


async def _keep(database: Database, key: str, text: str = "x", *, lasts: timedelta = HOUR, tenant: str = "a") -> None:
    async with database.begin() as connection:
        await KeptResults(database).keep(
            connection, tenant, key, {"text": text}, lasts=lasts, cost_nano=7, tokens=len(text)
        )


async def _found(database: Database, key: str, *, tenant: str = "a", within: timedelta = HOUR) -> Kept | None:
    return await KeptResults(database).find(tenant, key, within=within)


async def _age(database: Database, key: str, age: timedelta) -> None:
    async with database.begin() as connection:
        row = update(kept_results).where(kept_results.c.key == key)
        await connection.execute(row.values(made_at=now() - age))


async def _keys(database: Database) -> set[str]:
    async with database.read() as connection:
        return set((await connection.execute(select(kept_results.c.key))).scalars())


async def test_it_comes_back_as_it_was_kept(database: Database) -> None:
    await _keep(database, "1", "grün")
    saved = Savings(results=1, usd=Decimal("0.000000007"), tokens=4)
    assert await _found(database, "1") == Kept(value={"text": "grün"}, saved=saved)
    assert await _found(database, "2") is None


async def test_it_is_found_by_nobody_else(database: Database) -> None:
    await _keep(database, "1")
    assert await _found(database, "1", tenant="b") is None
    assert key_of("a", "x") != key_of("b", "x")
    assert key_of("a", "x", "y") != key_of("a", "xy") != key_of("a", ["x"], "y")


async def test_who_asks_says_how_old_it_may_be(database: Database) -> None:
    await _keep(database, "1")
    await _age(database, "1", timedelta(minutes=30))
    assert await _found(database, "1", within=timedelta(minutes=31)) is not None
    assert await _found(database, "1", within=timedelta(minutes=29)) is None


async def test_a_newer_one_takes_its_place(database: Database) -> None:
    await _keep(database, "1", "old")
    await _age(database, "1", HOUR)
    await _keep(database, "1", "new")
    found = await _found(database, "1")
    assert found is not None
    assert found.value == {"text": "new"}
    assert await _keys(database) == {"1"}


async def test_what_is_too_large_is_not_kept(database: Database) -> None:
    dice = random.Random(1)
    text = "".join(chr(dice.randrange(32, 0xD000)) for _ in range(LARGEST))
    await _keep(database, "1", text)
    assert await _keys(database) == set()


async def test_what_has_expired_goes(database: Database) -> None:
    await _keep(database, "1", lasts=timedelta(0))
    await _keep(database, "2")
    assert await _found(database, "1") is None
    assert await KeptResults(database).prune(at_most=10**9) == 1
    assert await _keys(database) == {"2"}


async def test_beyond_its_size_the_oldest_go(database: Database) -> None:
    for number in range(5):
        await _keep(database, str(number))
        await _age(database, str(number), timedelta(minutes=number))
    async with database.read() as connection:
        size = (await connection.execute(select(func.max(kept_results.c.size)))).scalar_one()
    assert await KeptResults(database).prune(at_most=3 * size) == 2
    assert await _keys(database) == {"0", "1", "2"}
    assert await KeptResults(database).prune(at_most=3 * size) == 0
    assert await KeptResults(database).prune(at_most=0) == 3


async def test_a_worker_prunes_from_time_to_time(database: Database) -> None:
    await _keep(database, "1", lasts=timedelta(0))

    async def gone() -> bool:
        return not await _keys(database)

    async with pruning(database, at_most=10**9, every=timedelta(milliseconds=1)):
        await eventually(gone)


async def test_the_same_one_is_made_by_one_at_a_time(database: Database) -> None:
    results, order = KeptResults(database), list[str]()

    async def make(key: str, name: str) -> None:
        async with results.alone(key):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(make("1", "a"), make("1", "b"), make("2", "c"))
    assert order.index("a ends") < order.index("b begins")
    assert order.index("c begins") < order.index("a ends")
