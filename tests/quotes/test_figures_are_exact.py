"""Percentiles and lines, by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.quotes.figures import Line, fitted, half_up, percentile, scaled


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7], 50, 7),
        ([7], 90, 7),
        ([1, 2], 50, 1),
        ([3, 1, 2], 50, 2),
        (list(range(1, 11)), 50, 5),
        (list(range(1, 11)), 90, 9),
        (list(range(1, 12)), 90, 10),
        ([5, 5, 5, 100], 90, 100),
    ],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[int], percent: int, expected: int
) -> None:
    assert percentile(values, percent) == expected


@given(st.lists(st.integers(0, 10**15), min_size=1), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values_and_covers_its_share(values: list[int], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    covered = sum(value <= found for value in values)
    assert 100 * covered >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


def test_halves_go_up() -> None:
    assert [half_up(Fraction(n, 2)) for n in (-3, -1, 1, 3, 4)] == [-1, 0, 1, 2, 2]


def test_figures_on_a_line_move_along_it() -> None:
    sizes = list(range(10, 210, 10))
    values = [100 + 3 * size for size in sizes]
    line = Line(slope=Fraction(3), intercept=Fraction(100))
    assert fitted(sizes, values) == line
    moved = scaled(values, sizes, line, 1000)
    assert moved == [3100] * 20


def test_a_runs_own_luck_is_kept() -> None:
    """Twice as dear as the line says, at one size, is twice as dear at another."""
    line = Line(slope=Fraction(1), intercept=Fraction(0))
    assert scaled([10, 40, 30], [10, 20, 30], line, 100) == [100, 200, 100]


@pytest.mark.parametrize(
    "values",
    [
        [7] * 20,
        [100 - size for size in range(20)],
        [0, 100] * 10,
    ],
    ids=["the same whatever the size", "less the larger it is", "it has little to do with it"],
)
def test_a_size_that_explains_nothing_scales_nothing(values: list[int]) -> None:
    assert fitted(list(range(20)), values) is None


def test_too_few_runs_make_no_line() -> None:
    assert fitted(list(range(19)), list(range(19))) is None


def test_a_line_that_says_less_than_nothing_is_none() -> None:
    sizes = list(range(20))
    assert fitted(sizes, [10 * size for size in sizes]) is None  # it says 0 at the least size
    line = Line(slope=Fraction(1), intercept=Fraction(-5))
    assert scaled([5], [10], line, 4) is None
