"""A what-if: no row is touched, and no call is free for want of a price."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from orchestrator.database import Database, now
from orchestrator.database.tables import charges, prices
from orchestrator.errors import UnknownName
from orchestrator.ledger import By, CostReport, Price, PriceBook, Timeframe, Unpriced, cost_report
from orchestrator.ledger.repricing import timeline
from orchestrator.settings import PriceSettings
from orchestrator.usage import Usage
from tests.reports.rows import MARCH, Rows

A_TOKEN = Price(input=1_000_000, cached=1_000_000, output=1_000_000, source="test")
"""A nano-dollar a token."""
DAY = timedelta(days=1)


def nano(amount: Decimal) -> int:
    return int(amount.scaleb(9))


def times(price: Price, factor: int) -> Price:
    return Price(
        input=factor * price.input, cached=factor * price.cached, output=factor * price.output, gpu=factor * price.gpu,
        source="test",
    )  # fmt: skip


async def priced(database: Database, by: By = By.WORKFLOW) -> CostReport:
    return await cost_report(database, by=by, book="other")


async def test_each_call_by_the_row_that_was_in_force_when_it_was_reserved(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    for days, prompt in ((-1, 1), (0, 10), (1, 100), (2, 1000), (3, 10_000)):
        # Reserved a second before the day ends, settled on the next one.
        rows.charge(run, Usage(prompt=prompt), at=MARCH + (days + 1) * DAY - timedelta(seconds=1))
    rows.charge(run, Usage(prompt=100_000), at=MARCH + DAY)
    rows.price(times(A_TOKEN, 2), at=MARCH - 10 * DAY)
    rows.price(times(A_TOKEN, 3), at=MARCH + DAY, valid_until=MARCH + 2 * DAY)
    rows.price(times(A_TOKEN, 5), at=MARCH + 3 * DAY)
    await rows.write(database)
    assert nano((await priced(database)).total.cost) == 2 + 20 + 300 + 2000 + 50_000 + 300_000


async def test_the_most_specific_row_prices_a_call(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    for number, (name, pool) in enumerate([("qwen", "big"), ("qwen", "small"), ("gpt", "big"), ("gpt", "small")]):
        rows.charge(run, Usage(output=10**number), name=name, pool=pool)
    rows.price(times(A_TOKEN, 2))
    rows.price(times(A_TOKEN, 3), pool="big", at=MARCH - DAY)
    rows.price(times(A_TOKEN, 5), model="qwen")
    rows.price(times(A_TOKEN, 7), model="qwen", pool="big", at=MARCH - 300 * DAY)
    await rows.write(database)
    assert nano((await priced(database)).total.cost) == 7 + 50 + 300 + 2000


async def test_the_ledger_is_not_touched(database: Database) -> None:
    rows = Rows()
    row = rows.charge(rows.run(), Usage(prompt=10, output=1))
    rows.reused(row, Usage(prompt=11, output=1))
    rows.price(times(A_TOKEN, 2))
    await rows.write(database)
    query = select(charges).order_by(charges.c.entry)
    async with database.read() as connection:
        before = (await connection.execute(query)).all()
    await priced(database)
    async with database.read() as connection:
        assert (await connection.execute(query)).all() == before


async def test_what_has_no_price_is_named_and_not_free(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    rows.charge(run, Usage(prompt=10, output=1))
    rows.charge(run, Usage(prompt=20, output=2), name="gpt", pool="hosted")
    rows.charge(run, Usage(prompt=30, output=3), name="gpt", pool="hosted")
    rows.charge(run, Usage(prompt=40, output=4), at=MARCH - DAY)
    rows.charge(run, name="gpt", outcome=None, settled_at=None, cost_nano=None)
    rows.price(A_TOKEN, model="qwen", at=MARCH)
    await rows.write(database)
    report = await priced(database)
    assert nano(report.total.cost) == 11
    assert report.unpriced == [
        Unpriced(model="gpt", pool="hosted", calls=2, tokens=55),
        Unpriced(model="qwen", pool="default", calls=1, tokens=44),
    ]
    in_march = await cost_report(database, book="other", timeframe=Timeframe(since=MARCH), tenant="acme")
    assert [each.model for each in in_march.unpriced] == ["gpt"]
    assert (await cost_report(database, book="other", tenant="nobody")).unpriced == []
    assert (await cost_report(database)).unpriced == []


async def test_a_call_of_unknown_gpu_time_has_no_price_by_the_gpu_hour(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    rows.charge(run, Usage(prompt=10), gpu_us=500)
    rows.charge(run, Usage(prompt=20))
    rows.charge(run, outcome="failed")  # it never reached an engine
    late = rows.charge(run, Usage(prompt=40))
    rows.correct(late, "attribution", gpu_us=7)
    rows.price(Price(gpu=3_600_000_000, source="test"))
    await rows.write(database)
    report = await priced(database)
    assert nano(report.total.cost) == 507
    assert report.unpriced == [Unpriced(model="qwen", pool="default", calls=1, tokens=20)]


async def test_tools_and_retrieval_keep_what_they_cost(database: Database) -> None:
    rows = Rows()
    run = rows.run()
    rows.charge(run, kind="tool", name="qwen", cost_nano=77)
    rows.charge(run, kind="retrieve", name="handbook", pool=None, cost_nano=3)
    rows.price(times(A_TOKEN, 2), model="other")
    await rows.write(database)
    report = await priced(database)
    assert (nano(report.total.cost), report.unpriced) == (80, [])


async def test_a_correction_costs_the_difference_that_it_makes(database: Database) -> None:
    """Half a nano-dollar a token: three tokens cost two, five cost three, so two more cost one."""
    rows = Rows()
    row = rows.charge(rows.run(), Usage(prompt=3))
    rows.reused(row, Usage(prompt=5), at=MARCH + DAY)
    discarded = rows.charge(rows.run("plan"), Usage(prompt=3))
    rows.discard(discarded, at=MARCH + DAY)
    half = Price(input=500_000, cached=500_000, output=500_000, source="test")
    rows.price(half)
    await rows.write(database)
    report = await priced(database, By.DAY)
    assert {line.group["day"]: nano(line.cost) for line in report.lines} == {"2026-03-01": 4, "2026-03-02": 1}
    assert nano(report.total.waste.discarded) == 2


async def test_savings_are_those_of_the_book(database: Database) -> None:
    rows = Rows()
    rows.charge(rows.run(), Usage(prompt=100, cached=60))
    rows.price(Price(input=3_000_000, cached=1_000_000, output=0, source="test"))
    await rows.write(database)
    assert nano((await priced(database)).total.cache_savings) == 120


async def test_a_book_that_is_not_there_is_named(database: Database) -> None:
    rows = Rows()
    rows.price(A_TOKEN)
    await rows.write(database)
    with pytest.raises(UnknownName, match="no price book is called 'othre': did you mean 'other'"):
        await cost_report(database, book="othre")


moments = st.integers(-3, 3).map(lambda days: timedelta(days=days))
names = st.sampled_from(["qwen", "*", "gpt"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    drawn=st.lists(
        st.tuples(names, names, moments, st.none() | st.integers(1, 4)), max_size=8, unique_by=lambda r: r[:3]
    )
)
async def test_the_timeline_says_what_calls_are_charged_by(
    database: Database, drawn: list[tuple[str, str, timedelta, int | None]]
) -> None:
    """Whatever rows there are: the price of a new call is the one that a report gives a call of this moment."""
    present = now()
    rows = Rows()
    for number, (model, pool, begin, days) in enumerate(drawn, start=1):
        start = present + begin - timedelta(hours=1)
        rows.price(
            times(A_TOKEN, number), model=model, pool=pool, at=start, book="default",
            valid_until=None if days is None else start + days * DAY,
        )  # fmt: skip
    await rows.write(database)
    async with database.read() as connection:
        written = (await connection.execute(select(prices))).all()
    book = PriceBook(database, PriceSettings())
    for model, pool in (("qwen", "qwen"), ("qwen", "gpt"), ("gpt", "qwen"), ("other", "gpt"), ("other", "other")):
        price = await book.price(model, pool)
        found = _at(timeline(written, model, pool), present)
        assert price.source == ("settings" if found is None else f"prices:{found}")


def _at(segments: object, at: datetime) -> int | None:
    assert isinstance(segments, list)
    (found,) = [each.row.id for each in segments if each.begin <= at < each.end] or [None]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found  # pyright: ignore[reportUnknownVariableType]
