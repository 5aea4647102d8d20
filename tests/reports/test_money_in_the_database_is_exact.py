"""The database's arithmetic is `Price.cost`, beyond 2**63 too."""

from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, literal, select

from orchestrator.database import Database
from orchestrator.ledger import Price
from orchestrator.ledger.exact import MAX_PRICE_NANO, cache_saving, floor_div, gpu_cost, token_cost
from orchestrator.usage import Usage

tokens = st.integers(0, 5_000_000)
nano = st.integers(0, MAX_PRICE_NANO) | st.integers(0, 20_000_000_000)
by_the_way = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


async def _asked(database: Database, *expressions: Any) -> list[int]:
    async with database.read() as connection:
        return [int(value) for value in (await connection.execute(select(*expressions))).one()]


def _whole(number: int) -> Any:
    return literal(number, BigInteger)


def _price(price: Price) -> Any:
    return SimpleNamespace(
        input_price=_whole(price.input), cached_price=_whole(price.cached), output_price=_whole(price.output)
    )


@by_the_way
@given(prompt=tokens, part=st.integers(0, 100), output=tokens, prices=st.tuples(nano, nano, nano))
async def test_tokens(database: Database, prompt: int, part: int, output: int, prices: tuple[int, int, int]) -> None:
    usage = Usage(prompt=prompt, cached=prompt * part // 100, output=output)
    price = Price(input=prices[0], cached=prices[1], output=prices[2], source="test")
    assert usage.cached is not None
    cost = token_cost(_whole(prompt), _whole(usage.cached), _whole(output), _price(price))
    saving = cache_saving(_whole(usage.cached), _price(price))
    exact = (usage.cached * (price.input - price.cached) + 500_000) // 1_000_000
    assert await _asked(database, cost, saving) == [price.cost(usage), exact]


@by_the_way
@given(us=st.integers(0, 10**12), price=nano.filter(bool))
async def test_gpu_time(database: Database, us: int, price: int) -> None:
    exact = Price(gpu=price, source="test").cost(Usage(), us)
    if exact < 2**63:
        assert await _asked(database, gpu_cost(_whole(us), _whole(price))) == [exact]


@by_the_way
@given(number=st.integers(-(2**62), 2**62), divisor=st.integers(1, 10**10))
async def test_division_rounds_down_below_zero_too(database: Database, number: int, divisor: int) -> None:
    assert await _asked(database, floor_div(_whole(number), divisor)) == [number // divisor]
