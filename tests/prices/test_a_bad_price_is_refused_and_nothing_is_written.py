from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.database import Database
from orchestrator.errors import PricesRefused
from orchestrator.ledger import NewPrice, add_prices, prices_of
from orchestrator.ledger.price_entry import entered

GOOD = {"model": "qwen", "input": "2.5", "cached": "0.25", "output": "10", "from": "2026-03-01"}


def refused(**changes: Any) -> str:
    """Why a good row is refused once it is changed; a field of `None` is taken away."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        entered({**GOOD, **changes}, default={})
    return str(caught.value)


@pytest.mark.parametrize("field", ["input", "cached", "output"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("-1", "greater than or equal to 0"),
        ("-0.000000001", "greater than or equal to 0"),
        ("nan", "finite number"),
        ("inf", "finite number"),
        ("1e400", "no more than 18 digits"),
        ("1000000.01", "less than or equal to 1000000"),
        ("0.0000000001", "no more than 9 decimal places"),
        ("two", "valid decimal"),
        (True, "Decimal input should be"),
    ],
)
def test_a_price_that_is_none(field: str, value: Any, says: str) -> None:
    said = refused(**{field: value})
    assert said.startswith(f"{field}: ")
    assert says in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"output": None}, "output missing: a row has input, cached and output, or gpu_hour"),
        ({"input": None, "cached": " "}, "input and cached missing"),
        ({"cached": None}, "where cached tokens have no discount, cached is the same as input"),
        ({"gpu_hour": "2"}, "it prices tokens and the GPU-hour"),
        ({"input": None, "cached": None, "output": None}, "input and cached and output missing"),
        ({"input": None, "cached": None, "output": None, "gpu_hour": "-2"}, "gpu_hour: Input should be greater"),
        ({"currency": "EUR"}, "the currency is 'EUR': the ledger is kept in USD alone"),
        ({"currency": "usd"}, "the currency is 'usd'"),
        ({"until": "2026-03-01"}, "until (2026-03-01) is not after from (2026-03-01)"),
        ({"until": "2026-02-01"}, "until (2026-02-01) is not after from (2026-03-01)"),
        ({"from": "soon"}, "from is 'soon', no moment"),
        ({"from": None}, "from: Field required"),
        ({"from": 7}, "from is '7', no moment"),
        ({"model": None}, "model: Field required"),
        ({"model": "x" * 256}, "model: String should have at most 255 characters"),
        ({"model": "a\x00b"}, "model: String should match pattern"),
        ({"pool": "x" * 65}, "pool: String should have at most 64 characters"),
        ({"book": "a\nb"}, "book: String should match pattern"),
        ({"prompt": "1"}, "there is no field 'prompt'"),
        ({"ouput": "1"}, "did you mean 'output'?"),
    ],
)
def test_a_row_that_is_none(changes: Mapping[str, Any], says: str) -> None:
    assert says in refused(**changes)


@given(price=st.decimals(0, 1_000_000, places=9))
def test_any_price_to_the_nano_dollar_is_taken(price: Any) -> None:
    row = entered({**GOOD, "input": f"{price:f}"}, default={})
    assert row.input == price


def priced(**fields: Any) -> NewPrice:
    return entered({**GOOD, **fields}, default={})


async def fill(database: Database) -> None:
    rows = [priced(), priced(**{"from": "2026-06-01", "until": "2026-07-01"}), priced(model="*", pool="big")]
    await add_prices(database, rows, what="the tests")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "the row that begins on 2026-03-01 has the same start"),
        ({"until": "2026-04-01"}, "the row that begins on 2026-03-01 has the same start"),
        ({"from": "2026-03-01T01:00+01:00"}, "has the same start"),
        ({"from": "2026-06-15"}, "it overlaps the row that begins on 2026-06-01 and ends on 2026-07-01"),
        ({"from": "2026-06-15", "until": "2026-06-16"}, "it overlaps the row that begins on 2026-06-01"),
        ({"from": "2026-05-01", "until": "2026-06-02"}, "it ends on 2026-06-02, after the start of the row that"),
        ({"from": "2026-02-01", "until": "2026-03-02"}, "after the start of the row that begins on 2026-03-01"),
        ({"model": "*", "pool": "big"}, "* in pool big of book default: the row"),
    ],
)
async def test_a_row_that_would_give_a_day_two_prices(database: Database, fields: dict[str, Any], says: str) -> None:
    await fill(database)
    before = await prices_of(database, every=True)
    good = priced(model="other")
    for rows in ([priced(**fields)], [good, priced(**fields)], [priced(**fields), good]):
        with pytest.raises(PricesRefused, match="Nothing was written") as caught:
            await add_prices(database, rows, what="the tests")
        assert says in str(caught.value)
        assert await prices_of(database, every=True) == before


async def test_rows_that_collide_with_each_other(database: Database) -> None:
    twice = [priced(), priced(pool="big"), priced()]
    with pytest.raises(
        PricesRefused, match=r"the tests: row 3 qwen in pool \*.*row 1 that begins on 2026-03-01 has the"
    ):
        await add_prices(database, twice, what="the tests")
    with pytest.raises(PricesRefused, match="there is no row in it"):
        await add_prices(database, [], what="the tests")
    assert await prices_of(database, every=True) == []


def test_many_problems_are_counted() -> None:
    error = PricesRefused("a file", [f"row {number} is bad" for number in range(7)])
    assert str(error).endswith("row 4 is bad; and 2 more. Nothing was written")


days = st.integers(0, 12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(drawn=st.lists(st.tuples(days, st.none() | days), max_size=8))
async def test_whatever_is_taken_no_bounded_row_is_overlapped(
    database: Database, drawn: list[tuple[int, int | None]]
) -> None:
    """In any order of writing. Of each moment, all but one row have no end and an earlier start."""
    book = f"book-{abs(hash(tuple(drawn)))}"
    taken: list[NewPrice] = []
    for begin, length in drawn:
        start = datetime(2026, 1, 1 + begin, tzinfo=UTC)
        end = None if not length else datetime(2026, 1, 2 + begin + length, tzinfo=UTC)
        row = NewPrice(book=book, model="m", gpu_hour=Decimal(1), valid_from=start, valid_until=end)
        try:
            await add_prices(database, [row], what="a row")
            taken.append(row)
        except PricesRefused:
            pass
    for one in taken:
        for other in taken:
            if one.valid_from < other.valid_from:
                assert one.valid_until is None or one.valid_until <= other.valid_from
    assert len({row.valid_from for row in taken}) == len(taken)
    kept = [row for row in await prices_of(database, every=True) if row.book == book]
    assert len(kept) == len(taken)
