"""Whatever the calls, a window's parts add up to it exactly, and nothing depends on the order of the calls."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.attribution import ASSUMED, Call, Evidence, Split, Stages, Weights, split, stages_of
from orchestrator.ledger.apportion import apportion

START, END = 1_000_000, 2_000_000
"""Of the window: one second, some time after the epoch."""

times = st.none() | st.integers(0, 3_000_000)
tokens = st.none() | st.integers(-5, 5_000)
positive = st.floats(0, 1e5, allow_nan=False)
weightings = st.builds(Weights, step=positive, prefill=positive, decode=positive, context=st.floats(0, 10))


@st.composite
def calls(draw: st.DrawFn) -> list[Call]:
    """Calls with any times there may be: missing, backwards, equal, and far outside of the window."""
    return [
        Call(
            key=("call", index),
            prompt=draw(tokens),
            cached=draw(tokens),
            output=draw(tokens),
            entered=draw(times),
            prefilled=draw(times),
            finished=draw(times),
            began=draw(times),
            ended=draw(times),
        )
        for index in range(draw(st.integers(0, 8)))
    ]


@st.composite
def looks(draw: st.DrawFn) -> list[Evidence]:
    """Evidence, piece after piece."""
    edges = sorted(draw(st.sets(st.integers(0, 3_000_000), min_size=2, max_size=5)))
    return [
        Evidence(
            start=low,
            end=high,
            idle_us=draw(st.none() | st.integers(0, 4_000_000)),
            retracted=draw(st.integers(0, 10**7)),
        )
        for low, high in pairwise(edges)
    ]


def _staged(given_calls: list[Call], weights: Weights | None) -> list[Stages]:
    return [stages for call in given_calls if (stages := stages_of(call, weights)) is not None]


def _split(given_calls: list[Call], weights: Weights = ASSUMED, *, gpus: int = 1, evidence: list[Evidence]) -> Split:
    stages = _staged(given_calls, weights)
    return split(stages, start=START, end=END, gpus=gpus, weights=weights, evidence=evidence)


@given(given_calls=calls(), weights=weightings, gpus=st.integers(1, 8), evidence=looks())
def test_its_parts_add_up_and_none_is_negative(
    given_calls: list[Call], weights: Weights, gpus: int, evidence: list[Evidence]
) -> None:
    result = _split(given_calls, weights, gpus=gpus, evidence=evidence)
    assert result.wall == (END - START) * gpus
    assert result.attributed + result.idle + result.overhead == result.wall
    assert sum(result.shares.values()) == result.attributed
    assert min(result.attributed, result.idle, result.overhead, *result.shares.values(), 0) == 0


@given(given_calls=calls(), evidence=looks(), seed=st.integers(0, 9))
def test_the_order_of_the_calls_changes_nothing(given_calls: list[Call], evidence: list[Evidence], seed: int) -> None:
    shuffled = Random(seed).sample(given_calls, len(given_calls))
    assert _split(shuffled, evidence=evidence[::-1]) == _split(given_calls, evidence=evidence)


@given(given_calls=calls(), cut=st.integers(START + 1, END - 1))
def test_all_that_was_active_is_attributed_however_time_is_cut(given_calls: list[Call], cut: int) -> None:
    stages = _staged(given_calls, ASSUMED)
    whole = split(stages, start=START, end=END, gpus=1, weights=ASSUMED)
    halves = [split(stages, start=a, end=b, gpus=1, weights=ASSUMED) for a, b in ((START, cut), (cut, END))]
    assert sum(half.attributed for half in halves) == whole.attributed


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**30), max_size=9))
def test_rounding_leaves_nothing_over(total: int, parts: list[int]) -> None:
    shares = apportion(total, {(index,): part for index, part in enumerate(parts)})
    if sum(parts):
        assert sum(shares.values()) == total
        assert all(abs(shares[index,] * sum(parts) - total * part) < sum(parts) for index, part in enumerate(parts))


@given(given_calls=calls(), weights=st.none() | weightings)
def test_stages_are_in_order_whatever_the_clock_said(given_calls: list[Call], weights: Weights | None) -> None:
    for call in given_calls:
        stages = stages_of(call, weights)
        if stages is not None:
            assert stages.start <= stages.turn <= stages.end
            assert stages.start < stages.end
            assert stages.uncached <= stages.prompt
