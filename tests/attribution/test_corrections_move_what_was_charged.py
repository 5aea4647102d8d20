"""The difference between provisional and final GPU time moves the charge, its run, those above it and the tenant."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, insert, update

from orchestrator.attribution import Provisional
from orchestrator.database import Database
from orchestrator.database.tables import accounts, charges, prices
from orchestrator.ledger.corrections import discard, replace_estimate
from orchestrator.ledger.rows import Reason
from orchestrator.usage import EngineMoments, Usage
from tests.attribution.world import SERVER, World, at

HOUR = 3_600_000_000
PRICE = 2_500_000_000
"""2.50 dollars for a GPU-hour, in nano-dollars."""


@pytest.fixture
def world(database: Database) -> World:
    return World(database=database)


async def test_gpu_time_and_money_move_in_every_account_above(world: World) -> None:
    top = await world.run("top")
    middle = await world.run("middle", parent=top)
    low = await world.run("low", parent=middle)
    day, month = await world.limit("day"), await world.limit("month")
    key = await world.call(10, 20, run=low, gpu_us=4_000_000, gpu_price=PRICE)
    await world.advance(65)
    base, correction = await world.entries(key)
    assert (base.gpu_us, correction.gpu_us) == (4_000_000, 6_000_000)
    assert base.cost_nano + correction.cost_nano == (10_000_000 * PRICE + HOUR // 2) // HOUR
    told = (correction.entry, correction.reason, correction.outcome, correction.kind, correction.name, correction.run)
    assert told == (1, "attribution", "used", "generate", "m", low)
    assert (correction.prompt_tokens, correction.output_tokens, correction.gpu_price) == (None, None, PRICE)
    for name in (top, middle, low, day, month):
        account = await world.account(name)
        assert (account.spent_gpu_us, account.spent_nano) == (6_000_000, correction.cost_nano)


async def test_a_figure_that_was_too_high_is_given_back(world: World) -> None:
    run = await world.run("r")
    first = await world.call(10, 20, run=run, gpu_us=10_000_000, gpu_price=PRICE)
    second = await world.call(10, 20, run=run, gpu_us=10_000_000, gpu_price=PRICE)
    await world.advance(65)
    for key in (first, second):
        base, correction = await world.entries(key)
        assert correction.gpu_us == -5_000_000
        assert base.cost_nano + correction.cost_nano == (5_000_000 * PRICE + HOUR // 2) // HOUR
    assert (await world.account(run)).spent_gpu_us == -10_000_000


async def test_where_tokens_are_priced_only_time_moves(world: World) -> None:
    run = await world.run("r")
    key = await world.call(10, 20, run=run, gpu_us=3, cost_nano=77)
    await world.advance(65)
    assert sum(row.cost_nano for row in await world.entries(key)) == 77
    assert await world.gpu_us(key) == 10_000_000


async def test_a_figure_that_was_right_is_left_alone(world: World) -> None:
    run = await world.run("r")
    key = await world.call(10, 20, run=run, gpu_us=10_000_000)
    assert await world.advance(65) == (1, 0)
    assert len(await world.entries(key)) == 1


async def test_a_job_that_died_after_the_window_is_made_good(world: World) -> None:
    run = await world.run("r")
    key = await world.call(10, 20, run=run, gpu_us=1)
    await world.call(70, 80, run=run, gpu_us=10_000_000)
    await world.advance(65)
    # As if it had died between the two transactions: the correction is taken away again.
    async with world.database.begin() as connection:
        await connection.execute(delete(charges).where(charges.c.entry > 0))
        await connection.execute(update(accounts).values(spent_gpu_us=0))
    assert await world.advance(66) == (0, 1)
    assert await world.advance(67) == (0, 0)
    assert await world.gpu_us(key) == 10_000_000


async def test_a_discarded_call_is_corrected_as_discarded(world: World) -> None:
    run = await world.run("r")
    key = await world.call(10, 20, run=run, gpu_us=4_000_000, gpu_price=PRICE)
    async with world.database.begin() as connection:
        await discard(connection, [key])
    await world.advance(65)
    rows = await world.entries(key)
    assert [row.outcome for row in rows] == ["used", "used", "discarded", "discarded"]
    assert sum(row.gpu_us for row in rows if row.outcome == "used") == 0
    assert sum(row.gpu_us for row in rows) == 10_000_000


async def test_the_engines_own_record_comes_before_the_window_and_counts(world: World) -> None:
    run = await world.run("r")
    key = await world.call(0, 50, run=run, prompt=500, output=0, told=False, estimated=True)
    told = EngineMoments(entered=at(10), prefilled=at(12), finished=at(30))
    async with world.database.begin() as connection:
        await replace_estimate(connection, key, Reason.FACTS, Usage(prompt=500, cached=0, output=60), told, None)
    await world.advance(65)
    (window,) = await world.windows()
    assert (window.attributed_us, window.method) == (20_000_000, "assumed")
    assert await world.gpu_us(key) == 20_000_000


async def test_a_window_has_the_price_of_its_time(world: World) -> None:
    run = await world.run("r")
    await world.call(10, 20, run=run)
    await world.call(70, 80, run=run)
    row = {"book": "default", "model": "*", "pool": "default", "source": "test", "created_at": datetime.now(UTC)}
    async with world.database.begin() as connection:
        for since, price in ((0, 1_000), (60, 2_000)):
            valid = datetime.fromtimestamp(at(since) / 1e6, UTC)
            await connection.execute(insert(prices), {**row, "gpu_price": price, "valid_from": valid})
    await world.advance(200)
    assert [window.gpu_price for window in await world.windows()] == [1_000, 2_000]


async def test_a_provisional_figure_is_close_once_a_window_is_final(world: World) -> None:
    run = await world.run("r")
    keys = [await world.call(start, start + 8, run=run, output=100) for start in range(0, 100, 2)]
    estimate = Provisional(SERVER)
    usage, moments = Usage(prompt=1000, cached=0, output=100), EngineMoments(entered=at(0), finished=at(8))
    await estimate.refresh(world.database)
    assert estimate.provisional(usage, moments) == 8_000_000
    await world.advance(200)
    await estimate.refresh(world.database)
    middle = await world.gpu_us(keys[25])
    assert middle == pytest.approx(2_000_000, rel=0.05)
    assert estimate.provisional(usage, moments) == pytest.approx(middle, rel=0.1)


async def test_a_provisional_figure_is_at_most_the_time_in_the_engine_and_unknown_without_times(world: World) -> None:
    run = await world.run("r")
    await world.call(0, 8, run=run, output=10)
    await world.advance(65)
    estimate = Provisional(SERVER, gpus=2)
    await estimate.refresh(world.database)
    much = Usage(prompt=100_000, cached=0, output=10_000)
    assert estimate.provisional(much, EngineMoments(entered=at(0), finished=at(1))) == 2_000_000
    assert estimate.provisional(much, EngineMoments(entered=at(1), finished=at(0))) == 0
    assert estimate.provisional(much, EngineMoments(finished=at(1))) is None
    assert estimate.provisional(much, EngineMoments()) is None
