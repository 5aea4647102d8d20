from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.database import Database
from orchestrator.errors import UnknownName
from orchestrator.ledger import Added, PriceBook, add_prices, prices_of
from orchestrator.ledger.price_entry import entered
from orchestrator.settings import PriceSettings

GOOD = {"model": "qwen", "input": "2.5", "cached": "0.25", "output": "10"}


async def add(database: Database, **fields: Any) -> Added:
    return await add_prices(database, [entered({**GOOD, **fields}, default={})], what="a row")


def on(month: int, day: int = 1) -> datetime:
    return datetime(2090, month, day, tzinfo=UTC)


async def in_force(database: Database, at: datetime) -> list[Decimal | None]:
    return [row.input for row in await prices_of(database, book="default", at=at)]


async def test_a_row_without_an_end_is_succeeded_and_the_writer_is_told(database: Database) -> None:
    assert (await add(database, **{"from": "2090-01-01"})).notices == []
    (notice,) = (await add(database, input="3", **{"from": "2090-03-01"})).notices
    whose, _, what = notice.partition(": ")
    assert whose == "qwen in pool * of book default"
    assert what == "the row that begins on 2090-01-01 has no end; this one succeeds it on 2090-03-01"
    notices = (await add(database, input="4", **{"from": "2090-02-01", "until": "2090-02-15"})).notices
    assert [notice.partition(": ")[2] for notice in notices] == [
        "the row that begins on 2090-01-01 has no end; this one succeeds it on 2090-02-01, until 2090-02-15",
    ]
    moments = (on(1), on(2), on(2, 14), on(2, 15), on(3))
    assert [await in_force(database, at) for at in moments] == [
        [Decimal("2.5")], [Decimal(4)], [Decimal(4)], [Decimal("2.5")], [Decimal(3)],
    ]  # fmt: skip
    (notice,) = (await add(database, input="5", **{"from": "2089-01-01", "until": "2090-01-01"})).notices or [None]
    assert notice is None


async def test_a_row_before_those_that_are_there_is_succeeded_by_them(database: Database) -> None:
    await add(database, **{"from": "2090-03-01", "until": "2090-04-01"})
    (notice,) = (await add(database, input="3", **{"from": "2090-01-01"})).notices
    assert notice.endswith("the row that begins on 2090-03-01 succeeds this one, which has no end, until 2090-04-01")
    assert await in_force(database, on(4)) == [Decimal(3)]


async def test_other_models_pools_and_books_do_not_mind(database: Database) -> None:
    await add(database, **{"from": "2090-01-01", "until": "2090-12-01"})
    for fields in ({"model": "*"}, {"pool": "big"}, {"book": "other"}):
        assert (await add(database, **{"from": "2090-01-01", **fields})).notices == []
    assert len(await prices_of(database, at=on(2))) == 4
    assert len(await prices_of(database, book="other", at=on(2))) == 1
    assert await prices_of(database, book="other", at=datetime(2080, 1, 1, tzinfo=UTC)) == []
    with pytest.raises(UnknownName, match="did you mean 'other'"):
        await prices_of(database, book="othr")


async def test_a_price_of_the_past_changes_no_charge_and_says_so(database: Database) -> None:
    (notice,) = (await add(database, **{"from": "2020-01-01"})).notices
    assert notice.startswith("charges that were made already keep the unit prices they were made at")
    assert "'orchestrator cost --book'" in notice


async def test_new_calls_are_charged_by_what_was_written(database: Database) -> None:
    added = await add(database, pool="big", **{"from": "2020-01-01"})
    await add_prices(
        database, [entered({"model": "h", "gpu-hour": "2.123456789", "from": "1d"}, default={})], what="a row"
    )
    await add(database, book="other", model="x", **{"from": "2020-01-01"})
    book = PriceBook(database, PriceSettings())
    price = await book.price("qwen", "big")
    assert (price.input, price.cached, price.output) == (2_500_000_000, 250_000_000, 10_000_000_000)
    assert price.source == f"prices:{added.rows[0].id}"
    assert (await book.price("h", "anywhere")).gpu == 2_123_456_789
    assert (await book.price("x", "big")).source == "settings"
