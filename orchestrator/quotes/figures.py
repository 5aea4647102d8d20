"""Percentiles of past runs, and how they grow with the input. Exact: integers and fractions, no floats.

Pure; imports nothing that does I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from pydantic import BaseModel, ConfigDict

from orchestrator.usage import Usd, usd_from_nano

__all__ = ["CountSpread", "Line", "TimeSpread", "UsdSpread", "fitted", "half_up", "percentile", "scaled"]

ENOUGH_TO_FIT = 20
"""Runs; with fewer, a line through them says little."""
CORRELATED = Fraction(1, 4)
"""The least share of the variance (r²) that the input's size must explain."""


class _Spread(BaseModel):
    model_config = ConfigDict(frozen=True)


class UsdSpread(_Spread):
    """US dollars. Percentiles are by nearest rank: each is what some past run cost."""

    p50: Usd
    p90: Usd
    mean: Usd

    @classmethod
    def of(cls, nano: Sequence[int]) -> "UsdSpread":
        """Of nano-dollars."""
        p50, p90, mean = map(usd_from_nano, _summary(nano))
        return cls(p50=p50, p90=p90, mean=mean)


class CountSpread(_Spread):
    """Tokens."""

    p50: int
    p90: int
    mean: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> "CountSpread":
        p50, p90, mean = _summary(counts)
        return cls(p50=p50, p90=p90, mean=mean)


class TimeSpread(_Spread):
    """Time from start to end."""

    p50: timedelta
    p90: timedelta
    mean: timedelta

    @classmethod
    def of(cls, microseconds: Sequence[int]) -> "TimeSpread":
        p50, p90, mean = (timedelta(microseconds=us) for us in _summary(microseconds))
        return cls(p50=p50, p90=p90, mean=mean)


@dataclass(frozen=True, kw_only=True)
class Line:
    """The straight line that fits figures to sizes best, by least squares."""

    slope: Fraction
    intercept: Fraction

    def at(self, size: int) -> Fraction:
        """What it says for a size."""
        return self.intercept + self.slope * size


def percentile(values: Sequence[int], percent: int) -> int:
    """By nearest rank: the smallest value that at least `percent` of the values don't exceed."""
    rank = -(-percent * len(values) // 100)
    return sorted(values)[max(rank, 1) - 1]


def half_up(value: Fraction) -> int:
    """The nearest integer; of two as near, the larger one."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def fitted(sizes: Sequence[int], values: Sequence[int]) -> Line | None:
    """The line through the runs; `None` where there are too few, or the size explains too little."""
    count = len(sizes)
    if count < ENOUGH_TO_FIT:
        return None
    mean_size, mean_value = Fraction(sum(sizes), count), Fraction(sum(values), count)
    sxx = sum((size - mean_size) ** 2 for size in sizes)
    syy = sum((value - mean_value) ** 2 for value in values)
    sxy = sum((size - mean_size) * (value - mean_value) for size, value in zip(sizes, values, strict=True))
    if sxy <= 0 or sxy * sxy < CORRELATED * sxx * syy:
        return None
    slope = Fraction(sxy, sxx)
    line = Line(slope=slope, intercept=mean_value - slope * mean_size)
    return line if line.at(min(sizes)) > 0 else None


def scaled(values: Sequence[int], sizes: Sequence[int], line: Line, size: int) -> Sequence[int] | None:
    """What the runs would have come to with an input of this size: each is moved along the line, its own luck kept.

    `None` where the line, that far outside of what was seen, says nothing any more.
    """
    here = line.at(size)
    if here <= 0:
        return None
    return [half_up(value * here / line.at(its)) for value, its in zip(values, sizes, strict=True)]


def _summary(values: Sequence[int]) -> tuple[int, int, int]:
    return percentile(values, 50), percentile(values, 90), half_up(Fraction(sum(values), len(values)))
