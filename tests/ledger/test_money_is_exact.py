"""Prices, costs and sums are exact to the nano-dollar, and in the tokens that the engine reported."""

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator import Budget, Receipt, Timings, Usage
from orchestrator.ledger import Price
from orchestrator.usage import usd_from_nano

tokens = st.integers(0, 10**7)
usd_prices = st.decimals(0, 1000, places=9)
spans = st.none() | st.integers(0, 10**12).map(lambda us: timedelta(microseconds=us))


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt, output = draw(st.none() | tokens), draw(st.none() | tokens)
    return Usage(
        prompt=prompt,
        cached=None if prompt is None else draw(st.none() | st.integers(0, prompt)),
        output=output,
        reasoning=None if output is None else draw(st.none() | st.integers(0, output)),
    )


receipts = st.builds(
    Receipt,
    usage=usages(),
    timings=st.builds(Timings, queue=spans, prefill=spans, decode=spans),
    cost=st.integers(0, 10**15).map(usd_from_nano),
    waste=st.integers(0, 10**15).map(usd_from_nano),
    attempts=st.integers(0, 9),
    steps=st.integers(0, 9),
    estimated=st.booleans(),
)


@given(usage=usages(), input=usd_prices, cached=usd_prices, output=usd_prices)
def test_a_cost_is_the_decimal_sum_rounded_half_up_once(
    usage: Usage,
    input: Decimal,  # noqa: A002
    cached: Decimal,
    output: Decimal,
) -> None:
    price = Price(input=int(input.scaleb(9)), cached=int(cached.scaleb(9)), output=int(output.scaleb(9)), source="test")
    exact = (
        (usage.uncached or 0) * input + (usage.cached or 0) * cached + (usage.output or 0) * output
    ) / 1_000_000  # fmt: skip
    assert usd_from_nano(price.cost(usage)) == exact.quantize(Decimal("1e-9"), ROUND_HALF_UP)


@given(usage=usages())
def test_cached_tokens_are_billed_once_and_reasoning_is_output(usage: Usage) -> None:
    million = 1_000_000
    same = Price(input=million, cached=million, output=million, source="a nano-dollar a token")
    assert same.cost(usage) == usage.total
    only_cached = Price(input=0, cached=million, output=0, source="test")
    assert only_cached.cost(usage) == (usage.cached or 0)


@given(gpu_us=st.none() | st.integers(0, 10**12), gpu=usd_prices, usage=usages())
def test_a_gpus_time_is_all_that_a_priced_gpu_costs(gpu_us: int | None, gpu: Decimal, usage: Usage) -> None:
    price = Price(input=1, cached=1, output=1, gpu=int(gpu.scaleb(9)), source="test")
    if not price.gpu:
        return
    exact = Decimal(gpu_us or 0) * gpu / 3_600_000_000
    assert usd_from_nano(price.cost(usage, gpu_us)) == exact.quantize(Decimal("1e-9"), ROUND_HALF_UP)


@given(call=st.integers(0, 10**12), usage=usages())
def test_a_call_costs_its_price_whatever_it_used(call: int, usage: Usage) -> None:
    assert Price(call=call, source="tool").cost(usage) == call
    assert Price(call=call, input=10**6, source="tool").cost(usage) == call + (usage.uncached or 0)


@given(a=receipts, b=receipts, c=receipts)
def test_receipts_add_up_in_any_grouping_and_order(a: Receipt, b: Receipt, c: Receipt) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Receipt() == a
    assert (a + b).cost == a.cost + b.cost
    assert Receipt.model_validate_json(a.model_dump_json()) == a


@pytest.mark.parametrize(
    ("figures", "problem"),
    [
        ({"prompt": 10, "cached": 11}, r"cached tokens \(11\) exceed prompt tokens \(10\)"),
        ({"output": 0, "reasoning": 1}, r"reasoning tokens \(1\) exceed output tokens \(0\)"),
        ({"cached": 1}, r"cached tokens \(1\) exceed prompt tokens \(None\)"),
        ({"prompt": -1}, "greater than or equal to 0"),
    ],
)
def test_impossible_figures_are_refused(figures: dict[str, int], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Usage(**figures)


def test_unknown_is_not_zero() -> None:
    assert (Usage() + Usage()).prompt is None
    assert (Usage() + Usage(prompt=3)).prompt == 3
    assert Usage(prompt=3, cached=None).uncached == 3
    assert Usage(cached=None).uncached is None
    assert Timings(prefill=timedelta(1)).engine == timedelta(1)
    assert Timings().engine is None


@given(usd=st.decimals("0.000000001", 10**6, places=9))
def test_a_budget_is_exact_in_the_ledgers_unit(usd: Decimal) -> None:
    nano = Budget(usd=usd).nano_usd
    assert nano is not None
    assert usd_from_nano(nano) == usd
