"""Differences by hand, and conditions."""

from decimal import Decimal
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backtests import Metric, condition
from orchestrator.backtests.compare import compared
from orchestrator.errors import InvalidInput, UnknownName
from orchestrator.reruns import tool_key
from tests.backtests.program import price_of

COUNTS = {"pairs": 20, "skipped": 1, "failed": 0, "off_record": 2, "unjudged": 0}


def decimals(*values: int) -> list[Decimal]:
    return [Decimal(value) for value in values]


def test_the_difference_is_that_of_the_means() -> None:
    made = compared(Metric.TOKENS, decimals(100, 200, 300, 400, 500), decimals(50, 100, 150, 200, 250))
    assert made is not None
    assert (made.original, made.variant, made.difference, made.relative) == (300, 150, -150, Decimal("-0.5"))
    assert made.low is not None
    assert made.high is not None
    assert made.low < -150 < made.high < 0
    assert (made.relative_low, made.relative_high) == (Decimal("-0.5"), Decimal("-0.5"))  # each pair halves


def test_what_pairs_have_in_common_cancels_out() -> None:
    """Runs differ a thousandfold among themselves, and each by one from its rerun."""
    before = decimals(1, 10, 100, 1000, 10_000, 100_000)
    made = compared(Metric.TOKENS, before, [value + 1 for value in before])
    assert made is not None
    assert (made.difference, made.low, made.high) == (1, 1, 1)


def test_the_same_pairs_have_the_same_interval() -> None:
    before, after = decimals(*range(30)), decimals(*(number * 7 % 11 for number in range(30)))
    assert compared(Metric.COST, before, after) == compared(Metric.COST, before, after)


def test_few_pairs_have_no_interval_and_none_no_difference() -> None:
    four = compared(Metric.TIME, decimals(1, 2, 3, 4), decimals(2, 3, 4, 5))
    assert four is not None
    assert (four.difference, four.low, four.high, four.relative_low) == (1, None, None, None)
    assert compared(Metric.TIME, [], []) is None


def test_nothing_has_no_relative_difference() -> None:
    made = compared(Metric.COST, decimals(0, 0, 0, 0, 0), decimals(1, 1, 1, 1, 1))
    assert made is not None
    assert (made.difference, made.relative, made.relative_low) == (1, None, None)


def test_an_interval_is_as_wide_as_95_per_cent_are() -> None:
    """Of a hundred differences as of a normal distribution, with a standard deviation of 1,000."""
    normal = NormalDist(0, 1000)
    drawn = [Decimal(round(normal.inv_cdf((number + 0.5) / 100))) for number in range(100)]
    made = compared(Metric.TOKENS, [Decimal(5000)] * 100, [5000 + each for each in drawn])
    assert made is not None
    assert made.low is not None
    assert made.high is not None
    expected = 2 * 1.96 * 1000 / 100**0.5
    assert abs(float(made.high - made.low) / expected - 1) < 0.1


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=5, max_size=20))
def test_an_interval_holds_its_difference_and_stays_within_the_pairs(pairs: list[tuple[int, int]]) -> None:
    made = compared(Metric.TOKENS, decimals(*(one for one, _ in pairs)), decimals(*(other for _, other in pairs)))
    assert made is not None
    assert made.low is not None
    assert made.high is not None
    apart = [other - one for one, other in pairs]
    assert min(apart) <= made.low <= made.high <= max(apart)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("tokens>-151", True),
        ("tokens>-150", False),
        ("tokens>=-150", True),
        ("tokens<-40%", True),
        ("tokens<-50%", False),
        (" tokens <= -50 % ", True),
        ("tokens.high<-50%", False),
        ("tokens.low<0", True),
        ("cost>+10%", True),  # there is no such figure, so it can't be said that it doesn't hold
        ("pairs<20", False),
        ("pairs<21", True),
        ("off_record>1", True),
        ("failed>0", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    made = compared(Metric.TOKENS, decimals(100, 200, 300, 400, 500), decimals(50, 100, 150, 200, 250))
    assert made is not None
    assert condition(text).holds({Metric.TOKENS: made}, COUNTS) is holds


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("cost", InvalidInput, "'cost' is no condition; write 'cost>+10%'"),
        ("cost>ten", InvalidInput, "is no condition"),
        ("cost>1>2", InvalidInput, "is no condition"),
        ("cots>1", UnknownName, "did you mean 'cost'?"),
        ("accuracy<-2%", InvalidInput, "differs by points; write 'accuracy<-2'"),
        ("failed>1%", InvalidInput, "failed is a number of runs"),
        ("pairs.low<3", InvalidInput, "pairs is a number of runs"),
    ],
)
def test_a_condition_that_is_none_is_refused(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as refused:
        condition(text)
    assert words in str(refused.value)


def test_calls_are_told_apart_by_what_they_ask() -> None:
    """Not by how it is written; and a default is what it stands for."""
    same = ['{"item": "tea"}', '{"item":"tea","currency":"usd"}', ' {"currency": "usd", "item": "tea"} ']
    assert len({tool_key("price_of", text, price_of) for text in same}) == 1
    others = ['{"item": "cup"}', '{"item": "tea", "currency": "eur"}', "{", "", '{"item": 3}', '{"item": "3"}']
    keys = {tool_key("price_of", text, price_of) for text in others}
    assert len(keys | {tool_key("price_of", same[0], price_of)}) == len(others) + 1
    assert tool_key("price_of", '{"a": 1, "b": 2}', None) == tool_key("price_of", '{"b":2,"a":1}', None)
    assert tool_key("one", "{}", None) != tool_key("other", "{}", None)
